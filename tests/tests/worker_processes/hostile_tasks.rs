//! What happens to tasks that damage their worker process, to other tasks, and to the pool?

use std::time::Duration;

use atasker::{
    StopOptions, Supervisor, Task, TaskBuilder, TaskContext, TaskError, WorkerStdio,
    background_task,
};
use atasker_tests::mp::pool_of;
use atasker_tests::processes::Process;
use atasker_tests::{FAR, Watchdog, eventually};
use serde::{Deserialize, Serialize};

#[background_task(tt = "mp")]
fn double(n: u64) -> u64 {
    2 * n
}

fn pool() -> Supervisor {
    let config = pool_of(1).stdio(WorkerStdio::Null).env("RUST_BACKTRACE", "0");
    Supervisor::builder().id("awkward").mp_pool(config).build()
}

/// The outcome of `launch`'s task, run among other tasks, which must all complete.
#[track_caller]
fn among_others<R: Send + 'static>(
    sup: &Supervisor,
    task: impl FnOnce() -> TaskBuilder<R>,
) -> Result<R, TaskError> {
    let (outcome, lost) = among_others_with_loss(sup, task);
    assert_eq!(lost, 0, "{lost} other tasks are lost");
    outcome
}

/// The same, and the number of other tasks that died with a worker process.
#[track_caller]
fn among_others_with_loss<R: Send + 'static>(
    sup: &Supervisor,
    task: impl FnOnce() -> TaskBuilder<R>,
) -> (Result<R, TaskError>, u32) {
    let _watchdog = Watchdog::new("a hostile task", FAR);
    let others = || (0..20).map(|n| double::builder(n).supervisor(sup).start());
    let mut neighbors: Vec<Task<u64>> = others().collect();
    let task = task().supervisor(sup).start();
    neighbors.extend(others());
    let outcome = task.join();
    let mut lost = 0;
    let mut end = |task: Task<u64>, expected| match task.join() {
        Ok(value) => assert_eq!(value, expected),
        Err(error) => {
            assert!(error.is_worker_died(), "{error}");
            lost += 1;
        }
    };
    for (n, task) in neighbors.into_iter().enumerate() {
        end(task, 2 * (n as u64 % 20));
    }
    end(double::builder(21).supervisor(sup).start(), 42);
    (outcome, lost)
}

#[background_task(tt = "mp")]
fn closes_all() -> u32 {
    for fd in 0..1024 {
        // SAFETY: none; closing the library's descriptors is the purpose.
        unsafe { libc::close(fd) };
    }
    7
}

/// The task completes before the damage is noticed; by then, the worker process may run another
/// task.
#[test]
fn task_closes_all_descriptors() {
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
        assert!(lost <= 1, "{lost} other tasks are lost");
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
fn task_closes_all_descriptors_and_returns_large_result() {
    let sup = pool();
    for _ in 0..10 {
        // Shared memory needs no descriptor; whether the worker process gets that far is undefined.
        let (outcome, lost) = among_others_with_loss(&sup, closes_all_and_returns_much::builder);
        match outcome {
            Ok(result) => assert!(result == vec![1; 1 << 20]),
            Err(error) => assert!(error.is_worker_died(), "{error}"),
        }
        // The damage may be noticed while the worker process runs the next task.
        assert!(lost <= 1, "{lost} other tasks are lost");
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
fn task_panics_with_long_or_no_message() {
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
fn task_panics_while_panicking() {
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
fn values_with_panicking_destructors() {
    let sup = pool();
    // In the worker process the value is dropped after the result was encoded.
    assert!(among_others(&sup, gives_what_panics::builder).is_err_and(|error| error.is_panic()));
    // The launcher drops its argument, so the panic occurs in the caller.
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
fn task_leaves_process_group() {
    let sup = pool();
    for session in [false, true] {
        let _watchdog = Watchdog::new("a worker process in another group", FAR);
        let task = leaves_its_group::builder(session).supervisor(&sup).start();
        let there = task.recv().unwrap();
        task.kill().unwrap();
        assert!(task.join().unwrap_err().is_canceled());
        assert!(Process::is_gone(there));
        assert_eq!(double::builder(4).supervisor(&sup).start().join().unwrap(), 8);
    }
}

#[background_task(tt = "mp")]
fn ignores_signals(ctx: &TaskContext<(), u32>) {
    // SAFETY: valid sets and dispositions; no other code handles these signals here.
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
fn task_blocks_and_ignores_all_signals() {
    let _watchdog = Watchdog::new("a worker process that ignores signals", FAR);
    let sup = pool();
    let task = ignores_signals::builder().supervisor(&sup).start();
    let there = task.recv().unwrap();
    let next = double::builder(1).supervisor(&sup).start();
    task.kill().unwrap();
    assert!(task.join().unwrap_err().is_canceled());
    assert!(Process::is_gone(there));
    assert_eq!(next.join().unwrap(), 2);
    let limit = Duration::from_millis(200);
    let task = ignores_signals::builder().timeout(limit).supervisor(&sup).start();
    assert!(task.join().unwrap_err().is_timeout());
    let task = ignores_signals::builder().supervisor(&sup).start();
    let there = task.recv().unwrap();
    sup.stop(StopOptions::new().wait(Duration::ZERO));
    assert!(matches!(task.join(), Err(TaskError::SupervisorStopped)));
    assert!(Process::is_gone(there));
}

#[background_task(tt = "mp")]
fn leaves_a_thread_that(then: u32) -> u32 {
    std::thread::spawn(move || match then {
        0 => panic!("unobserved panic"),
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
fn task_leaves_thread_running() {
    let sup = pool();
    assert_eq!(among_others(&sup, || leaves_a_thread_that::builder(0)).unwrap(), 0);
    assert_eq!(among_others(&sup, || leaves_a_thread_that::builder(1)).unwrap(), 1);
    assert_eq!(sup.info().mp_pool.unwrap().restarts, 0);
    // A thread that ends the process while it is idle or runs another task.
    let _watchdog = Watchdog::new("a worker process that dies later", FAR);
    for _ in 0..10 {
        let restarts = sup.info().mp_pool.unwrap().restarts;
        leaves_a_thread_that::builder(2).supervisor(&sup).start().wait().ok();
        eventually(|| match double::builder(1).supervisor(&sup).start().join() {
            Ok(two) => two == 2 && sup.info().mp_pool.unwrap().restarts > restarts,
            Err(error) => error.is_worker_died(),
        });
    }
    // A remaining thread does not delay the exit of the process.
    assert_eq!(leaves_a_thread_that::builder(1).supervisor(&sup).start().join().unwrap(), 1);
    sup.stop(StopOptions::new());
    assert!(sup.info().mp_pool.unwrap().workers.is_empty());
}

/// As deep as a stack of the default size safely permits.
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
fn deep_recursion_of_calls_and_tasks() {
    let sup = pool();
    assert_eq!(among_others(&sup, || recurses::builder(1000)).unwrap(), 1000);
    // On threads of that worker process, each of which waits for the next.
    assert_eq!(among_others(&sup, || launches_down::builder(60)).unwrap(), 60);
    assert_eq!(sup.info().mp_pool.unwrap().workers.len(), 1);
}

#[background_task(tt = "mp")]
fn stops_its_parents_supervisor() -> bool {
    // This is the supervisor of the worker process.
    atasker::supervisor().stop(StopOptions::new());
    true
}

#[test]
fn task_stops_supervisor_of_worker() {
    let sup = pool();
    assert!(among_others(&sup, stops_its_parents_supervisor::builder).unwrap());
    assert!(sup.is_active());
}
