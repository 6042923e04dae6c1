//! Models of the task's cell: which thread ends a task, which threads see the outcome, and which
//! are woken.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::sync::{Condvar, Mutex};
use loom::thread;

use crate::error::TaskError;
use crate::id::TaskId;
use crate::info::TaskType;
use crate::job::{Job, Run, end_waiting};
use crate::task::TaskArc;
use crate::task::arc::TypedArc;
use crate::task::body::Once;
use crate::task::cell::Cell;
use crate::task::handle::Task;
use crate::task::header::Header;
use crate::task::reference::TaskRef;
use crate::task::state::Phase;
use crate::task::waiters::WaiterKey;
use crate::time::clock;

/// Explores all schedules with a limited number of preemptions per thread. With three threads and a
/// lock, exploring all schedules would take hours.
fn model(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(f);
}

/// A thread that waits for a waker.
struct Signal {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

impl Signal {
    fn new() -> Arc<Signal> {
        Arc::new(Signal { rung: Mutex::new(false), changed: Condvar::new() })
    }

    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.changed.wait(rung).unwrap();
        }
        *rung = false;
    }
}

/// Waits like `wait_end`. A lost wake-up is a deadlock, which the model reports.
fn wait_end(header: &Header) {
    let (key, signal) = (WaiterKey::next(), Signal::new());
    let waker = Waker::from(Arc::clone(&signal));
    while !header.state.read().is_ended() && header.watch(key, &waker) {
        signal.wait();
    }
}

type Outcome = Result<String, TaskError>;

/// A queued task that returns "done", and counts its runs.
fn queued(limit: Option<Duration>) -> (TypedArc<String>, Arc<AtomicU32>) {
    let runs = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&runs);
    let mut header = Header::new(TaskType::Thread, TaskId::next());
    header.set_timeout(limit);
    let body = Once(Some(move |_: &TaskArc| {
        counter.fetch_add(1, Ordering::Relaxed);
        String::from("done")
    }));
    let cell = Cell::allocate(header, body, ());
    cell.header().record_queued();
    assert!(cell.header().state.launch(Phase::Queued));
    // The models read the outcome like an untyped handle.
    cell.header().state.set_referenced();
    (cell, runs)
}

/// A running task whose function is about to be called.
fn started(limit: Option<Duration>) -> TypedArc<String> {
    let (cell, _) = queued(limit);
    assert!(cell.header().begin());
    cell
}

fn run(cell: &TypedArc<String>) {
    Run::of_begun(cell.clone().erase()).execute();
}

/// A task that has ended with its result.
fn ended() -> TypedArc<String> {
    let cell = started(None);
    run(&cell);
    cell
}

fn outcome(cell: &TypedArc<String>) -> Outcome {
    let outcome = cell.outcome().expect("it has ended");
    outcome.cloned().map_err(TaskError::clone)
}

fn handle(cell: &TypedArc<String>) -> Task<String> {
    assert!(cell.header().state.set_join_interest());
    Task::new(cell.clone())
}

#[test]
fn loom_a_canceler_and_a_runner_make_one_outcome() {
    model(|| {
        let (cell, runs) = queued(None);
        let runner = {
            let task = cell.clone().erase();
            thread::spawn(move || {
                if let Some(run) = Job::new(task).begin(clock::now()) {
                    run.execute();
                }
            })
        };
        let canceler = {
            let task = cell.clone().erase();
            thread::spawn(move || end_waiting(task, TaskError::Canceled))
        };
        wait_end(cell.header());
        let first = outcome(&cell);
        match &first {
            Ok(text) => assert_eq!(text, "done"),
            Err(error) => assert!(error.is_canceled()),
        }
        let info = cell.header().info();
        assert!(info.time_completed.is_some());
        runner.join().unwrap();
        canceler.join().unwrap();
        // If it was canceled, it never ran. The outcome has not changed since.
        assert_eq!(runs.load(Ordering::Relaxed), u32::from(first.is_ok()));
        assert_eq!(outcome(&cell).is_ok(), first.is_ok());
    });
}

#[test]
fn loom_a_time_limit_and_a_runner_make_one_outcome() {
    model(|| {
        let limit = Duration::from_secs(1);
        let cell = started(Some(limit));
        let runner = {
            let task = cell.clone().erase();
            thread::spawn(move || Run::of_begun(task).execute())
        };
        let timer = {
            let task = cell.clone().erase();
            thread::spawn(move || {
                if let Some(overrun) = task.record_overrun() {
                    overrun.complete(&task);
                }
            })
        };
        wait_end(cell.header());
        let first = outcome(&cell);
        match &first {
            Ok(text) => assert_eq!(text, "done"),
            Err(TaskError::TimedOut { limit: is, .. }) => assert_eq!(*is, limit),
            Err(other) => panic!("{other}"),
        }
        runner.join().unwrap();
        timer.join().unwrap();
        assert_eq!(outcome(&cell).is_ok(), first.is_ok());
    });
}

#[test]
fn loom_every_waiter_is_woken() {
    model(|| {
        let cell = started(None);
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let cell = cell.clone();
                thread::spawn(move || {
                    wait_end(cell.header());
                    assert_eq!(outcome(&cell).unwrap(), "done");
                })
            })
            .collect();
        run(&cell);
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
}

#[test]
fn loom_a_request_to_stop_uses_no_wake_up_of_the_end_up() {
    model(|| {
        let cell = started(None);
        let stopper = {
            let cell = cell.clone();
            thread::spawn(move || cell.header().request_stop())
        };
        let runner = {
            let task = cell.clone().erase();
            thread::spawn(move || Run::of_begun(task).execute())
        };
        wait_end(cell.header());
        assert_eq!(outcome(&cell).unwrap(), "done");
        stopper.join().unwrap();
        runner.join().unwrap();
    });
}

#[test]
fn loom_a_stopped_task_is_told_even_if_it_is_about_to_wait() {
    model(|| {
        let cell = started(None);
        let task = {
            let cell = cell.clone();
            thread::spawn(move || {
                // Like `wait_stop`: check, register a waker, check again.
                let header = cell.header();
                let (key, signal) = (WaiterKey::next(), Signal::new());
                let waker = Waker::from(Arc::clone(&signal));
                loop {
                    assert!(header.watch(key, &waker), "it has not ended");
                    if header.state.read().stopped() {
                        break header.unwatch(key);
                    }
                    signal.wait();
                }
            })
        };
        cell.header().request_stop();
        task.join().unwrap();
    });
}

#[test]
fn loom_a_waiter_that_gives_up_is_left_alone() {
    model(|| {
        let cell = started(None);
        let runner = {
            let task = cell.clone().erase();
            thread::spawn(move || Run::of_begun(task).execute())
        };
        let signal = Signal::new();
        let key = WaiterKey::next();
        let watches = cell.header().watch(key, &Waker::from(Arc::clone(&signal)));
        cell.header().unwatch(key);
        runner.join().unwrap();
        assert!(watches || cell.header().state.read().is_ended());
        // Woken or taken back, the waker is gone.
        assert_eq!(Arc::strong_count(&signal), 1);
    });
}

/// Takes the outcome like `.await`, waiting for clones in progress.
fn awaited(task: Task<String>) -> Outcome {
    let mut task = std::pin::pin!(task);
    let signal = Signal::new();
    let waker = Waker::from(Arc::clone(&signal));
    loop {
        match task.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(outcome) => return outcome,
            Poll::Pending => signal.wait(),
        }
    }
}

#[test]
fn loom_a_result_moves_out_while_others_look() {
    model(|| {
        let cell = ended();
        let task = handle(&cell);
        let reference = TaskRef::new(cell.erase());
        let looker = thread::spawn(move || {
            assert!(reference.error().is_none());
            if let Some(outcome) = reference.result_cloned::<String>() {
                assert_eq!(outcome.unwrap(), "done");
            }
        });
        assert_eq!(awaited(task).unwrap(), "done");
        looker.join().unwrap();
    });
}

#[test]
fn loom_a_result_is_cloned_by_two_while_it_moves_out() {
    model(|| {
        let cell = ended();
        let task = handle(&cell);
        let reference = TaskRef::new(cell.erase());
        let clone = |reference: &TaskRef| match reference.result_cloned::<String>() {
            Some(outcome) => assert_eq!(outcome.unwrap(), "done"),
            None => assert!(reference.is_completed()),
        };
        let other = {
            let reference = reference.clone();
            thread::spawn(move || clone(&reference))
        };
        let owner = thread::spawn(move || assert_eq!(awaited(task).unwrap(), "done"));
        clone(&reference);
        other.join().unwrap();
        owner.join().unwrap();
        assert!(reference.result_cloned::<String>().is_none());
    });
}

#[test]
fn loom_a_result_is_cloned_while_its_handle_goes() {
    model(|| {
        let cell = ended();
        let task = handle(&cell);
        let reference = TaskRef::new(cell.erase());
        let other = {
            let reference = reference.clone();
            thread::spawn(move || reference.result_cloned::<String>().unwrap().unwrap())
        };
        drop(task);
        assert_eq!(other.join().unwrap(), "done");
        // A reference preserves the result for the next handle.
        let task = reference.typed::<Task<String>>().unwrap();
        assert_eq!(awaited(task).unwrap(), "done");
    });
}

#[test]
fn loom_a_runner_ends_while_a_reference_looks() {
    model(|| {
        let cell = started(None);
        let reference = TaskRef::new(cell.clone().erase());
        let runner = {
            let task = cell.erase();
            thread::spawn(move || Run::of_begun(task).execute())
        };
        assert!(reference.error().is_none());
        if let Some(outcome) = reference.result_cloned::<String>() {
            assert_eq!(outcome.unwrap(), "done");
        }
        runner.join().unwrap();
        assert_eq!(reference.result_cloned::<String>().unwrap().unwrap(), "done");
    });
}

#[test]
fn loom_one_typed_handle_at_a_time() {
    model(|| {
        let cell = ended();
        let task = handle(&cell);
        let reference = TaskRef::new(cell.erase());
        let other = thread::spawn(move || match reference.typed::<Task<String>>() {
            // The first handle is gone, as is everything that it lent.
            Ok(task) => assert_eq!(task.take_outcome().unwrap(), "done"),
            Err(reference) => assert!(reference.is_completed()),
        });
        assert_eq!(task.result().unwrap(), "done");
        drop(task);
        other.join().unwrap();
    });
}

#[test]
fn loom_two_want_the_typed_handle() {
    model(|| {
        let reference = TaskRef::new(ended().erase());
        let other = {
            let reference = reference.clone();
            // Kept until both have tried.
            thread::spawn(move || reference.typed::<Task<String>>().ok())
        };
        let ours = reference.clone().typed::<Task<String>>().ok();
        let theirs = other.join().unwrap();
        assert!(ours.is_some() != theirs.is_some());
        drop((ours, theirs));
        let task = reference.typed::<Task<String>>().unwrap();
        assert_eq!(task.take_outcome().unwrap(), "done");
    });
}

#[test]
fn loom_each_of_many_arrives_once() {
    use crate::task::wait::Arrivals;

    model(|| {
        let cells = [started(None), started(None)];
        let mut arrivals = Arrivals::new();
        arrivals.add(0, cells[0].header());
        let threads = {
            let [first, second] = [cells[0].clone().erase(), cells[1].clone().erase()];
            [
                thread::spawn(move || {
                    first.header().request_stop();
                    Run::of_begun(first).execute();
                }),
                thread::spawn(move || {
                    Run::of_begun(second).execute();
                }),
            ]
        };
        arrivals.add(1, cells[1].header());
        let signal = Signal::new();
        let waker = Waker::from(Arc::clone(&signal));
        let mut seen = [false; 2];
        while seen != [true; 2] {
            match arrivals.poll(&Context::from_waker(&waker), |i| cells[i].header()) {
                Poll::Ready(index) => {
                    assert!(!std::mem::replace(&mut seen[index], true), "twice");
                    assert_eq!(outcome(&cells[index]).unwrap(), "done");
                }
                Poll::Pending => signal.wait(),
            }
        }
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn loom_an_entry_becomes_vacant_after_its_value_was_read() {
    use crate::sync::UnsafeCell;
    use crate::task::table::Entry;
    use std::ptr::NonNull;

    /// Reports a race of a reader with the owner, which frees the value.
    struct Value(UnsafeCell<u64>);
    // SAFETY: the model checks that accesses are ordered.
    unsafe impl Sync for Value {}

    model(|| {
        let entry = Arc::new(Entry::new());
        let value: &Value = Box::leak(Box::new(Value(UnsafeCell::new(1))));
        entry.insert(NonNull::from(value));
        let looker = {
            let entry = Arc::clone(&entry);
            thread::spawn(move || {
                entry.with(|value: NonNull<Value>| {
                    // SAFETY: it is leaked.
                    unsafe { value.as_ref().0.with(|value| *value) }
                })
            })
        };
        entry.remove();
        // SAFETY: it is leaked.
        value.0.with_mut(|value| unsafe { *value = 2 });
        assert!(matches!(looker.join().unwrap(), None | Some(1)));
        assert!(entry.with(|_| ()).is_none());
    });
}

/// A function that counts its drops.
struct Counted(Arc<AtomicU32>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn counted() -> (TaskArc, Arc<AtomicU32>) {
    let drops = Arc::new(AtomicU32::new(0));
    let owned = Counted(Arc::clone(&drops));
    let body = Once(Some(move |_: &TaskArc| drop(owned)));
    (Cell::allocate(Header::new(TaskType::Thread, TaskId::next()), body, ()).erase(), drops)
}

#[test]
fn loom_the_last_reference_drops_the_task_once() {
    model(|| {
        let (task, drops) = counted();
        let weak = task.downgrade();
        let threads = [
            thread::spawn(move || {
                if let Some(task) = weak.upgrade() {
                    task.header().record_queued();
                    assert!(weak.upgrade().is_some());
                }
            }),
            thread::spawn({
                let task = task.clone();
                move || drop(task.downgrade())
            }),
        ];
        drop(task);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(drops.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn loom_a_result_goes_with_the_handle_or_at_the_end() {
    model(|| {
        let value = Arc::new(());
        let result = Arc::clone(&value);
        let body = Once(Some(move |_: &TaskArc| result));
        let cell = Cell::allocate(Header::new(TaskType::Thread, TaskId::next()), body, ());
        cell.header().record_queued();
        assert!(cell.header().state.launch(Phase::Queued) && cell.header().begin());
        assert!(cell.header().state.set_join_interest());
        let task = Task::<Arc<()>>::new(cell.clone());
        let runner = {
            let task = cell.clone().erase();
            thread::spawn(move || Run::of_begun(task).execute())
        };
        drop(task);
        runner.join().unwrap();
        // Although the task is still alive.
        assert_eq!(Arc::strong_count(&value), 1);
        drop(cell);
    });
}
