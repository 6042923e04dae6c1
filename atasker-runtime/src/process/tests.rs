//! Tests of calls in real worker processes: copies of this test program.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{CodecStage, DeathCause, TaskError};
use crate::remote::functions::{Call, FUNCTIONS, Function};
use crate::task::endpoint::Codec;
use crate::wire::payload::finish;
use crate::{
    MpPoolConfig, Overflow, Priority, StopOptions, Supervisor, Task, TaskBuilder, TaskContext,
    TaskStatus,
};

fn to_bytes<T: Serialize>(value: &T) -> Result<Vec<u8>, TaskError> {
    bincode::serde::encode_to_vec(value, bincode::config::standard()).map_err(|error| {
        TaskError::Codec {
            stage: CodecStage::EncodeArguments,
            type_name: std::any::type_name::<T>().into(),
            detail: error.to_string(),
        }
    })
}

fn read<T: DeserializeOwned>(bytes: std::borrow::Cow<'_, [u8]>) -> Result<T, TaskError> {
    from_bytes(&bytes)
}

fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, TaskError> {
    let decoded = bincode::serde::decode_from_slice(bytes, bincode::config::standard());
    decoded.map(|(value, _)| value).map_err(|error| TaskError::Codec {
        stage: CodecStage::DecodeArguments,
        type_name: std::any::type_name::<T>().into(),
        detail: error.to_string(),
    })
}

fn codec<T: Serialize + DeserializeOwned>() -> Codec<T> {
    Codec { encode: to_bytes, decode: from_bytes }
}

/// What the attribute expands to: an entry in the table, and a launcher beside the function.
macro_rules! remote {
    ($name:ident, $builder:ident, |$ctx:ident: $i:ty => $o:ty, $args:ident: $a:ty| -> $r:ty $body:block) => {
        mod $name {
            use super::*;
            #[linkme::distributed_slice(FUNCTIONS)]
            pub(super) static ENTRY: Function = Function {
                name: stringify!($name),
                file: file!(),
                line: line!(),
                column: column!(),
                signature: 0,
                remote: None,
                call: |call: &mut Call<'_>| {
                    #[allow(unused_variables)]
                    let $ctx: TaskContext<$i, $o> = call.context((codec(), codec()));
                    #[allow(unused_variables)]
                    let $args: $a = from_bytes(call.args())?;
                    let run = || -> $r { $body };
                    call.reply_mut().rest_mut().extend_from_slice(&to_bytes(&run())?);
                    Ok(())
                },
            };
        }
        fn $builder(args: $a) -> TaskBuilder<$r, $i, $o> {
            crate::launch::remote(
                &$name::ENTRY,
                to_bytes(&args).map(finish),
                read::<$r>,
                Some((codec(), codec())),
            )
        }
    };
}

remote!(add_entry, add, |_ctx: () => (), args: (u64, u64)| -> u64 { args.0 + args.1 });
remote!(pid_entry, pid, |_ctx: () => (), _args: ()| -> u32 { std::process::id() });
remote!(panic_entry, panics, |_ctx: () => (), text: String| -> () { panic!("{text}") });
remote!(die_entry, dies, |_ctx: () => (), how: String| -> () {
    match &*how {
        "abort" => std::process::abort(),
        "exit 3" => std::process::exit(3),
        "exit 0" => std::process::exit(0),
        "kill" => {
            let pid = rustix::process::getpid();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        "segv" => {
            // SAFETY: none; the process is supposed to crash here.
            unsafe { std::ptr::without_provenance_mut::<u8>(16).write_volatile(1) }
        }
        "overflow" => {
            fn down(n: u64) -> u64 {
                let room = std::hint::black_box([n; 512]);
                if n == u64::MAX { 0 } else { down(n + 1) + room[(n % 512) as usize] }
            }
            std::hint::black_box(down(std::hint::black_box(0)));
        }
        "sent segv" => {
            // SAFETY: none; the process is supposed to crash here.
            unsafe { libc::raise(libc::SIGSEGV) };
        }
        "garbage" => loop {
            crate::process::worker::faults::send_raw(&[0xff; 64]);
        },
        other => panic!("unknown way to die: {other}"),
    }
});
remote!(echo_entry, echo, |_ctx: () => (), bytes: Vec<u8>| -> Vec<u8> { bytes });
remote!(sleep_entry, sleeps, |_ctx: () => (), ms: u64| -> u64 {
    std::thread::sleep(Duration::from_millis(ms));
    ms
});
remote!(spin_entry, spins, |_ctx: () => (), _args: ()| -> () {
    loop {
        std::hint::spin_loop();
    }
});
remote!(tells_entry, tells, |ctx: () => u32, n: u32| -> () { ctx.send(n).unwrap() });
remote!(until_stop_entry, until_stop, |ctx: () => u32, _args: ()| -> String {
    ctx.send(std::process::id()).unwrap();
    while !ctx.wait_stop(Duration::from_secs(60)) {}
    "stopped".to_owned()
});
remote!(sum_entry, sums, |ctx: u64 => String, _args: ()| -> u64 {
    let mut sum = 0;
    while let Ok(n) = ctx.recv() {
        sum += n;
        if n % 1000 == 0 {
            ctx.progress(sum, 1_000_000);
            ctx.message(&format!("at {sum}"));
            ctx.send(format!("so far {sum}")).unwrap();
        }
    }
    sum
});
remote!(stdin_entry, stdin, |_ctx: () => (), _args: ()| -> (u64, bool, bool) {
    let mut buffer = Vec::new();
    let read = std::io::Read::read_to_end(&mut std::io::stdin(), &mut buffer).unwrap();
    let marked = crate::sys::worker::recognize().is_some();
    (read as u64, marked, crate::process::in_worker())
});
remote!(data_entry, data, |_ctx: () => (), _args: ()| -> (Option<String>, Option<String>) {
    let data = crate::worker_data::<Vec<String>>().map(|data| data.join("+"));
    (data, std::env::var("ATASKER_TEST").ok())
});

fn start_sleeper() -> u32 {
    std::process::Command::new("sleep").arg("1000").spawn().unwrap().id()
}
remote!(grandchild_entry, grandchild, |ctx: () => u32, _args: ()| -> () {
    ctx.send(std::process::id()).unwrap();
    ctx.send(start_sleeper()).unwrap();
    loop {
        std::hint::spin_loop();
    }
});
remote!(event_entry, events, |_ctx: () => (), n: u32| -> () {
    tracing::warn!(target: "my::place", n, text = "t", "something {}", "odd");
});
remote!(nested_entry, nested, |_ctx: () => (), n: u64| -> (crate::TaskType, u64) {
    let inner = add((n, n)).start();
    (inner.tt(), inner.join().unwrap())
});
remote!(half_entry, half_writes, |_ctx: () => (), size: u64| -> () {
    // Like a worker that dies while it writes a large reply.
    crate::process::worker::faults::die_in_reply(size as usize);
});

fn no_start() {
    panic!("no start today");
}

static INIT_RAN: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
fn count_init() {
    INIT_RAN.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
}
remote!(init_entry, inits, |_ctx: () => (), _args: ()| -> u32 {
    INIT_RAN.load(std::sync::atomic::Ordering::Relaxed)
});

fn pool(config: MpPoolConfig) -> Supervisor {
    Supervisor::builder().id("test").mp_pool(config).build()
}

/// Fails the test instead of hanging.
fn within<R: Send + 'static, I: Send + 'static, O: Send + 'static>(
    task: Task<R, I, O>,
) -> Result<R, TaskError> {
    let name = task.name().to_owned();
    // Longer than the system may delay a process that starts or ends.
    if task.wait_timeout(Duration::from_secs(120)).is_err() && !task.is_completed() {
        panic!("{name} has not ended in 120 s: {:?}", task.info());
    }
    task.join()
}

fn is_gone(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Err(_) => true,
        Ok(stat) => stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')),
    }
}

fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is() {
        assert!(Instant::now() < deadline, "not in 20 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn call_returns_its_result() {
    let sup = pool(MpPoolConfig::new(1));
    assert_eq!(within(add((1, 2)).supervisor(&sup).start()).unwrap(), 3);
    let there = within(pid(()).supervisor(&sup).start()).unwrap();
    assert_ne!(there, std::process::id());
    assert_eq!(within(pid(()).supervisor(&sup).start()).unwrap(), there);
    assert_eq!(sup.info().mp_pool.unwrap().workers[0].pid, there);
    sup.stop(StopOptions::new());
    assert!(is_gone(there));
}

#[test]
fn many_calls_return_their_own_results() {
    let sup = pool(MpPoolConfig::new(2));
    let tasks: Vec<_> = (0..20_000).map(|n| add((n, n)).supervisor(&sup).start()).collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(within(task).unwrap(), 2 * n as u64);
    }
    assert_eq!(sup.info().mp_pool.unwrap().tasks_run, 20_000);
}

#[test]
fn panic_is_reported_with_its_location() {
    let sup = pool(MpPoolConfig::new(1));
    let error = within(panics("no luck".into()).supervisor(&sup).start()).unwrap_err();
    let TaskError::Panicked { message, location, .. } = error else { panic!("{error:?}") };
    assert_eq!(message, "no luck");
    assert!(location.unwrap().contains("tests.rs:"));
    // The worker survives.
    assert_eq!(within(add((1, 2)).supervisor(&sup).start()).unwrap(), 3);
    assert_eq!(sup.info().mp_pool.unwrap().restarts, 0);
}

#[test]
fn crash_fails_only_the_running_task() {
    let sup = pool(MpPoolConfig::new(2));
    let cases = [
        ("abort", "SIGABRT (6)"),
        ("exit 3", "exit code 3"),
        ("exit 0", "exit code 0"),
        ("kill", "SIGKILL (9)"),
        ("segv", "SIGSEGV (11)"),
        ("sent segv", "SIGSEGV (11)"),
        ("overflow", "stack overflow, SIGABRT (6)"),
        ("garbage", "it violated the protocol"),
    ];
    for (how, cause) in cases {
        let before: Vec<_> = (0..50).map(|n| add((n, 1)).supervisor(&sup).start()).collect();
        let victim = dies(how.into()).supervisor(&sup).start();
        let after: Vec<_> = (0..50).map(|n| add((n, 1)).supervisor(&sup).start()).collect();
        let TaskError::WorkerDied(death) = within(victim).unwrap_err() else { panic!("{how}") };
        assert!(death.cause().to_string().starts_with(cause), "{how}: {}", death.cause());
        assert!(death.pid() > 0);
        for (n, task) in before.into_iter().chain(after).enumerate() {
            assert_eq!(within(task).unwrap(), n as u64 % 50 + 1, "{how}");
        }
    }
    assert_eq!(sup.info().mp_pool.unwrap().restarts, cases.len() as u64);
}

#[test]
fn crashed_task_with_retries_runs_again() {
    let sup = pool(MpPoolConfig::new(1));
    let task = dies("abort".into()).supervisor(&sup).retries(2).start();
    assert!(task.wait_timeout(Duration::from_secs(30)).is_err());
    assert_eq!(task.info().attempt, 3);
    assert!(task.error().unwrap().is_worker_died());
}

#[test]
fn large_values_cross_in_both_directions() {
    let sup = pool(MpPoolConfig::new(2));
    // The codec of this file goes byte by byte, which is slow without optimizations.
    let large = if cfg!(debug_assertions) { 4 << 20 } else { 20 << 20 };
    for size in [0, 1, 200, 257, 5_000, 70_000, 1 << 20, large] {
        let tasks: Vec<_> =
            (0..4u8).map(|n| (n, echo(vec![n; size]).supervisor(&sup).start())).collect();
        for (n, task) in tasks {
            let back = within(task).unwrap();
            assert!(back.len() == size && back.iter().all(|byte| *byte == n), "{size}");
        }
    }
}

#[test]
fn time_limit_kills_the_worker() {
    let sup = pool(MpPoolConfig::new(1));
    let limit = Duration::from_millis(100);
    let task = spins(()).supervisor(&sup).timeout(limit).start();
    let next = add((1, 1)).supervisor(&sup).start();
    assert!(within(task).unwrap_err().is_timeout());
    assert_eq!(within(next).unwrap(), 2);
    // The time in the queue does not count.
    let first = sleeps(300).supervisor(&sup).start();
    let second = sleeps(1).supervisor(&sup).timeout(Duration::from_millis(150)).start();
    assert_eq!(within(first).unwrap(), 300);
    assert_eq!(within(second).unwrap(), 1);
}

#[test]
fn kill_ends_only_its_worker() {
    let sup = pool(MpPoolConfig::new(1));
    let task = until_stop(()).supervisor(&sup).retries(5).start();
    let there = task.recv().unwrap();
    assert_eq!(task.info().worker_pid, Some(there));
    assert!(task.is_started());
    let next = add((1, 1)).supervisor(&sup).start();
    task.kill().unwrap();
    assert!(task.wait().unwrap_err().is_canceled());
    assert_eq!(task.status(), TaskStatus::Canceled);
    assert_eq!(within(next).unwrap(), 2);
    assert!(is_gone(there));
}

#[test]
fn jobs_in_the_injector_are_part_of_the_queue() {
    let sup = pool(MpPoolConfig::new(1));
    let running = until_stop(()).supervisor(&sup).start();
    running.recv().unwrap();
    // From the second one on, these go to the injector.
    let mut queued: Vec<_> = (0..200).map(|n| Some(add((n, n)).supervisor(&sup).start())).collect();
    for task in queued.iter_mut().step_by(3) {
        assert!(task.take().unwrap().cancel());
    }
    assert_eq!(sup.info().mp_pool.unwrap().waiting.normal, 200 - 67);
    // A more urgent task overtakes all of them, a less urgent one overtakes none.
    let urgent = sleeps(150).priority(Priority::High).supervisor(&sup).start();
    let last = sleeps(0).priority(Priority::Low).supervisor(&sup).start();
    running.stop();
    assert!(within(running).is_ok());
    last.wait().unwrap();
    let queued: Vec<_> = queued.into_iter().flatten().collect();
    let begun: Vec<_> = queued.iter().map(Task::time_started).collect();
    assert!(begun.is_sorted() && urgent.time_started() <= begun[0]);
    assert!(begun.last().unwrap() <= &last.time_started());
    assert!(within(urgent).is_ok());
    for (n, task) in (0..200u64).filter(|n| n % 3 != 0).zip(queued) {
        assert_eq!(within(task).unwrap(), 2 * n);
    }
}

#[test]
fn concurrent_launches_through_the_injector_all_end() {
    let sup = pool(MpPoolConfig::new(2));
    std::thread::scope(|scope| {
        for at in 0..4u64 {
            let sup = &sup;
            scope.spawn(move || {
                for round in 0..20u64 {
                    let priority = Priority::ALL[(at + round) as usize % 3 + 1];
                    let tasks: Vec<_> = (0..100u64)
                        .map(|n| add((n, round)).priority(priority).supervisor(sup).start())
                        .collect();
                    let canceled = tasks[50 + at as usize].cancel();
                    for (n, task) in tasks.into_iter().enumerate() {
                        match within(task) {
                            Ok(sum) => assert_eq!(sum, n as u64 + round),
                            Err(error) => assert!(canceled && error.is_canceled(), "{error}"),
                        }
                    }
                }
            });
        }
    });
    let info = sup.info().mp_pool.unwrap();
    assert_eq!(info.waiting.normal + info.waiting.high + info.waiting.critical, 0);
}

#[test]
fn stop_ends_jobs_in_the_injector() {
    let sup = pool(MpPoolConfig::new(1));
    let running = until_stop(()).supervisor(&sup).start();
    running.recv().unwrap();
    let queued: Vec<_> = (0..200).map(|n| add((n, n)).supervisor(&sup).start()).collect();
    sup.stop(StopOptions::new().wait(Duration::ZERO));
    assert!(queued.iter().all(Task::is_completed));
}

/// The worker processes of the supervisor with this id that have not ended.
fn workers_of(id: &str) -> Vec<u32> {
    let name = format!(" of {id}]");
    let all = std::fs::read_dir("/proc").unwrap();
    let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let is_one = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&name)
    };
    pids.filter(is_one).collect()
}

#[test]
fn stop_releases_descriptors_and_mappings_of_workers() {
    for round in 0..20 {
        let config = MpPoolConfig::new(2);
        let config = if round % 2 == 0 { config } else { config.__over_sockets(true) };
        let sup = pool(config);
        let running: Vec<_> = (0..2).map(|_| until_stop(()).supervisor(&sup).start()).collect();
        running.iter().for_each(|task| assert!(task.recv().is_ok()));
        // A reference to a worker keeps its descriptors and mappings.
        let workers: Vec<_> = {
            let inner = sup.core().processes.inner.lock();
            inner.lanes.iter().filter_map(|lane| lane.worker()).map(Arc::downgrade).collect()
        };
        assert_eq!(workers.len(), 2);
        sup.stop(StopOptions::new().wait(Duration::ZERO));
        assert!(workers.iter().all(|worker| worker.strong_count() == 0), "in round {round}");
    }
}

#[test]
fn stop_ends_starting_workers() {
    let id = "stopped while it starts";
    for pause in 0..20 {
        let config = MpPoolConfig::new(3).min_size(3);
        let sup = Supervisor::builder().id(id).mp_pool(config).build();
        sup.start();
        // At any moment of their start.
        std::thread::sleep(Duration::from_millis(pause));
        sup.stop(StopOptions::new());
        assert_eq!(workers_of(id), [0; 0], "after {pause} ms");
    }
}

/// Waits until the file named by the environment exists.
fn wait_for_file() {
    let path = std::env::var_os("ATASKER_TEST_FILE").unwrap();
    while !std::path::Path::new(&path).exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn kills_during_start_fail_no_task() {
    let path = std::env::temp_dir().join(format!("atasker-start-{}", std::process::id()));
    let config = MpPoolConfig::new(1).worker_init(wait_for_file);
    let sup = pool(config.env("ATASKER_TEST_FILE", path.to_str().unwrap()));
    let tasks: Vec<_> = (0..3).map(|n| add((n, n)).supervisor(&sup).start()).collect();
    let mut killed = 0;
    // One more than starts may fail by themselves.
    for _ in 0..6 {
        let began = Instant::now();
        let pid = loop {
            assert!(began.elapsed() < Duration::from_secs(30));
            let workers = sup.info().mp_pool.unwrap().workers;
            match workers.first().map(|worker| worker.pid) {
                Some(pid) if pid != killed => break pid,
                _ => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        let process = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
        rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
        killed = pid;
    }
    assert!(tasks.iter().all(|task| !task.is_completed()));
    std::fs::write(&path, "").unwrap();
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(within(task).unwrap(), 2 * n);
    }
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn messages_of_a_task_arrive_before_its_end() {
    let sup = pool(MpPoolConfig::new(1));
    for n in 0..500 {
        let task = tells(n).supervisor(&sup).start();
        task.wait().unwrap();
        assert_eq!(task.try_recv().unwrap(), n);
    }
}

#[test]
fn canceled_queued_call_never_runs() {
    let sup = pool(MpPoolConfig::new(1));
    let running = until_stop(()).supervisor(&sup).start();
    running.recv().unwrap();
    let queued: Vec<_> = (0..10).map(|n| add((n, n)).supervisor(&sup).start()).collect();
    assert!(queued[3].cancel());
    assert!(!running.cancel());
    assert_eq!(within(running).unwrap(), "stopped");
    for (n, task) in queued.into_iter().enumerate() {
        let result = within(task);
        assert_eq!(result.is_err(), n == 3, "{n}: {result:?}");
    }
}

#[test]
fn messages_stop_and_progress_reach_the_other_side() {
    let sup = pool(MpPoolConfig::new(1));
    let task = sums(()).supervisor(&sup).start();
    // More than the channel holds: acknowledgments from the worker make room.
    for n in 1..=5_000u64 {
        task.send(n).unwrap();
    }
    for n in [1000u64, 2000, 3000, 4000, 5000] {
        assert_eq!(task.recv().unwrap(), format!("so far {}", n * (n + 1) / 2));
    }
    let progress = task.progress().unwrap();
    assert_eq!((progress.done, progress.total), (12_502_500, 1_000_000));
    assert_eq!(progress.message.as_deref(), Some("at 12502500"));
    task.stop();
    assert_eq!(within(task).unwrap(), 12_502_500);
}

#[test]
fn messages_sent_before_the_start_arrive() {
    let sup = pool(MpPoolConfig::new(1));
    let first = until_stop(()).supervisor(&sup).start();
    let second = sums(()).supervisor(&sup).start();
    second.send(7).unwrap();
    first.recv().unwrap();
    second.send(8).unwrap();
    first.stop();
    assert_eq!(within(first).unwrap(), "stopped");
    second.send(2000).unwrap();
    assert_eq!(second.recv().unwrap(), "so far 2015");
    second.stop();
    assert_eq!(within(second).unwrap(), 2015);
}

#[test]
fn worker_has_no_greeting_and_no_input_left() {
    let sup = pool(MpPoolConfig::new(1));
    assert_eq!(within(stdin(()).supervisor(&sup).start()).unwrap(), (0, false, true));
}

#[test]
fn workers_get_data_and_environment() {
    let words = vec!["a".to_owned(), "b".to_owned()];
    let sup = pool(MpPoolConfig::new(1).worker_data(&words).env("ATASKER_TEST", "yes"));
    let found = within(data(()).supervisor(&sup).start()).unwrap();
    assert_eq!(found, (Some("a+b".into()), Some("yes".into())));
    assert_eq!(crate::worker_data::<Vec<String>>(), Some(&words));
}

#[test]
fn higher_priority_starts_first_within_its_reserve() {
    let sup = pool(MpPoolConfig::new(1).reserve_high(1));
    let low = until_stop(()).supervisor(&sup).priority(Priority::Low).start();
    low.recv().unwrap();
    let waiting = pid(()).supervisor(&sup).priority(Priority::Low).start();
    let high = until_stop(()).supervisor(&sup).priority(Priority::High).start();
    high.recv().unwrap();
    assert_eq!(waiting.status(), TaskStatus::Queued);
    // The pool is full now; the next tasks wait by priority.
    let second = sleeps(5).supervisor(&sup).priority(Priority::Normal).start();
    let first = sleeps(5).supervisor(&sup).priority(Priority::High).start();
    let info = sup.info().mp_pool.unwrap();
    assert_eq!((info.waiting.low, info.waiting.normal, info.waiting.high), (1, 1, 1));
    assert_eq!(info.running, 2);
    high.stop();
    let times = |task: &Task<u64>| task.time_started().unwrap();
    assert_eq!(first.wait().unwrap(), &5);
    low.stop();
    assert_eq!(second.wait().unwrap(), &5);
    assert!(times(&first) < times(&second));
    assert!(waiting.wait().is_ok());
    assert!(waiting.time_started().unwrap() >= times(&second));
}

#[test]
fn critical_task_runs_beyond_the_pool() {
    let sup = pool(MpPoolConfig::new(1).critical_extra(1));
    let running = until_stop(()).supervisor(&sup).start();
    running.recv().unwrap();
    let critical = pid(()).supervisor(&sup).priority(Priority::Critical).start();
    assert!(within(critical).is_ok());
    running.stop();
    assert!(within(running).is_ok());
}

#[test]
fn short_calls_behind_a_long_one_move_to_another_worker() {
    let sup = pool(MpPoolConfig::new(2));
    // The pool learns that calls are short, and sends calls in advance.
    for n in 0..200 {
        within(add((n, n)).supervisor(&sup).start()).unwrap();
    }
    let mut long = Vec::new();
    let mut short = Vec::new();
    for n in 0..20 {
        if n == 3 {
            long.push(until_stop(()).supervisor(&sup).start());
        }
        short.push(add((n, n)).supervisor(&sup).start());
    }
    for task in short {
        within(task).unwrap();
    }
    for task in long {
        assert!(!task.is_completed());
        task.stop();
        within(task).unwrap();
    }
}

#[test]
fn zero_time_limit_keeps_no_call_behind_a_long_one() {
    let sup = pool(MpPoolConfig::new(2));
    for n in 0..200 {
        within(add((n, n)).supervisor(&sup).start()).unwrap();
    }
    let long = until_stop(()).supervisor(&sup).start();
    let limited = spins(()).supervisor(&sup).timeout(Duration::ZERO).start();
    let short = add((1, 2)).supervisor(&sup).start();
    assert_eq!(within(short).unwrap(), 3);
    assert!(within(limited).unwrap_err().is_timeout());
    assert!(!long.is_completed());
    long.stop();
    within(long).unwrap();
}

#[test]
fn full_queue_rejects() {
    let sup = pool(MpPoolConfig::new(1).queue_limit(1, Overflow::Reject));
    let running = until_stop(()).supervisor(&sup).start();
    running.recv().unwrap();
    let waiting = add((1, 1)).supervisor(&sup).start();
    let rejected = add((1, 1)).supervisor(&sup).start();
    assert!(matches!(within(rejected).unwrap_err(), TaskError::QueueFull));
    running.stop();
    assert!(within(running).is_ok());
    assert_eq!(within(waiting).unwrap(), 2);
}

#[test]
fn idle_workers_exit() {
    let sup = pool(MpPoolConfig::new(2).idle_timeout(Duration::from_millis(50)).min_size(1));
    let tasks: Vec<_> = (0..2).map(|_| until_stop(()).supervisor(&sup).start()).collect();
    let pids: Vec<u32> = tasks.iter().map(|task| task.recv().unwrap()).collect();
    for task in tasks {
        task.stop();
        within(task).unwrap();
    }
    let workers = || sup.info().mp_pool.unwrap().workers.len();
    eventually("one worker is left", || workers() == 1);
    assert_eq!(pids.iter().filter(|pid| !is_gone(**pid)).count(), 1);
    assert_eq!(sup.info().mp_pool.unwrap().restarts, 0);
}

#[test]
fn worker_is_replaced_after_max_tasks() {
    let sup = pool(MpPoolConfig::new(1).max_tasks_per_worker(3));
    let tasks: Vec<_> = (0..10).map(|_| pid(()).supervisor(&sup).start()).collect();
    let mut pids: Vec<u32> = tasks.into_iter().map(|task| within(task).unwrap()).collect();
    pids.dedup();
    assert_eq!(pids.len(), 4, "{pids:?}");
    assert_eq!(sup.info().mp_pool.unwrap().restarts, 0);
}

#[test]
fn stop_kills_running_tasks_at_the_deadline() {
    let sup = pool(MpPoolConfig::new(1));
    let task = spins(()).supervisor(&sup).start();
    eventually("it runs", || task.is_started());
    let there = task.info().worker_pid.unwrap();
    sup.stop(StopOptions::new().wait(Duration::from_millis(50)));
    assert!(matches!(within(task).unwrap_err(), TaskError::SupervisorStopped));
    assert!(is_gone(there));
    assert!(sup.start());
    assert_eq!(within(add((2, 2)).supervisor(&sup).start()).unwrap(), 4);
}

#[test]
fn other_cause_displays_its_text() {
    let cause = DeathCause::Other(Arc::from("words"));
    assert_eq!(cause.to_string(), "words");
}

#[test]
fn failing_worker_init_is_reported() {
    let sup = pool(MpPoolConfig::new(1).worker_init(no_start));
    let error = within(add((1, 1)).supervisor(&sup).start()).unwrap_err().to_string();
    assert!(error.contains("no start today"), "{error}");
    // The pool recovers.
    sup.set_mp_pool(MpPoolConfig::new(1).worker_init(count_init));
    assert_eq!(within(inits(()).supervisor(&sup).start()).unwrap(), 1);
}

#[test]
fn worker_with_other_functions_is_rejected() {
    let sup = Supervisor::builder().id("another program").mp_pool(MpPoolConfig::new(1)).build();
    let error = within(add((1, 1)).supervisor(&sup).start()).unwrap_err().to_string();
    assert!(error.contains("its functions are not those of its parent"), "{error}");
}

#[test]
fn launch_inside_a_worker_runs_on_its_threads() {
    let sup = pool(MpPoolConfig::new(1));
    let (tt, sum) = within(nested(21).supervisor(&sup).start()).unwrap();
    assert_eq!((tt, sum), (crate::TaskType::Thread, 42));
}

#[test]
fn partial_reply_fails_as_worker_death() {
    let sup = pool(MpPoolConfig::new(1));
    let task = half_writes(1 << 20).supervisor(&sup).start();
    let next = add((1, 1)).supervisor(&sup).start();
    let error = within(task).unwrap_err();
    assert!(error.to_string().contains("SIGKILL (9)"), "{error}");
    assert_eq!(within(next).unwrap(), 2);
}

#[test]
fn stopped_worker_can_be_killed() {
    let sup = pool(MpPoolConfig::new(1));
    let task = until_stop(()).supervisor(&sup).start();
    let there = task.recv().unwrap();
    let pid = rustix::process::Pid::from_raw(there as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    task.kill().unwrap();
    assert!(within(task).unwrap_err().is_canceled());
    assert!(is_gone(there));
}

#[test]
fn kill_ends_descendants() {
    let sup = pool(MpPoolConfig::new(1));
    let task = grandchild(()).supervisor(&sup).start();
    let (_, sleeper) = (task.recv().unwrap(), task.recv().unwrap());
    assert!(!is_gone(sleeper));
    task.kill().unwrap();
    assert!(within(task).unwrap_err().is_canceled());
    eventually("the grandchild is gone", || is_gone(sleeper));
}

/// The parent of the test below, which is killed while its workers run.
#[test]
#[ignore = "is run by another test, in a dedicated process"]
fn parent_to_be_killed() {
    let sup = pool(MpPoolConfig::new(3));
    let busy = grandchild(()).supervisor(&sup).start();
    let idle = until_stop(()).supervisor(&sup).start();
    let pids = [busy.recv().unwrap(), busy.recv().unwrap(), idle.recv().unwrap()];
    // A stopped worker can't check whether its parent is alive.
    let stopped = until_stop(()).supervisor(&sup).start();
    let third = stopped.recv().unwrap();
    let process = rustix::process::Pid::from_raw(third as i32).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::STOP).unwrap();
    println!("\npids {} {} {} {third}", pids[0], pids[1], pids[2]);
    loop {
        std::thread::park();
    }
}

#[test]
fn killed_parent_leaves_no_processes() {
    use std::io::BufRead;
    let mut parent = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["process::tests::parent_to_be_killed", "--exact", "--ignored", "--nocapture"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let out = std::io::BufReader::new(parent.stdout.take().unwrap());
    let line = out.lines().map(Result::unwrap).find(|line| line.starts_with("pids "));
    let line = line.expect("the parent tells its workers");
    let pids: Vec<u32> = line.split(' ').skip(1).map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.iter().filter(|pid| is_gone(**pid)).count(), 0);
    parent.kill().unwrap();
    parent.wait().unwrap();
    for pid in pids {
        eventually("workers and grandchildren are gone", || is_gone(pid));
    }
}

#[test]
fn workers_have_names_for_ps() {
    let sup = pool(MpPoolConfig::new(1));
    let there = within(pid(()).supervisor(&sup).start()).unwrap();
    let line = std::fs::read_to_string(format!("/proc/{there}/cmdline")).unwrap();
    assert!(line.ends_with("[atasker worker 1 of test]\0"), "{line:?}");
    let name = std::fs::read_to_string(format!("/proc/{there}/comm")).unwrap();
    assert_eq!(name, "atasker worker\n");
}

/// Counts the descriptors that are sockets.
#[test]
fn worker_inherits_no_other_sockets() {
    let sup = pool(MpPoolConfig::new(2));
    let first = until_stop(()).supervisor(&sup).start();
    first.recv().unwrap();
    let second = within(pid(()).supervisor(&sup).start()).unwrap();
    let sockets = |pid: u32| {
        let links = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let targets = links.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
        targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
    };
    // Its own two, and none of the other worker.
    assert_eq!(sockets(second), 2);
    first.stop();
    within(first).unwrap();
}

/// All operations at once, from two threads: every task ends, with an outcome that fits.
#[test]
fn all_operations_at_once_end_every_task() {
    let seconds = std::env::var("STORM_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let sup = pool(MpPoolConfig::new(2).reserve_high(1).idle_timeout(Duration::from_millis(20)));
    let end = Instant::now() + Duration::from_secs(seconds);
    let storm = |seed: u64| {
        let mut random = seed;
        let mut next = move |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let priorities = Priority::ALL;
        let mut count = 0u64;
        while Instant::now() < end {
            let priority = priorities[next(4) as usize];
            let mut short = Vec::new();
            let mut killed = Vec::new();
            let mut dead = Vec::new();
            let mut limited = Vec::new();
            let mut slept = Vec::new();
            let mut echoed = Vec::new();
            for _ in 0..next(60) {
                count += 1;
                match next(100) {
                    0 => dead.push(dies("kill".into()).supervisor(&sup).start()),
                    1 => killed.push(spins(()).supervisor(&sup).priority(priority).start()),
                    2 => {
                        let limit = Duration::from_millis(next(5));
                        limited.push(spins(()).supervisor(&sup).timeout(limit).start());
                    }
                    3..10 => {
                        let task = sleeps(next(3)).supervisor(&sup).start();
                        let canceled = task.cancel();
                        slept.push((canceled, task));
                    }
                    10 => {
                        let size = next(300_000) as usize;
                        echoed.push((size, echo(vec![1; size]).supervisor(&sup).start()));
                    }
                    n => {
                        let task = add((count, n)).supervisor(&sup).priority(priority).start();
                        short.push((count + n, task));
                    }
                }
            }
            // Several spinning tasks may keep one another from running, so none is waited for then.
            let alone = killed.len() == 1;
            for task in killed {
                if alone && next(2) == 0 {
                    eventually("it runs", || task.is_started());
                }
                task.kill().unwrap();
                assert!(within(task).unwrap_err().is_canceled());
            }
            for (canceled, task) in slept {
                let result = within(task);
                assert_eq!(canceled, result.is_err(), "{result:?}");
            }
            for (size, task) in echoed {
                assert_eq!(within(task).unwrap().len(), size);
            }
            for task in limited {
                assert!(within(task).unwrap_err().is_timeout());
            }
            for (sum, task) in short {
                assert_eq!(within(task).unwrap(), sum);
            }
            for task in dead {
                assert!(within(task).unwrap_err().is_worker_died());
            }
        }
        count
    };
    let counts = std::thread::scope(|scope| {
        let other = scope.spawn(|| storm(0x1234_5678_9abc_def1));
        (storm(0x9e37_79b9_7f4a_7c15), other.join().unwrap())
    });
    assert!(counts.0 > 0 && counts.1 > 0);
    let info = sup.info();
    assert_eq!(info.tasks, 0);
    let info = info.mp_pool.unwrap();
    assert_eq!((info.running, info.waiting.total()), (0, 0));
    println!("storm: {counts:?} tasks, {} restarts", info.restarts);
    sup.stop(StopOptions::new());
}

mod abuse;
mod fake;
mod histories;

mod events_reach_the_parent {
    use super::*;
    use parking_lot::Mutex;
    use tracing_core::field::{Field, Visit};
    use tracing_core::span::{Attributes, Id, Record};
    use tracing_core::{Event, Metadata, Subscriber};

    static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

    struct Collect;

    struct Text(String);

    impl Visit for Text {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            self.0.push_str(&format!(" {}={value:?}", field.name()));
        }
    }

    impl Subscriber for Collect {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == "my::place"
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &Event<'_>) {
            let metadata = event.metadata();
            let mut text = Text(format!("{} {}", metadata.level(), metadata.target()));
            event.record(&mut text);
            SEEN.lock().push(text.0);
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn with_task_and_worker() {
        tracing_core::dispatcher::set_global_default(tracing_core::Dispatch::new(Collect)).unwrap();
        let sup = pool(MpPoolConfig::new(1));
        let task = super::events(7).supervisor(&sup).start();
        task.wait().unwrap();
        let worker = sup.info().mp_pool.unwrap().workers[0].pid;
        let seen = SEEN.lock().clone();
        let wanted = format!(
            "WARN my::place message=something odd n=7 text=\"t\" task={} worker={worker}",
            task.id(),
        );
        assert_eq!(seen, [wanted]);
    }
}
