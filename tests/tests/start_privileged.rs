//! Does a program with more privileges than its invoker ignore forged requests, and start no worker
//! processes? The test uses real setuid, setgid and setcap copies of a program, which only root can
//! create.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use atasker_tests::processes::copy_program;
use atasker_tests::{FAR, Watchdog};

const UNPRIVILEGED: u32 = 65534;
const ROOT: u32 = 0;

/// A directory that any user may enter, on a file system that honors setuid. Removed on drop.
struct Folder(PathBuf);

impl Folder {
    /// `None` without root.
    fn new(name: &str) -> Option<Folder> {
        // SAFETY: no preconditions.
        if unsafe { libc::geteuid() } != ROOT {
            println!("skipped: only root can make a setuid program of another user");
            return None;
        }
        let temp = std::env::temp_dir();
        let places = [&*temp, Path::new("/var/tmp"), Path::new(env!("CARGO_TARGET_TMPDIR"))];
        for place in places {
            let folder = Folder(place.join(format!("atasker-{name}-{}", std::process::id())));
            if std::fs::create_dir_all(&folder.0).is_ok() {
                let set = folder.program("probe", 0o4755);
                if text(&run(&set, "rights", (UNPRIVILEGED, UNPRIVILEGED), None))
                    .starts_with("user 0, raised 1")
                {
                    return Some(folder);
                }
            }
        }
        panic!("no folder for setuid programs: tried {places:?}");
    }

    /// A copy of the program with this mode.
    fn program(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        copy_program(env!("CARGO_BIN_EXE_startup"), &path);
        chown(&path, Some(ROOT), Some(ROOT)).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        path
    }

    /// The first bytes that the parent of a worker process of this program writes, as a worker
    /// process received them.
    fn greeting(&self) -> Vec<u8> {
        let (program, seen) = (self.program("greets", 0o755), self.0.join("greeting"));
        let output = Command::new(program).arg("run").env("ATASKER_TEST_PEEK", &seen).output();
        assert_eq!(text(&output.unwrap()), "main\nsum 3, elsewhere: true\n");
        let greeting = std::fs::read(seen).unwrap();
        assert!(!greeting.is_empty());
        greeting
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a program as this user and group.
fn run(program: &Path, how: &str, (user, group): (u32, u32), stdin: Option<OwnedFd>) -> Output {
    let mut command = Command::new(program);
    command.args(how.split(' ')).stdin(stdin.map_or_else(Stdio::null, Stdio::from));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    // The marker of earlier versions.
    command.env("ATASKER_WORKER_OF", std::process::id().to_string());
    // SAFETY: these may be called between fork and exec. std would keep root's capabilities in a
    // process with another user.
    unsafe {
        command.pre_exec(move || {
            let groups = libc::setgroups(0, std::ptr::null());
            let group = libc::setresgid(group, group, group);
            match groups | group | libc::setresuid(user, user, user) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    command.output().unwrap()
}

/// A connection created by a process of this user and group, this one: the ends to keep and to pass
/// on, with the greeting in its buffer.
fn connection((user, group): (u32, u32), greeting: &[u8]) -> (UnixStream, OwnedFd) {
    let made = std::thread::spawn(move || {
        // SAFETY: the system calls affect only this thread, unlike libc's functions.
        unsafe {
            assert_eq!(libc::syscall(libc::SYS_setresgid, group, group, group), 0);
            assert_eq!(libc::syscall(libc::SYS_setresuid, user, user, user), 0);
        }
        UnixStream::pair().unwrap()
    });
    let (mut ours, theirs) = made.join().unwrap();
    ours.write_all(greeting).unwrap();
    (ours, theirs.into())
}

/// Starts a program with a forged greeting at its standard input: returns its output and its reply.
fn attack(
    program: &Path,
    as_user: (u32, u32),
    by: (u32, u32),
    greeting: &[u8],
) -> (String, String) {
    attack_by(program, "run", as_user, by, greeting)
}

/// The same, with another process between this one and the program.
fn attack_through_shell(
    program: &Path,
    as_user: (u32, u32),
    by: (u32, u32),
    greeting: &[u8],
) -> (String, String) {
    let script = program.with_extension("sh");
    // The shell does not execute the last command in its own process.
    std::fs::write(&script, format!("#!/bin/sh\n{} run\nexit\n", program.display())).unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    attack_by(&script, "", as_user, by, greeting)
}

fn attack_by(
    program: &Path,
    how: &str,
    as_user: (u32, u32),
    by: (u32, u32),
    greeting: &[u8],
) -> (String, String) {
    let (mut ours, theirs) = connection(by, greeting);
    let output = run(program, how, as_user, Some(theirs));
    let mut answer = Vec::new();
    // If the program exits with unread data, the connection is reset.
    let _ = ours.read_to_end(&mut answer);
    (text(&output), String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn forged_parent_is_ignored() {
    let _watchdog = Watchdog::new("forged parents", 2 * FAR);
    let Some(folder) = Folder::new("forged") else { return };
    let (user, root) = ((UNPRIVILEGED, UNPRIVILEGED), (ROOT, ROOT));
    let greeting = folder.greeting();

    // The forgery is accurate: a program with the privileges of its invoker takes itself for a
    // worker process.
    let plain = folder.program("plain", 0o755);
    for by in [user, root] {
        let (out, answer) = attack(&plain, by, by, &greeting);
        assert!(
            out.is_empty() && answer.contains("the descriptors did not arrive"),
            "{out}{answer}"
        );
    }
    // Root may control a program of another user in any case.
    assert_eq!(attack(&plain, user, root, &greeting).0, "");

    // A program whose privileges the kernel has raised ignores it.
    let mut raised = vec![folder.program("setuid", 0o4755), folder.program("setgid", 0o2755)];
    let with_capability = folder.program("setcap", 0o755);
    let set = Command::new("setcap").arg("cap_net_raw+ep").arg(&with_capability).status();
    match set {
        Ok(status) if status.success() => raised.push(with_capability),
        other => println!("skipped: setcap: {other:?}"),
    }
    for program in &raised {
        let at = program.display();
        let (out, answer) = attack(program, user, user, &greeting);
        assert!(out.starts_with("main\nerror: "), "{at}: {out}{answer}");
        assert!(out.contains("more privileges than its invoker"), "{at}: {out}");
        assert_eq!(answer, "", "{at}");
    }
    // A program whose privileges another program, such as `sudo`, has raised ignores it too. Other
    // systems do not tell which process has created the socket, so it may be the parent there.
    let works = "main\nsum 3, elsewhere: true\n";
    let expected = if cfg!(atasker_portable) { "" } else { works };
    for raised in [root, (UNPRIVILEGED, ROOT)] {
        let (out, answer) = attack_through_shell(&plain, raised, user, &greeting);
        assert_eq!((&*out, &*answer), (expected, ""), "{raised:?}");
        // If the process that has created the socket is the parent, it may be the program itself, which
        // has changed its user: `main` must not run a second time.
        let (out, answer) = attack(&plain, raised, user, &greeting);
        assert_eq!((&*out, &*answer), ("", ""), "{raised:?}");
    }
    // A malformed greeting is ignored.
    for length in [0, 1, greeting.len() - 1] {
        let (out, answer) = attack(&plain, root, root, &greeting[..length]);
        assert_eq!((&*out, &*answer), (works, ""), "{length}");
    }
    let mut other = greeting.clone();
    *other.last_mut().unwrap() ^= 1;
    assert_eq!(attack(&plain, root, root, &other).0, works);
}

#[test]
fn dropped_privileges_are_not_regained_by_workers() {
    let _watchdog = Watchdog::new("dropped privileges", 2 * FAR);
    let Some(folder) = Folder::new("dropped") else { return };
    let root = (ROOT, ROOT);
    let (plain, set) = (folder.program("plain", 0o755), folder.program("setuid", 0o4755));
    assert_eq!(text(&run(&set, "rights", root, None)), "user 0, raised 0\n");
    let works = "main\nsum 3, elsewhere: true\n";
    assert_eq!(text(&run(&set, "run", root, None)), works);
    assert_eq!(text(&run(&plain, "drop permanently", root, None)), works);
    let out = text(&run(&set, "drop permanently", root, None));
    assert!(out.contains("main\nerror: ") && out.contains("setuid or setgid"), "{out}");
    assert_eq!(out.matches("main").count(), 1, "{out}");
    let out = text(&run(&plain, "drop effective", root, None));
    assert!(out.contains("the real and the effective user"), "{out}");
    assert_eq!(out.matches("main").count(), 1, "{out}");
}

#[test]
fn file_that_becomes_setuid_starts_no_second_main() {
    let _watchdog = Watchdog::new("a file that becomes setuid", 2 * FAR);
    let Some(folder) = Folder::new("becomes") else { return };
    let program = folder.program("plain", 0o755);
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let thread = std::thread::spawn({
        let program = program.clone();
        move || run(&program, "twice", (UNPRIVILEGED, UNPRIVILEGED), Some(theirs.into()))
    });
    // The program writes a byte to its standard input after its first task, and waits for one.
    ours.read_exact(&mut [0]).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o4755)).unwrap();
    ours.write_all(b"x").unwrap();
    let out = text(&thread.join().unwrap());
    assert!(out.starts_with("main\nsum 3, elsewhere: true\n"), "{out}");
    assert!(out.contains("setuid or setgid"), "{out}");
    assert_eq!(out.matches("main").count(), 1, "{out}");
}
