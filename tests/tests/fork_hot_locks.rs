//! Does each call return in a fork while other threads of the original process hold the locks that
//! the call would need?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use atasker::compat::Locker;
use atasker::{
    FunctionCollection, Priority, Supervisor, Task, TaskBuilder, TaskCollection, TaskContext,
    as_completed, background_task, bounded, supervisor, wait_any, worker_data,
};
use atasker_tests::forks::{fork, refused};
use atasker_tests::mp::pool_of;
use atasker_tests::{FAR, Gate, Watchdog, checks};

const FORKS: usize = 200;

/// Stops the threads that hold the locks, also if a check fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Forks while two threads call `occupy` continuously, and calls `checks` in each fork.
fn forks_while(occupy: impl Fn() + Sync, mut checks: impl FnMut() -> i32) {
    let _watchdog = Watchdog::new("forks", FAR * 2);
    let stop = AtomicBool::new(false);
    let begun = [Gate::new(), Gate::new()];
    std::thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        for gate in &begun {
            let (occupy, stop) = (&occupy, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    occupy();
                    gate.open();
                }
            });
        }
        begun.iter().for_each(Gate::wait);
        for round in 0..FORKS {
            assert_eq!(fork(false, &mut checks), 0, "round {round}");
        }
    });
}

/// A task that sends messages and reports progress continuously. It has begun.
fn busy_task() -> Task<(), u8, u64> {
    let begun = Gate::new();
    let begins = begun.clone();
    let task = TaskBuilder::with_context(move |ctx: &TaskContext<u8, u64>| {
        let mut n = 0;
        while !ctx.stopped() {
            let _ = ctx.try_send(n);
            ctx.progress(n, n);
            ctx.message("works");
            n += 1;
            begins.open();
        }
    });
    let task = task.start();
    begun.wait();
    task
}

#[test]
fn task_with_channels_drops() {
    let mut task = Some(busy_task());
    forks_while(
        || (),
        || {
            drop(task.take());
            0
        },
    );
    let task = task.unwrap();
    assert!(task.recv().is_ok());
    task.stop();
    task.join().unwrap();
}

#[test]
fn task_ref_becomes_typed() {
    let reference = busy_task().to_ref();
    forks_while(
        || (),
        || {
            let task = reference.clone().typed::<Task<(), u8, u64>>();
            checks![task.as_ref().is_ok_and(|task| task.recv().is_err())]
        },
    );
    let task: Task<(), u8, u64> = reference.typed().unwrap();
    assert!(task.recv().is_ok());
    task.stop();
    task.join().unwrap();
}

#[test]
fn task_tells_about_itself() {
    let task = busy_task();
    forks_while(
        || (),
        || {
            let reference = task.to_ref();
            checks![
                task.progress().is_none(),
                task.info().id == task.id(),
                reference.info().id == task.id(),
                task.time_started().is_some(),
                task.time_completed().is_none(),
                format!("{task:?} {reference:?}").contains("Started"),
            ]
        },
    );
    assert!(task.progress().is_some());
    task.stop();
    task.join().unwrap();
}

/// A result whose clone takes until the gate is open.
struct SlowClone {
    begun: Gate,
    goes_on: Gate,
}

impl Clone for SlowClone {
    fn clone(&self) -> Self {
        self.begun.open();
        self.goes_on.wait();
        SlowClone { begun: self.begun.clone(), goes_on: self.goes_on.clone() }
    }
}

#[test]
fn result_that_is_being_cloned_is_not_moved_out() {
    let _watchdog = Watchdog::new("forks", FAR);
    let (begun, goes_on) = (Gate::new(), Gate::new());
    let result = SlowClone { begun: begun.clone(), goes_on: goes_on.clone() };
    let task = supervisor().spawn(move || result);
    task.wait().unwrap();
    let reference = task.to_ref();
    let clones = std::thread::spawn(move || reference.result_cloned::<SlowClone>().is_some());
    begun.wait();
    let mut task = Some(task);
    for _ in 0..10 {
        assert_eq!(fork(false, || checks![refused(task.take().unwrap().join())]), 0);
        let checks = || {
            let task = task.take().unwrap();
            checks![task.wait().is_ok(), refused(futures_lite::future::block_on(task))]
        };
        assert_eq!(fork(false, checks), 0);
        let checks = || checks![wait_any!([task.take().unwrap()]).is_err()];
        assert_eq!(fork(false, checks), 0);
    }
    goes_on.open();
    assert!(clones.join().unwrap());
    assert!(task.unwrap().join().is_ok());
}

#[test]
fn worker_data_is_absent() {
    let _sup = Supervisor::builder().mp_pool(pool_of(1).worker_data("text")).build();
    forks_while(
        || {
            assert_eq!(worker_data::<String>().unwrap(), "text");
            assert!(worker_data::<u64>().is_none());
        },
        || {
            let _sup = Supervisor::builder().mp_pool(pool_of(1).worker_data("other"));
            checks![worker_data::<String>().is_none(), worker_data::<u64>().is_none()]
        },
    );
}

#[test]
fn collection_is_not_executed() {
    let [busy, other] = [FunctionCollection::<u8>::new(), FunctionCollection::new()];
    let tasks = TaskCollection::<u8>::new();
    busy.add("one", Priority::Normal, || 1);
    other.add("one", Priority::Normal, || 1);
    tasks.add("one", Priority::Normal, || 1);
    forks_while(
        || {
            busy.add("two", Priority::Normal, || 2);
            assert!(busy.execute().all_ok);
            tasks.set_supervisor(supervisor());
            assert!(tasks.names() == ["one"]);
        },
        || {
            let errors = |report: atasker::CollectionReport<u8>| {
                report.results.len() == 1 && report.results.into_iter().all(|(_, r)| refused(r))
            };
            busy.on_error(|_, _| ());
            busy.add("three", Priority::Normal, || 3);
            tasks.set_supervisor(supervisor());
            checks![
                errors(other.execute()),
                errors(busy.execute()),
                errors(tasks.execute()),
                errors(futures_lite::future::block_on(tasks.execute_async())),
                busy.names().is_empty(),
                !busy.remove("one"),
                !format!("{busy:?}").is_empty(),
            ]
        },
    );
    assert_eq!(busy.names(), ["one", "two"]);
}

/// A function of a collection forks: the copy goes on to the end of the collection.
#[test]
fn collection_goes_on_after_fork_in_function() {
    let _watchdog = Watchdog::new("forks", FAR);
    let functions = FunctionCollection::<i32>::new();
    functions.add("forks", 1, || {
        // SAFETY: the fork only uses the library, and exits.
        unsafe { libc::fork() }
    });
    functions.add("next", 2, || -1);
    let caller = std::process::id();
    let report = functions.execute();
    if std::process::id() != caller {
        let [(_, first), (_, second)] = &report.results[..] else { unreachable!() };
        let code = i32::from(*first != Ok(0) || !refused(second.clone()));
        // SAFETY: no preconditions.
        unsafe { libc::_exit(code) };
    }
    let [(_, Ok(child)), (_, Ok(-1))] = report.results[..] else { panic!("{report:?}") };
    assert_eq!(atasker_tests::forks::wait_for(child), 0);
}

#[test]
fn iterators_end_with_errors() {
    let _watchdog = Watchdog::new("forks", FAR * 2);
    let task = || TaskBuilder::new(|| std::thread::sleep(Duration::from_micros(20)));
    for round in 0..FORKS {
        let mut tasks = as_completed((0..50).map(|_| task().start()).collect::<Vec<_>>());
        let mut endless = bounded(8, std::iter::repeat_with(task));
        assert!(tasks.next().unwrap().1.is_ok());
        assert!(endless.next().unwrap().1.is_ok());
        let checks = || {
            let outcomes: Vec<_> = tasks.by_ref().map(|(_, outcome)| outcome).collect();
            checks![
                outcomes.len() == 49,
                outcomes.into_iter().all(|outcome| outcome.is_ok() || refused(outcome)),
                endless.by_ref().take(7).all(|(_, result)| result.is_ok() || refused(result)),
                endless.by_ref().take(20).all(|(_, result)| refused(result)),
            ]
        };
        assert_eq!(fork(false, checks), 0, "round {round}");
        assert_eq!(tasks.count(), 49);
        assert!(endless.take(20).all(|(_, result)| result.is_ok()));
    }
}

#[background_task(tt = "mp")]
fn takes_bytes(bytes: &[u8]) -> usize {
    bytes.len()
}

#[test]
fn launch_with_large_arguments_fails() {
    let sup = Supervisor::builder().mp_pool(pool_of(1)).build();
    let bytes = vec![1; 1 << 20];
    forks_while(
        || {
            drop(takes_bytes::builder(&bytes));
            let task = takes_bytes::builder(&bytes).supervisor(&sup).start();
            assert_eq!(task.join().unwrap(), bytes.len());
        },
        || {
            drop(takes_bytes::builder(&bytes));
            checks![
                refused(takes_bytes::builder(&bytes).supervisor(&sup).start().join()),
                refused(takes_bytes(&bytes).join()),
            ]
        },
    );
}

#[test]
fn locker_is_not_waited_for() {
    let locker = Arc::new(Locker::new("busy").timeout(Duration::MAX));
    forks_while(
        || drop(locker.lock().unwrap()),
        || {
            let _ = locker.lock();
            0
        },
    );
}
