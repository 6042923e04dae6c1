//! Does the output of worker processes arrive as `tracing` events of the program?

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use atasker::{StopOptions, Supervisor, TaskContext, TaskId, WorkerStdio, background_task};
use atasker_tests::mp::pool_of;
use atasker_tests::processes::{Process, resident};
use atasker_tests::{FAR, Watchdog, eventually};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// One line.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    level: tracing::Level,
    worker: u32,
    task: String,
    stream: String,
    text: String,
}

static LINES: Mutex<Vec<Line>> = Mutex::new(Vec::new());

/// Lines with this prefix are only counted.
const FLOOD: &str = "flood";
static FLOODED: AtomicUsize = AtomicUsize::new(0);

struct Collect;

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl<S: tracing::Subscriber> Layer<S> for Collect {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let stream = fields.0.remove("stream").unwrap_or_default();
        if event.metadata().target() == "atasker" && !stream.is_empty() {
            let text = fields.0.get("message").map_or("", String::as_str);
            if text.starts_with(FLOOD) {
                FLOODED.fetch_add(text.len(), Relaxed);
                return;
            }
            let mut take = |key| fields.0.remove(key).unwrap_or_default();
            LINES.lock().unwrap().push(Line {
                level: *event.metadata().level(),
                worker: take("worker").parse().unwrap(),
                task: take("task"),
                text: take("message"),
                stream,
            });
        }
    }
}

fn supervisor(workers: usize) -> Supervisor {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::registry().with(Collect);
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
    Supervisor::builder().mp_pool(pool_of(workers).stdio(WorkerStdio::Log)).build()
}

/// The output of a task, as (level, worker, stream, text).
fn lines_of(id: TaskId) -> Vec<Line> {
    let id = id.to_string();
    LINES.lock().unwrap().iter().filter(|line| line.task == id).cloned().collect()
}

fn texts(lines: &[Line], stream: &str) -> Vec<String> {
    let of_stream = lines.iter().filter(|line| line.stream == stream);
    of_stream.map(|line| line.text.clone()).collect()
}

#[background_task(tt = "mp")]
fn prints(name: &str) -> u32 {
    println!("out of {name}");
    eprintln!("err of {name}");
    print!("and a half");
    std::process::id()
}

#[test]
fn lines_have_worker_task_stream_and_level_fields() {
    let _watchdog = Watchdog::new("lines", FAR);
    let sup = supervisor(2);
    let tasks: Vec<_> =
        (0..100).map(|n| prints::builder(&format!("{n}")).supervisor(&sup).start()).collect();
    for (n, task) in tasks.into_iter().enumerate() {
        let id = task.id();
        let worker = task.join().unwrap();
        // The lines are available once the task has ended.
        let lines = lines_of(id);
        assert_eq!(texts(&lines, "stdout")[0], format!("out of {n}"));
        assert_eq!(texts(&lines, "stderr"), [format!("err of {n}")]);
        assert!(lines.iter().all(|line| line.worker == worker));
        for line in lines {
            let level =
                if line.stream == "stdout" { tracing::Level::INFO } else { tracing::Level::WARN };
            assert_eq!(line.level, level);
        }
    }
    // A line without an end arrives with the next line, or when the worker process ends.
    let before = prints::builder("a").supervisor(&sup).start();
    let id = before.id();
    before.join().unwrap();
    drop(sup);
    eventually(|| texts(&lines_of(id), "stdout") == ["out of a", "and a half"]);
}

#[background_task(tt = "mp")]
fn prints_much(lines: usize, then_die: bool) -> u32 {
    for n in 0..lines {
        println!("{n} {}", "x".repeat(n % 500));
    }
    if then_die {
        std::process::abort();
    }
    std::process::id()
}

/// More than the capacity of a pipe, up to the last line.
#[test]
fn dead_worker_loses_no_line() {
    let _watchdog = Watchdog::new("a death", FAR);
    let sup = supervisor(1);
    for die in [true, false] {
        let task = prints_much::builder(5_000, die).supervisor(&sup).start();
        let id = task.id();
        assert_eq!(task.join().is_err(), die);
        let expected: Vec<String> =
            (0..5_000).map(|n| format!("{n} {}", "x".repeat(n % 500))).collect();
        assert_eq!(texts(&lines_of(id), "stdout"), expected);
    }
}

#[background_task(tt = "mp")]
fn prints_a_long_line(bytes: usize) {
    std::io::stdout().write_all(&vec![b'y'; bytes]).unwrap();
    println!();
}

#[test]
fn long_line_is_split() {
    let _watchdog = Watchdog::new("a long line", FAR);
    let sup = supervisor(1);
    let task = prints_a_long_line::builder(300_000).supervisor(&sup).start();
    let id = task.id();
    task.join().unwrap();
    let pieces = texts(&lines_of(id), "stdout");
    assert!(pieces.len() > 10 && pieces.iter().all(|piece| piece.len() <= 16 * 1024));
    assert_eq!(pieces.concat(), "y".repeat(300_000));
}

#[background_task(tt = "mp")]
fn closes_its_output() -> bool {
    // SAFETY: descriptors 1 and 2 have no owner that would use them later.
    unsafe { libc::close(1) == 0 && libc::close(2) == 0 }
}

#[test]
fn task_may_close_output() {
    let _watchdog = Watchdog::new("closed output", FAR);
    let sup = supervisor(1);
    assert!(closes_its_output::builder().supervisor(&sup).start().join().unwrap());
    let task = prints::builder("nothing").supervisor(&sup).start();
    let id = task.id();
    task.join().unwrap_or_default();
    assert_eq!(lines_of(id), []);
}

#[background_task(tt = "mp")]
fn prints_bytes(bytes: &[u8]) {
    let mut out = std::io::stdout();
    out.write_all(bytes).and_then(|()| out.flush()).unwrap();
}

#[test]
fn invalid_utf8_is_escaped() {
    let _watchdog = Watchdog::new("no text", FAR);
    let sup = supervisor(1);
    let task = prints_bytes::builder(b"a\xffb\n\xc3\n\0\n\x80\xc3\xa9\n").supervisor(&sup).start();
    let id = task.id();
    task.join().unwrap();
    assert_eq!(texts(&lines_of(id), "stdout"), ["a\u{fffd}b", "\u{fffd}", "\0", "\u{fffd}é"]);
}

#[test]
fn unterminated_output_is_split_and_flushed_at_exit() {
    let _watchdog = Watchdog::new("output without line ends", FAR);
    for byte in [b'z', 0x80] {
        let sup = supervisor(1);
        let task = prints_bytes::builder(&vec![byte; 200_000]).supervisor(&sup).start();
        let id = task.id();
        task.join().unwrap();
        // All but the last piece, which could continue.
        let so_far = texts(&lines_of(id), "stdout").concat().chars().count();
        assert!((150_000..200_000).contains(&so_far), "{so_far}");
        sup.stop(StopOptions::new());
        let pieces = texts(&lines_of(id), "stdout");
        let expected = String::from_utf8_lossy(&[byte]).repeat(200_000);
        assert_eq!(pieces.concat(), expected);
    }
}

/// Leaves a thread running that prints when the named pipe is opened.
#[background_task(tt = "mp")]
fn leaves_a_printer(pipe: &str) -> u32 {
    let pipe = pipe.to_owned();
    std::thread::spawn(move || {
        let text = std::fs::read_to_string(&pipe).unwrap();
        println!("{text}");
    });
    std::process::id()
}

#[test]
fn output_after_end_belongs_to_last_task() {
    let _watchdog = Watchdog::new("late output", FAR);
    let path = std::env::temp_dir().join(format!("atasker-late-{}", std::process::id()));
    let path = path.to_str().unwrap();
    let name = std::ffi::CString::new(path).unwrap();
    // SAFETY: the name is valid.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    let sup = supervisor(1);
    let task = leaves_a_printer::builder(path).supervisor(&sup).start();
    let id = task.id();
    let worker = task.join().unwrap();
    assert_eq!(lines_of(id), []);
    std::fs::write(path, "late").unwrap();
    eventually(|| !lines_of(id).is_empty());
    let lines = lines_of(id);
    assert_eq!((texts(&lines, "stdout").concat().as_str(), lines[0].worker), ("late", worker));
    std::fs::remove_file(path).unwrap();
}

/// Starts a process that keeps the output of the worker process open and does not end with it: a
/// proper daemon, in a separate session and orphaned. The process writes its id into a file.
#[background_task(tt = "mp")]
fn leaves_a_process(command: &str, file: &str, then_die: bool) -> u32 {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("echo $$ > {file}.new; mv {file}.new {file}; {command}")]);
    shell.stdin(Stdio::null());
    // SAFETY: system calls that may be made between fork and exec.
    let child = unsafe {
        shell.pre_exec(|| match (libc::setsid(), libc::fork()) {
            (-1, _) | (_, -1) => Err(std::io::Error::last_os_error()),
            (_, 0) => Ok(()),
            _ => libc::_exit(0),
        })
    };
    child.spawn().unwrap().wait().unwrap();
    if then_die {
        std::process::abort();
    }
    std::process::id()
}

/// Neither the task nor the stop waits for the process that holds the pipe open, and a pipe without
/// a reader is closed.
#[test]
fn surviving_process_does_not_delay_stop() {
    let _watchdog = Watchdog::new("an open pipe", FAR);
    const QUIET: &str = "exec sleep 1000";
    const LOUD: &str = "while echo flood from a shell; do :; done";
    for (command, is_quiet) in [(QUIET, true), (LOUD, false)] {
        for die in [true, false] {
            let sup = supervisor(1);
            let file = std::env::temp_dir().join(format!("atasker-daemon-{}", std::process::id()));
            let path = file.to_str().unwrap();
            let task = leaves_a_process::builder(command, path, die).supervisor(&sup).start();
            eventually(|| file.exists());
            let other: u32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
            std::fs::remove_file(&file).unwrap();
            match task.join() {
                Ok(_) => assert!(!die),
                Err(error) => assert!(die && error.to_string().contains("SIGABRT"), "{error}"),
            }
            // A new worker process prints as before.
            let next = prints::builder("next").supervisor(&sup).start();
            let id = next.id();
            let worker = next.join().unwrap();
            assert_eq!(texts(&lines_of(id), "stderr"), ["err of next"]);
            sup.stop(StopOptions::new());
            assert!(Process::is_gone(worker));
            if is_quiet {
                assert!(!Process::is_gone(other), "the daemon is not a descendant of the pool");
                // SAFETY: its id is not reused, because it has not ended.
                unsafe { libc::kill(other as i32, libc::SIGKILL) };
            }
            eventually(|| Process::is_gone(other));
        }
    }
}

#[background_task(tt = "mp")]
fn floods(ctx: &TaskContext) {
    let line = format!("{FLOOD}{}\n", " and more".repeat(100));
    let mut out = std::io::stdout();
    while !ctx.stopped() {
        out.write_all(line.as_bytes()).unwrap();
    }
}

#[test]
fn flood_uses_bounded_memory_and_can_be_stopped() {
    let _watchdog = Watchdog::new("a flood", 3 * FAR);
    let sup = supervisor(3);
    let (mild, wild) =
        (floods::builder().supervisor(&sup).start(), floods::builder().supervisor(&sup).start());
    let floods_on = |bytes: usize| {
        let before = FLOODED.load(Relaxed);
        eventually(|| FLOODED.load(Relaxed) > before + bytes);
    };
    floods_on(1 << 20);
    let before = resident();
    floods_on(64 << 20);
    assert!(resident() < before + (32 << 20), "{before} bytes have become {}", resident());
    // Other tasks print and end meanwhile.
    let task = prints::builder("not drowned").supervisor(&sup).start();
    let id = task.id();
    task.join().unwrap();
    assert_eq!(texts(&lines_of(id), "stderr"), ["err of not drowned"]);
    mild.stop();
    mild.join().unwrap();
    wild.kill().unwrap();
    assert!(wild.join().unwrap_err().is_canceled());
}
