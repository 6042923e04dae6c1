//! If no worker process can be started, does the error name the file and the remedy, and do further
//! tasks fail immediately?

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use atasker::{MpPoolConfig, Supervisor, background_task};
use atasker_tests::processes::copy_program;
use atasker_tests::{FAR, Watchdog};

const PROGRAM: &str = env!("CARGO_BIN_EXE_startup");

/// The error of the first task. Asserts that the other tasks fail soon.
#[track_caller]
fn error_of(output: Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let (first, rest) = out.split_once('\n').unwrap_or_else(|| panic!("{output:?}"));
    assert_eq!(rest, "20 more: soon\n", "{output:?}");
    first.to_owned()
}

#[test]
#[cfg_attr(atasker_portable, ignore = "the loader is known by what only Linux passes to programs")]
fn program_started_by_loader() {
    let _watchdog = Watchdog::new("started through the loader", FAR);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let files = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    let loader = files.map(Path::new).find(|file| {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("ld-") || name.starts_with("ld.so")
    });
    let loader = loader.expect("this program has a loader");
    let output = Command::new(loader).arg(PROGRAM).arg("hopeless").stdin(Stdio::null()).output();
    let error = error_of(output.unwrap());
    assert!(error.contains("/proc/self/exe") && error.contains("dynamic loader"), "{error}");
    assert!(error.contains(loader.to_str().unwrap()), "{error}");
    assert!(error.contains("Start the program's own file"), "{error}");
}

/// Runs the program in a separate mount namespace, after changing it. `None` if that is not
/// permitted.
fn run_in_namespace(change: fn() -> std::io::Result<()>) -> Option<Output> {
    let mut program = Command::new(PROGRAM);
    program.arg("hopeless").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // SAFETY: only system calls are made between fork and exec.
    unsafe {
        program.pre_exec(move || {
            // Without root privileges, a user namespace provides them.
            let alone = libc::CLONE_NEWNS;
            if libc::unshare(alone) != 0 && libc::unshare(alone | libc::CLONE_NEWUSER) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            let (none, flags) = (std::ptr::null(), libc::MS_REC | libc::MS_PRIVATE);
            if libc::mount(none, c"/".as_ptr(), none, flags, none.cast()) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            change()
        });
    }
    match program.spawn() {
        Ok(child) => Some(child.wait_with_output().unwrap()),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            println!("skipped: no mount namespace: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Hides a directory behind an empty file system.
fn hide(folder: &std::ffi::CStr) -> std::io::Result<()> {
    let none = std::ptr::null();
    // SAFETY: the strings are NUL-terminated.
    match unsafe { libc::mount(none, folder.as_ptr(), c"tmpfs".as_ptr(), 0, none.cast()) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

#[test]
fn without_proc() {
    let _watchdog = Watchdog::new("without /proc", FAR);
    let Some(output) = run_in_namespace(|| hide(c"/proc")) else { return };
    let error = error_of(output);
    // Other systems look for the path of the program once, at its start.
    let (what, remedy) = match cfg!(atasker_portable) {
        true => ("the path of the program", "Is /proc mounted?"),
        false => ("/proc/self/exe: No such file", "mount /proc"),
    };
    assert!(error.contains(what) && error.contains(remedy), "{error}");
}

#[test]
fn without_dev_null() {
    let _watchdog = Watchdog::new("without /dev/null", FAR);
    let Some(output) = run_in_namespace(|| hide(c"/dev")) else { return };
    let error = error_of(output);
    assert!(error.contains("/dev/null") && error.contains("mount /dev"), "{error}");
}

#[test]
fn file_without_execute_permission() {
    let _watchdog = Watchdog::new("a program without execute permission", FAR);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("no-x-{}", std::process::id()));
    copy_program(PROGRAM, &path);
    let mut child = Command::new(&path)
        .arg("hopeless")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    child.stdin.take().unwrap().write_all(b"begin\n").unwrap();
    let error = error_of(child.wait_with_output().unwrap());
    std::fs::remove_file(&path).unwrap();
    let file = if cfg!(atasker_portable) { &path } else { Path::new("/proc/self/exe") };
    assert!(error.contains(&format!("{}: Permission denied", file.display())), "{error}");
    assert!(error.contains("must be executable"), "{error}");
}

#[background_task(tt = "mp")]
fn nothing() {}

fn broken() {
    panic!("on purpose");
}

#[test]
fn requested_tries_are_not_delayed() {
    let _watchdog = Watchdog::new("a worker_init that panics", FAR);
    let config = MpPoolConfig::new(1).env("RUST_BACKTRACE", "0");
    let sup = Supervisor::builder().mp_pool(config.clone().worker_init(broken)).build();
    let begun = Instant::now();
    for _ in 0..9 {
        let error = nothing::builder().supervisor(&sup).start().join().unwrap_err().to_string();
        assert!(error.contains("on purpose"), "{error}");
    }
    // With delays that double each time, this would take more than half a minute.
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    // A new configuration is tried immediately.
    sup.set_mp_pool(config);
    nothing::builder().supervisor(&sup).start().join().unwrap();
}
