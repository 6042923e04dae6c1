//! A program that shuts down gracefully on a signal, for `tests/signals.rs`.
//!
//! `graceful HOW WHAT`: HOW is the way it receives signals: `thread` (signal-hook), `tokio` or
//! `sigwait`. WHAT is what runs then: `quick` tasks only, or a `stubborn` one among them.

use std::io::Write;
use std::process::{Command, ExitCode};
use std::time::Duration;

use atasker::{
    PoolConfig, StopOptions, StopReport, Supervisor, Task, TaskContext, TaskError, background_task,
};
use atasker_tests::FAR;
use atasker_tests::mp::pool_of;

const SIGNALS: [i32; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];

// Each task reports its process id and those of the processes it has started.

#[background_task(tt = "mp")]
fn works(ctx: &TaskContext<(), u32>) -> String {
    ctx.send(std::process::id()).unwrap();
    while !ctx.wait_stop(FAR) {}
    // Simulates cleanup.
    std::thread::sleep(Duration::from_millis(50));
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let blocked = status.lines().find(|line| line.starts_with("SigBlk")).unwrap();
    format!("done, {}", blocked.replace('\t', " "))
}

#[background_task(tt = "mp")]
fn does_not_listen(ctx: &TaskContext<(), u32>) -> String {
    ctx.send(std::process::id()).unwrap();
    ctx.send(Command::new("sleep").arg("1000").spawn().unwrap().id()).unwrap();
    loop {
        std::thread::park();
    }
}

#[background_task(tt = "mp")]
fn never_begins() -> String {
    unreachable!()
}

#[background_task]
fn works_on_a_thread(ctx: &TaskContext<(), u32>) -> String {
    ctx.send(std::process::id()).unwrap();
    while !ctx.wait_stop(FAR) {}
    "done".into()
}

#[background_task]
async fn works_on_an_aloop(ctx: TaskContext<(), u32>) -> String {
    ctx.send(std::process::id()).unwrap();
    ctx.stop_requested().await;
    "done".into()
}

fn options(stubborn: bool) -> StopOptions {
    let limit = if stubborn { Duration::from_millis(300) } else { FAR };
    StopOptions::new().wait(limit).cancel_tasks(true)
}

/// Writes to standard output, which may be closed.
fn say(line: &str) {
    let _ = std::io::stdout().write_all(format!("{line}\n").as_bytes());
}

/// A thread waits for signals, and `main` calls `block`.
fn by_thread(sup: &Supervisor, stubborn: bool, ready: impl FnOnce()) -> StopReport {
    let mut signals = signal_hook::iterator::Signals::new(SIGNALS).unwrap();
    let thread = std::thread::spawn({
        let sup = sup.clone();
        move || {
            let signal = signals.forever().next();
            say(&format!("signal {}", signal.unwrap()));
            sup.stop(options(stubborn))
        }
    });
    ready();
    sup.block();
    thread.join().unwrap()
}

fn by_tokio(sup: &Supervisor, stubborn: bool, ready: impl FnOnce()) -> StopReport {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let [mut term, mut int, mut hup] =
            SIGNALS.map(|number| signal(SignalKind::from_raw(number)).unwrap());
        ready();
        let signal = tokio::select! {
            _ = term.recv() => libc::SIGTERM,
            _ = int.recv() => libc::SIGINT,
            _ = hup.recv() => libc::SIGHUP,
        };
        say(&format!("signal {signal}"));
        sup.stop_async(options(stubborn)).await
    })
}

/// Signals that `main` blocks before any other thread exists, and waits for.
struct Blocked(libc::sigset_t);

impl Blocked {
    fn new() -> Blocked {
        // SAFETY: the first call initializes the set.
        unsafe {
            let mut set = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            SIGNALS.iter().for_each(|signal| assert_eq!(libc::sigaddset(&mut set, *signal), 0));
            assert_eq!(libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()), 0);
            Blocked(set)
        }
    }

    fn wait(&self) -> i32 {
        let mut signal = 0;
        // SAFETY: both pointers are valid.
        assert_eq!(unsafe { libc::sigwait(&self.0, &mut signal) }, 0);
        signal
    }
}

fn outcome(task: Task<String, (), u32>) -> String {
    let name = task.name().rsplit("::").next().unwrap().to_owned();
    match task.join() {
        Ok(text) => format!("{name}: {text}"),
        Err(error @ (TaskError::Canceled | TaskError::SupervisorStopped)) => {
            format!("{name}: {error:?}")
        }
        Err(error) => format!("{name}: error: {error}"),
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [how, what] = &args[..] else { panic!("graceful HOW WHAT") };
    let stubborn = what == "stubborn";
    let blocked = (how == "sigwait").then(Blocked::new);

    let sup = Supervisor::builder().mp_pool(pool_of(2)).thread_pool(PoolConfig::new(1)).build();
    let mut tasks = vec![works::builder().supervisor(&sup).start()];
    tasks.push(match stubborn {
        false => works::builder().supervisor(&sup).start(),
        true => does_not_listen::builder().supervisor(&sup).start(),
    });
    tasks.push(works_on_a_thread::builder().supervisor(&sup).start());
    tasks.push(works_on_an_aloop::builder().supervisor(&sup).start());
    let mut pids: Vec<u32> = tasks.iter().map(|task| task.recv().unwrap()).collect();
    if stubborn {
        pids.push(tasks[1].recv().unwrap());
    }
    pids.retain(|pid| *pid != std::process::id());
    let waiting: Vec<_> =
        (0..3).map(|_| never_begins::builder().supervisor(&sup).start()).collect();

    let ready =
        || say(&format!("ready{}", pids.iter().map(|p| format!(" {p}")).collect::<String>()));
    let report = match (&**how, &blocked) {
        ("tokio", _) => by_tokio(&sup, stubborn, ready),
        (_, Some(blocked)) => {
            ready();
            say(&format!("signal {}", blocked.wait()));
            sup.stop(options(stubborn))
        }
        _ => by_thread(&sup, stubborn, ready),
    };
    for task in tasks {
        say(&outcome(task));
    }
    assert!(waiting.into_iter().all(|task| task.join().is_err_and(|error| error.is_canceled())));
    let StopReport { completed, canceled, abandoned } = report;
    say(&format!("completed {completed}, canceled {canceled}, abandoned {abandoned}"));
    ExitCode::from(u8::from(abandoned > 0))
}
