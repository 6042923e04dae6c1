//! Does user code in wakers, their destructors and predicates run without blocking or panicking the
//! library?

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use atasker::{StopOptions, Supervisor, Task, TaskBuilder, TaskContext, TaskError, TaskRef};

use crate::one_slot;

/// A task that runs until the gate opens.
fn held(sup: &Supervisor) -> (Task<u32>, mpsc::Sender<()>) {
    let (go, gate) = mpsc::channel();
    let task = TaskBuilder::new(move || {
        let _ = gate.recv();
        7
    });
    (task.supervisor(sup).start(), go)
}

fn within(what: &str, f: impl FnOnce() + Send + 'static) {
    let (done, end) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        f();
        done.send(()).unwrap();
    });
    match end.recv_timeout(Duration::from_secs(30)) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what}: not within 30 s"),
        _ => thread.join().unwrap(),
    }
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("this waker panics");
    }
}

#[test]
fn panicking_waker_wakes_others() {
    let sup = one_slot();
    let (go, gate) = mpsc::channel::<()>();
    let mut task = TaskBuilder::<u32>::with_context(move |_: &TaskContext<(), ()>| {
        gate.recv().unwrap();
        7
    })
    .supervisor(&sup)
    .start();
    let waker = Waker::from(Arc::new(Panics));
    assert!(Pin::new(&mut task).poll(&mut Context::from_waker(&waker)).is_pending());
    let reference = task.to_ref();
    within("wait, recv", move || {
        let (asleep, sleeps) = mpsc::channel();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| {
                asleep.send(()).unwrap();
                reference.wait()
            });
            let receives = scope.spawn(|| task.recv());
            sleeps.recv().unwrap();
            go.send(()).unwrap();
            waits.join().unwrap().unwrap();
            assert!(receives.join().unwrap().is_err(), "the channel closes");
        });
        assert_eq!(task.join().unwrap(), 7);
    });
}

/// Queries the task when it is dropped.
struct Looks {
    task: TaskRef,
    drops: Arc<AtomicU32>,
}

impl Wake for Looks {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Looks {
    fn drop(&mut self) {
        assert!(self.task.result_cloned::<u32>().is_none());
        self.drops.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn waker_destructor_may_query_task() {
    let sup = one_slot();
    let (mut task, go) = held(&sup);
    let drops = Arc::new(AtomicU32::new(0));
    let waker = || {
        let looks = Looks { task: task.to_ref(), drops: Arc::clone(&drops) };
        Waker::from(Arc::new(looks))
    };
    let (first, second) = (waker(), waker());
    let seen = Arc::clone(&drops);
    within("poll, poll, drop", move || {
        assert!(Pin::new(&mut task).poll(&mut Context::from_waker(&first)).is_pending());
        drop(first);
        // Replaced: the first waker is dropped.
        assert!(Pin::new(&mut task).poll(&mut Context::from_waker(&second)).is_pending());
        drop(second);
        assert_eq!(seen.load(Ordering::Relaxed), 1);
        // Deregistered: the second waker is dropped.
        drop(task);
    });
    assert_eq!(drops.load(Ordering::Relaxed), 2);
    go.send(()).unwrap();
}

/// When dropped, lets another thread stop the supervisor and waits for that.
struct Stops(Supervisor);

impl Drop for Stops {
    fn drop(&mut self) {
        let stop = || self.0.stop(StopOptions::new().wait(Duration::ZERO));
        let report = std::thread::scope(|scope| scope.spawn(stop).join().unwrap());
        assert_eq!(report.abandoned, 1);
    }
}

#[test]
fn predicate_destructor_may_wait_for_stop() {
    within("retry_if", || {
        let sup = one_slot();
        let stops = Stops(sup.clone());
        let wanted = move |_: &u32| {
            let _ = &stops;
            false
        };
        let task = TaskBuilder::repeatable(|| 1).retries(1).retry_if(wanted);
        let error = task.supervisor(&sup).start().join().unwrap_err();
        assert!(matches!(error, TaskError::SupervisorStopped), "{error}");
    });
}

#[test]
fn polled_to_its_end() {
    let sup = one_slot();
    let (mut task, go) = held(&sup);
    struct Unparks(std::thread::Thread);
    impl Wake for Unparks {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unparks(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    assert!(Pin::new(&mut task).poll(&mut context).is_pending());
    go.send(()).unwrap();
    let result = loop {
        if let Poll::Ready(result) = Pin::new(&mut task).poll(&mut context) {
            break result;
        }
        std::thread::park();
    };
    assert_eq!(result.unwrap(), 7);
}
