//! Tasks that do to their worker process what nobody should do: what becomes of them, of their
//! neighbours, and of the pool?

use std::time::Duration;

use atasker::{
    MpPoolConfig, StopOptions, Supervisor, Task, TaskBuilder, TaskContext, TaskError, WorkerStdio,
    background_task,
};
use atasker_tests::processes::Process;
use atasker_tests::{FAR, Watchdog, eventually};
use serde::{Deserialize, Serialize};

#[background_task(tt = "mp")]
fn double(n: u64) -> u64 {
    2 * n
}

fn pool() -> Supervisor {
    let config = MpPoolConfig::new(1).stdio(WorkerStdio::Null).env("RUST_BACKTRACE", "0");
    Supervisor::builder().id("awkward").mp_pool(config).build()
}

/// The outcome of `launch`'s task among others, which all have their results.
#[track_caller]
fn among_others<R: Send + 'static>(
    sup: &Supervisor,
    task: impl FnOnce() -> TaskBuilder<R>,
) -> Result<R, TaskError> {
    let _watchdog = Watchdog::new("an awkward task", FAR);
    let others = || (0..20).map(|n| double::builder(n).supervisor(sup).start());
    let mut neighbours: Vec<Task<u64>> = others().collect();
    let task = task().supervisor(sup).start();
    neighbours.extend(others());
    let outcome = task.join();
    for (n, task) in neighbours.into_iter().enumerate() {
        assert_eq!(task.join().unwrap(), 2 * (n as u64 % 20));
    }
    assert_eq!(double::builder(21).supervisor(sup).start().join().unwrap(), 42);
    outcome
}

#[background_task(tt = "mp")]
fn closes_all() -> u32 {
    for fd in 0..1024 {
        // SAFETY: none; the point is that the library's descriptors go, too.
        unsafe { libc::close(fd) };
    }
    7
}

/// It has its result before anybody sees what it did; the worker may be at another's call by then.
#[test]
fn one_that_closes_all_descriptors() {
    let sup = pool();
    for round in 0..10 {
        let _watchdog = Watchdog::new(format!("round {round}"), FAR);
        let task = closes_all::builder().supervisor(&sup).start();
        let others: Vec<_> = (0..20).map(|n| double::builder(n).supervisor(&sup).start()).collect();
        let died = |error: &TaskError| error.is_worker_died();
        assert!(task.join().map_or_else(|error| died(&error), |result| result == 7));
        let mut lost = 0;
        for (n, task) in others.into_iter().enumerate() {
            match task.join() {
                Ok(value) => assert_eq!(value, 2 * n as u64),
                Err(error) => {
                    assert!(died(&error), "{error}");
                    lost += 1;
                }
            }
        }
        assert!(lost <= 1, "{lost} others are lost");
        eventually(|| double::builder(1).supervisor(&sup).start().join().is_ok());
    }
}

#[background_task(tt = "mp")]
fn closes_all_and_returns_much() -> Vec<u8> {
    for fd in 3..1024 {
        // SAFETY: as above.
        unsafe { libc::close(fd) };
    }
    vec![1; 1 << 20]
}

#[test]
fn one_that_closes_all_and_has_a_large_result() {
    let sup = pool();
    for _ in 0..10 {
        // Shared memory needs no descriptor; whether the worker gets so far is open.
        match among_others(&sup, closes_all_and_returns_much::builder) {
            Ok(result) => assert!(result == vec![1; 1 << 20]),
            Err(error) => assert!(error.is_worker_died(), "{error}"),
        }
    }
}

#[background_task(tt = "mp")]
fn panics_with(size: usize) {
    panic!("{}", "x".repeat(size));
}

#[background_task(tt = "mp")]
fn panics_with_a_number() {
    std::panic::panic_any(42);
}

#[test]
fn one_that_panics_at_length_or_without_a_word() {
    let sup = pool();
    for size in [0, 255, 256, 257, 100_000, 20 << 20] {
        let error = among_others(&sup, || panics_with::builder(size)).unwrap_err();
        let TaskError::Panicked { message, .. } = error else { panic!("{error}") };
        assert!(message.len() == size && message.bytes().all(|byte| byte == b'x'));
    }
    assert!(among_others(&sup, panics_with_a_number::builder).unwrap_err().is_panic());
    assert_eq!(sup.info().mp_pool.unwrap().restarts, 0);
}

struct PanicsAgain;

impl Drop for PanicsAgain {
    fn drop(&mut self) {
        panic!("once more");
    }
}

#[background_task(tt = "mp")]
fn panics_while_it_panics() {
    let _again = PanicsAgain;
    panic!("once");
}

#[background_task(tt = "mp")]
fn has_a_payload_that_panics() {
    std::panic::panic_any(PanicsAgain);
}

#[test]
fn one_that_panics_while_it_panics() {
    let sup = pool();
    let error = among_others(&sup, panics_while_it_panics::builder).unwrap_err();
    let TaskError::WorkerDied(death) = error else { panic!("{error}") };
    assert_eq!(death.cause().to_string(), "SIGABRT (6)");
    assert!(among_others(&sup, has_a_payload_that_panics::builder).is_err());
}

#[derive(Serialize, Deserialize, Debug)]
struct PanicsWhenDropped(bool);

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        assert!(!self.0, "dropped");
    }
}

#[background_task(tt = "mp")]
fn gives_what_panics() -> PanicsWhenDropped {
    PanicsWhenDropped(true)
}

#[background_task(tt = "mp")]
fn takes_what_panics(_value: PanicsWhenDropped) {}

#[test]
fn values_whose_destructors_panic() {
    let sup = pool();
    // In the worker it is dropped once the result is encoded.
    assert!(among_others(&sup, gives_what_panics::builder).is_err_and(|error| error.is_panic()));
    // The launcher takes it by value, and drops it: the panic is its caller's.
    let launch = || takes_what_panics::builder(PanicsWhenDropped(true));
    assert!(std::panic::catch_unwind(launch).is_err());
    assert!(among_others(&sup, || takes_what_panics::builder(PanicsWhenDropped(false))).is_ok());
}

#[background_task(tt = "mp")]
fn leaves_its_group(ctx: &TaskContext<(), u32>, session: bool) {
    // SAFETY: no preconditions.
    let left = unsafe { if session { libc::setsid() } else { libc::setpgid(0, libc::getppid()) } };
    ctx.send(std::process::id()).unwrap();
    std::hint::black_box(left);
    loop {
        std::thread::park();
    }
}

#[test]
fn one_that_leaves_its_process_group() {
    let sup = pool();
    for session in [false, true] {
        let _watchdog = Watchdog::new("a worker in another group", FAR);
        let task = leaves_its_group::builder(session).supervisor(&sup).start();
        let there = task.recv().unwrap();
        task.kill().unwrap();
        assert!(task.join().unwrap_err().is_canceled());
        assert!(Process::is_gone(there));
        assert_eq!(double::builder(4).supervisor(&sup).start().join().unwrap(), 8);
    }
}

#[background_task(tt = "mp")]
fn is_deaf(ctx: &TaskContext<(), u32>) {
    // SAFETY: valid sets and dispositions; nothing else handles these signals here.
    unsafe {
        let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), std::ptr::null_mut());
        for signal in 1..64 {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
    ctx.send(std::process::id()).unwrap();
    loop {
        std::hint::spin_loop();
    }
}

#[test]
fn one_that_blocks_and_ignores_all_signals() {
    let _watchdog = Watchdog::new("a deaf worker", FAR);
    let sup = pool();
    let task = is_deaf::builder().supervisor(&sup).start();
    let there = task.recv().unwrap();
    let next = double::builder(1).supervisor(&sup).start();
    task.kill().unwrap();
    assert!(task.join().unwrap_err().is_canceled());
    assert!(Process::is_gone(there));
    assert_eq!(next.join().unwrap(), 2);
    let limit = Duration::from_millis(200);
    let task = is_deaf::builder().timeout(limit).supervisor(&sup).start();
    assert!(task.join().unwrap_err().is_timeout());
    let task = is_deaf::builder().supervisor(&sup).start();
    let there = task.recv().unwrap();
    sup.stop(StopOptions::new().wait(Duration::ZERO));
    assert!(matches!(task.join(), Err(TaskError::SupervisorStopped)));
    assert!(Process::is_gone(there));
}

#[background_task(tt = "mp")]
fn leaves_a_thread_that(then: u32) -> u32 {
    std::thread::spawn(move || match then {
        0 => panic!("nobody's panic"),
        1 => loop {
            std::thread::park();
        },
        _ => {
            std::thread::sleep(Duration::from_millis(1));
            std::process::abort();
        }
    });
    then
}

#[test]
fn one_that_leaves_a_thread_behind() {
    let sup = pool();
    assert_eq!(among_others(&sup, || leaves_a_thread_that::builder(0)).unwrap(), 0);
    assert_eq!(among_others(&sup, || leaves_a_thread_that::builder(1)).unwrap(), 1);
    assert_eq!(sup.info().mp_pool.unwrap().restarts, 0);
    // One that ends the process when it is idle, or when it is at another's task.
    let _watchdog = Watchdog::new("a worker that dies later", FAR);
    for _ in 0..10 {
        let restarts = sup.info().mp_pool.unwrap().restarts;
        leaves_a_thread_that::builder(2).supervisor(&sup).start().wait().ok();
        eventually(|| match double::builder(1).supervisor(&sup).start().join() {
            Ok(two) => two == 2 && sup.info().mp_pool.unwrap().restarts > restarts,
            Err(error) => error.is_worker_died(),
        });
    }
    // A thread that stays does not keep the process at its end.
    assert_eq!(leaves_a_thread_that::builder(1).supervisor(&sup).start().join().unwrap(), 1);
    sup.stop(StopOptions::new());
    assert!(sup.info().mp_pool.unwrap().workers.is_empty());
}

/// As deep as a stack of the usual size allows it easily.
#[background_task(tt = "mp")]
fn recurses(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 16]);
    if depth == 0 { 0 } else { recurses::call(depth - 1) + room[3] / depth }
}

#[background_task(tt = "mp")]
fn launches_down(depth: u32) -> u32 {
    if depth == 0 { 0 } else { launches_down(depth - 1).join().unwrap() + 1 }
}

#[test]
fn deep_recursion_of_calls_and_of_tasks() {
    let sup = pool();
    assert_eq!(among_others(&sup, || recurses::builder(1000)).unwrap(), 1000);
    // On threads of the one worker process, each of which waits for the next.
    assert_eq!(among_others(&sup, || launches_down::builder(60)).unwrap(), 60);
    assert_eq!(sup.info().mp_pool.unwrap().workers.len(), 1);
}

#[background_task(tt = "mp")]
fn stops_its_parents_supervisor() -> bool {
    // This is the worker's own one.
    atasker::supervisor().stop(StopOptions::new());
    true
}

#[test]
fn one_that_stops_the_supervisor_it_finds() {
    let sup = pool();
    assert!(among_others(&sup, stops_its_parents_supervisor::builder).unwrap());
    assert!(sup.is_active());
}
