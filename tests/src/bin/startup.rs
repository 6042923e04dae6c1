//! A program that tests start under unusual conditions: with closed descriptors, ignored signals,
//! more privileges than its invoker, or in a root directory that lacks files. Its `main` is C's, so
//! std has not changed anything before, and a static constructor runs before atasker's hook.
//!
//! The first argument selects the action, the others are its arguments.

#![no_main]

use std::ffi::{CStr, OsStr, c_char, c_int};
use std::fmt::Write as _;
use std::os::fd::FromRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use atasker::{
    MpPoolConfig, Supervisor, Task, TaskError, WorkerStdio, background_task, supervisor,
};
use atasker_tests::processes;

/// What the constructor has launched and observed.
static EARLY: OnceLock<Early> = OnceLock::new();

struct Early {
    threads: Task<u64>,
    processes: String,
    /// The addresses and contents of the environment.
    environment: Vec<usize>,
}

unsafe extern "C" {
    static environ: *const *const c_char;
}

/// The addresses of the array of the environment and of its strings.
fn environment() -> Vec<usize> {
    // SAFETY: nothing in this program changes the environment, which ends with a null pointer.
    unsafe {
        let mut all = vec![environ as usize];
        let mut entry = environ;
        while !(*entry).is_null() {
            all.push(*entry as usize);
            entry = entry.add(1);
        }
        all
    }
}

#[used]
// SAFETY: the section contains functions of this type; the number orders this one before the hook.
#[unsafe(link_section = ".init_array.00200")]
static CONSTRUCTOR: extern "C" fn(c_int, *const *const c_char) = construct;

extern "C" fn construct(_count: c_int, _args: *const *const c_char) {
    if let Some(path) = std::env::var_os("ATASKER_TEST_PEEK") {
        let mut bytes = [0u8; 64];
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        // SAFETY: the buffer has the given length.
        let n = unsafe { libc::recv(0, bytes.as_mut_ptr().cast(), bytes.len(), flags) };
        if let Ok(n) = usize::try_from(n) {
            std::fs::write(path, &bytes[..n]).expect("the test gives a path");
        }
    }
    if std::env::var_os("ATASKER_TEST_EARLY").is_some() {
        let environment = environment();
        // The pools of the default supervisor start here.
        let threads = supervisor().spawn(|| 42u64);
        let processes = format!("{:?}", add(1, 1).join());
        let _ = EARLY.set(Early { threads, processes, environment });
    }
}

#[background_task(tt = "mp")]
fn add(a: u64, b: u64) -> (u64, u32) {
    (a + b, std::process::id())
}

#[background_task(tt = "mp")]
fn crash() {
    std::process::abort();
}

fn report(supervisor: &Supervisor) {
    match add::builder(1, 2).supervisor(supervisor).start().join() {
        Ok((sum, pid)) => println!("sum {sum}, elsewhere: {}", pid != std::process::id()),
        Err(error) => println!("error: {error}"),
    }
}

/// Launches one task.
fn run() {
    println!("main");
    report(supervisor());
}

/// Reports the outcomes of the constructor's tasks, and whether later tasks work.
fn early() {
    let early = EARLY.get().expect("the constructor has run");
    println!("thread {:?}", early.threads.wait());
    println!("mp {}", early.processes);
    report(supervisor());
    println!("in a worker: {:?}", early_in_worker().join());
}

#[background_task(tt = "mp")]
fn early_in_worker() -> Option<(u64, String, bool)> {
    let early = EARLY.get()?;
    let unchanged = early.environment == environment();
    Some((*early.threads.wait().ok()?, early.processes.clone(), unchanged))
}

/// Drops privileges, permanently or temporarily, and launches a task.
fn drop_rights(how: &str) {
    const OTHER: u32 = 65534;
    // SAFETY: plain numbers.
    let done = unsafe {
        match how {
            "permanently" => {
                libc::setresgid(OTHER, OTHER, OTHER) | libc::setresuid(OTHER, OTHER, OTHER)
            }
            "effective" => libc::seteuid(OTHER),
            other => panic!("{other}"),
        }
    };
    assert_eq!(done, 0);
    run();
}

/// Launches a task, reports that by a byte to its standard input, which is a socket, and launches
/// another in a new worker process once a byte arrives there.
fn twice() {
    use std::io::{Read as _, Write as _};
    run();
    // SAFETY: descriptor 0 is open, and the duplicate is owned by the stream.
    let mut stdin = unsafe { UnixStream::from_raw_fd(libc::dup(0)) };
    stdin.write_all(b"x").expect("the test reads");
    stdin.read_exact(&mut [0]).expect("the test answers");
    report(&Supervisor::builder().build());
}

/// The user ids and the elevation flag that the kernel has assigned to this process.
fn rights() {
    // SAFETY: no preconditions.
    let (user, secure) = unsafe { (libc::geteuid(), libc::getauxval(libc::AT_SECURE)) };
    println!("user {user}, raised {secure}");
}

/// Tasks that cannot succeed: reports the error of the first, and how long 20 more take. Begins at
/// a line or the end of the input.
fn hopeless() {
    let _ = std::io::stdin().read_line(&mut String::new());
    println!("{}", add(1, 2).join().expect_err("no worker process can start here"));
    let begun = Instant::now();
    for _ in 0..20 {
        let error = add(1, 2).join().expect_err("no worker process can start here");
        assert!(matches!(error, TaskError::NotStarted { .. }), "{error}");
    }
    println!("20 more: {}", if begun.elapsed() < Duration::from_secs(5) { "soon" } else { "late" });
}

/// The targets of the standard streams.
fn streams() -> Vec<String> {
    let to = |number| std::fs::read_link(format!("/proc/self/fd/{number}"));
    let text = |number| to(number).map_or("closed".into(), |to| to.to_string_lossy().into_owned());
    (0..3).map(text).collect()
}

#[background_task(tt = "mp")]
fn streams_there() -> (Vec<String>, Vec<String>) {
    println!("a task prints");
    eprintln!("a task prints an error");
    // A program that a task starts also reads and prints; it reports its streams in a file.
    let script = "echo out; echo err >&2; read line; \
                  for n in 0 1 2; do all=\"$all $(readlink /proc/$$/fd/$n || echo closed)\"; done; \
                  echo $all >/proc/self/fd/FILE";
    let path = std::env::temp_dir().join(format!("atasker-streams-{}", std::process::id()));
    let file = std::fs::File::create(&path).expect("the directory exists");
    let script = script.replace("FILE", &std::os::fd::AsRawFd::as_raw_fd(&file).to_string());
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]);
    // SAFETY: `fcntl` may be called between fork and exec; the file is open until then.
    unsafe {
        let file = std::os::fd::AsRawFd::as_raw_fd(&file);
        shell.pre_exec(move || match libc::fcntl(file, libc::F_SETFD, 0) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    // `read` reaches the end of the input.
    assert!(shell.status().expect("a shell exists").success());
    let theirs = std::fs::read_to_string(&path).expect("the shell has written it");
    let _ = std::fs::remove_file(path);
    (streams(), theirs.split_whitespace().map(str::to_owned).collect())
}

/// Closes standard streams and runs tasks that print. Reports the streams in a file.
fn closed(path: &str, subset: &str, stdio: &str) {
    for number in subset.bytes().map(|digit| c_int::from(digit - b'0')) {
        // SAFETY: no object of this program owns the standard streams.
        unsafe { libc::close(number) };
    }
    let config = MpPoolConfig::new(2).stdio(match stdio {
        "inherit" => WorkerStdio::Inherit,
        "null" => WorkerStdio::Null,
        "log" => WorkerStdio::Log,
        other => panic!("{other}"),
    });
    let supervisor = Supervisor::builder().mp_pool(config).build();
    let before = streams();
    let mut text = String::new();
    let (worker, started) = match streams_there::builder().supervisor(&supervisor).start().join() {
        Ok(streams) => streams,
        Err(error) => (vec![error.to_string()], Vec::new()),
    };
    // Another worker process, while the descriptors of the first are open; and one that dies.
    let died = crash::builder().supervisor(&supervisor).start().join();
    let again = streams_there::builder().supervisor(&supervisor).start().join();
    let _ = writeln!(text, "program {before:?}");
    let _ = writeln!(text, "program then {:?}", streams());
    let _ = writeln!(text, "worker {worker:?}");
    let _ = writeln!(text, "started {started:?}");
    let _ = writeln!(text, "died {}", died.is_err_and(|error| error.is_worker_died()));
    let _ = writeln!(text, "again {}", again.is_ok_and(|again| again == (worker, started)));
    std::fs::write(path, text).expect("the test gives a path");
}

/// The set of signals that this process ignores, without those that the C library reserves between
/// the last system signal and the first real-time signal.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("there is a /proc");
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t"));
    let all = u64::from_str_radix(line.expect("the line exists"), 16).expect("a number");
    let internal =
        (libc::SIGSYS + 1..libc::SIGRTMIN()).fold(0, |set, signal| set | 1 << (signal - 1));
    all & !internal
}

#[background_task(tt = "mp")]
fn signals_there() -> (u64, bool, Option<i32>) {
    let status = Command::new("true").status();
    let mut sleeper =
        Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().expect("sleep starts");
    processes::signal(sleeper.id(), libc::SIGTERM);
    let ended = sleeper.wait().ok().and_then(|status| status.signal());
    (ignored(), status.is_ok_and(|status| status.success()), ended)
}

/// Runs tasks that start programs, and one that dies.
fn signals() {
    println!("program {}", ignored());
    println!("worker {:?}", signals_there().join());
    let died = crash().join().expect_err("the worker process dies");
    println!("died {}", died.is_worker_died());
    report(supervisor());
}

#[unsafe(no_mangle)]
extern "C" fn main(count: c_int, args: *const *const c_char) -> c_int {
    let args: Vec<String> = (1..usize::try_from(count).unwrap_or(0))
        // SAFETY: `args` has `count` strings.
        .map(|index| unsafe { CStr::from_ptr(*args.add(index)) })
        .map(|arg| OsStr::from_bytes(arg.to_bytes()).to_string_lossy().into_owned())
        .collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["run"] => run(),
        ["early"] => early(),
        ["rights"] => rights(),
        ["twice"] => twice(),
        ["drop", how] => drop_rights(how),
        ["hopeless"] => hopeless(),
        ["closed", path, subset, stdio] => closed(path, subset, stdio),
        ["signals"] => signals(),
        _ => return 2,
    }
    0
}
