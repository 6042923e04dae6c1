//! When user code that the library calls uses the library, can it deadlock?

use std::cmp::Ordering;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use atasker::{
    FunctionCollection, MpPoolConfig, Priority, QueueWorker, StopOptions, Supervisor, Task,
    TaskBuilder, TaskContext, TaskRef, WorkerContext, background_task, worker_data,
};
use atasker_tests::events::{is_of_library, subscriber};
use atasker_tests::{FAR, Gate, Watchdog, eventually, occupy, pool};
use serde::{Deserialize, Serialize};
use tracing::Level;

/// What a clone does in addition.
type OnClone = Arc<dyn Fn() + Send + Sync>;

struct Clones {
    on_clone: Arc<OnceLock<OnClone>>,
    copies: Arc<AtomicU32>,
}

impl Clone for Clones {
    fn clone(&self) -> Self {
        self.copies.fetch_add(1, SeqCst);
        if let Some(on_clone) = self.on_clone.get() {
            on_clone();
        }
        Clones { on_clone: Arc::clone(&self.on_clone), copies: Arc::clone(&self.copies) }
    }
}

/// An ended task with such a result.
fn clones(sup: &Supervisor) -> (Task<Clones>, TaskRef, Arc<OnceLock<OnClone>>, Arc<AtomicU32>) {
    let (on_clone, copies) = (Arc::new(OnceLock::new()), Arc::new(AtomicU32::new(0)));
    let result = Clones { on_clone: Arc::clone(&on_clone), copies: Arc::clone(&copies) };
    let task = sup.spawn(move || result);
    assert!(task.wait().is_ok());
    let reference = task.to_ref();
    (task, reference, on_clone, copies)
}

#[test]
fn clone_may_clone_same_result() {
    let _watchdog = Watchdog::new("clones within clones", FAR);
    let sup = pool(1);
    let (_task, reference, on_clone, copies) = clones(&sup);
    let (inner, depth) = (reference.clone(), AtomicU32::new(0));
    let all: OnClone = Arc::new(move || {
        assert!(inner.is_completed() && inner.wait().is_ok());
        if depth.fetch_add(1, SeqCst) < 5 {
            assert!(inner.result_cloned::<Clones>().unwrap().is_ok());
        }
    });
    assert!(on_clone.set(all).is_ok());
    assert!(reference.result_cloned::<Clones>().unwrap().is_ok());
    assert_eq!(copies.load(SeqCst), 6);
}

#[test]
fn endless_nested_clone_ends() {
    let _watchdog = Watchdog::new("endless clones", FAR);
    let sup = pool(1);
    let (_task, reference, on_clone, copies) = clones(&sup);
    let inner = reference.clone();
    assert!(on_clone.set(Arc::new(move || drop(inner.result_cloned::<Clones>()))).is_ok());
    assert!(reference.result_cloned::<Clones>().unwrap().is_ok());
    assert_eq!(copies.load(SeqCst), 64);
}

#[test]
fn join_waits_for_clone() {
    let _watchdog = Watchdog::new("clones and joins", FAR);
    let sup = pool(2);
    for awaits in [false, true] {
        let (task, reference, on_clone, _) = clones(&sup);
        let (begun, gate) = (Gate::new(), Gate::new());
        let (begins, waits) = (begun.clone(), gate.clone());
        let once: OnClone = Arc::new(move || {
            if !begins.is_open() {
                begins.open();
                waits.wait();
            }
        });
        assert!(on_clone.set(once).is_ok());
        std::thread::scope(|scope| {
            let cloner = scope.spawn(|| reference.result_cloned::<Clones>().unwrap().is_ok());
            begun.wait();
            // Queries, waits and other clones continue.
            assert!(reference.result_cloned::<Clones>().unwrap().is_ok());
            assert!(reference.info().outcome.is_some() && task.wait().is_ok());
            let joiner = scope.spawn(|| match awaits {
                false => task.join().is_ok(),
                true => futures_lite::future::block_on(task).is_ok(),
            });
            // The join must not return; that it has started to wait cannot be observed.
            std::thread::sleep(Duration::from_millis(20));
            assert!(!joiner.is_finished());
            gate.open();
            assert!(cloner.join().unwrap() && joiner.join().unwrap());
        });
        assert!(reference.result_cloned::<Clones>().is_none(), "the result was moved out");
    }
}

#[test]
fn clone_cannot_join_own_task() {
    let _watchdog = Watchdog::new("a clone that joins", FAR);
    let sup = pool(1);
    let (task, reference, on_clone, _) = clones(&sup);
    drop(task);
    let inner = reference.clone();
    let joins: OnClone = Arc::new(move || {
        let task: Task<Clones> = inner.clone().typed().unwrap();
        let _ = task.join();
    });
    assert!(on_clone.set(joins).is_ok());
    let cloned = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        reference.result_cloned::<Clones>().is_some()
    }));
    let text = *cloned.unwrap_err().downcast::<String>().unwrap();
    assert!(text.contains("can't be moved out by its own `Clone`"), "{text}");
    // The clone that panicked holds nothing.
    let task: Task<Clones> = reference.typed().unwrap();
    assert!(task.join().is_ok());
}

#[test]
fn clones_and_joins_race() {
    let _watchdog = Watchdog::new("clones and joins in any order", FAR);
    let sup = pool(2);
    for _ in 0..300 {
        let task = sup.spawn(|| String::from("done"));
        let reference = task.to_ref();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while let Some(result) = reference.result_cloned::<String>() {
                        assert_eq!(result.unwrap(), "done");
                    }
                });
            }
            scope.spawn(|| assert_eq!(task.join().unwrap(), "done"));
        });
    }
}

/// Reads its own type and another type while it is decoded.
#[derive(Serialize)]
struct Reads(u32);

static READS: AtomicU32 = AtomicU32::new(0);

impl<'de> Deserialize<'de> for Reads {
    fn deserialize<D: serde::Deserializer<'de>>(decoder: D) -> Result<Self, D::Error> {
        READS.fetch_add(1, SeqCst);
        assert!(worker_data::<Reads>().is_none());
        assert!(worker_data::<String>().is_none());
        u32::deserialize(decoder).map(Reads)
    }
}

#[background_task(tt = "mp")]
fn reads() -> (Option<u32>, u32) {
    let first = worker_data::<Reads>().map(|reads| reads.0);
    assert_eq!(worker_data::<Reads>().map(|reads| reads.0), first);
    (first, READS.load(SeqCst))
}

#[test]
fn decoding_worker_data_may_read_worker_data() {
    let _watchdog = Watchdog::new("worker data", FAR);
    let sup = Supervisor::builder().id("data").mp_pool(MpPoolConfig::new(1).worker_data(&Reads(7)));
    let sup = sup.build();
    assert_eq!(reads::builder().supervisor(&sup).start().join().unwrap(), (Some(7), 1));
    // In the parent, on several threads at once.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(worker_data::<Reads>().unwrap().0, 7));
        }
    });
}

/// A waker that uses the library when it is cloned, woken and dropped.
struct Busy {
    sup: Supervisor,
    task: Mutex<Option<TaskRef>>,
    calls: AtomicU32,
}

impl Busy {
    fn is_used(&self) {
        self.calls.fetch_add(1, SeqCst);
        let _ = self.sup.info();
        assert_eq!(self.sup.spawn(|| 1).join().unwrap(), 1);
        if let Some(task) = &*self.task.lock().unwrap() {
            let _ = task.info();
            let _ = task.result_cloned::<u32>();
        }
    }
}

impl Wake for Busy {
    fn wake(self: Arc<Self>) {
        self.is_used();
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.is_used();
    }
}

mod raw {
    use super::Busy;
    use std::mem::ManuallyDrop;
    use std::sync::Arc;
    use std::task::{RawWaker, RawWakerVTable, Waker};

    /// Like `Waker::from`, but a clone uses the library too.
    pub fn waker(busy: Arc<Busy>) -> Waker {
        // SAFETY: the functions below uphold the contract: each waker owns one reference of the
        // `Arc`.
        unsafe { Waker::from_raw(raw(busy)) }
    }

    fn raw(busy: Arc<Busy>) -> RawWaker {
        static TABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, forget);
        RawWaker::new(Arc::into_raw(busy).cast(), &TABLE)
    }

    unsafe fn arc(data: *const ()) -> Arc<Busy> {
        // SAFETY: `data` came from `Arc::into_raw` in `raw`.
        unsafe { Arc::from_raw(data.cast()) }
    }

    unsafe fn clone(data: *const ()) -> RawWaker {
        // SAFETY: the cloned waker keeps its reference.
        let busy = ManuallyDrop::new(unsafe { arc(data) });
        busy.is_used();
        raw(Arc::clone(&busy))
    }

    unsafe fn wake(data: *const ()) {
        // SAFETY: the waker transfers its reference.
        unsafe { arc(data) }.is_used();
    }

    unsafe fn wake_by_ref(data: *const ()) {
        // SAFETY: as in `clone`.
        ManuallyDrop::new(unsafe { arc(data) }).is_used();
    }

    unsafe fn forget(data: *const ()) {
        // SAFETY: as in `wake`.
        unsafe { arc(data) }.is_used();
    }
}

#[test]
fn wakers_may_use_awaited_task() {
    let _watchdog = Watchdog::new("busy wakers", FAR);
    let (sup, other) = (pool(1), pool(1));
    let (first, gate) = occupy(&sup, Priority::Normal);
    let task = TaskBuilder::with_context(|ctx: &TaskContext<u32, u32>| ctx.recv().unwrap())
        .supervisor(&sup)
        .start();
    let busy = || {
        let task = Mutex::new(Some(task.to_ref()));
        Arc::new(Busy { sup: other.clone(), task, calls: AtomicU32::new(0) })
    };
    // A stop, a message and the task itself are awaited, by two successive wakers each.
    let used = {
        let (stays, goes) = (busy(), busy());
        let mut message = Box::pin(task.recv_async());
        let mut stop = Box::pin(sup.stop_async(StopOptions::new()));
        for busy in [&stays, &goes, &stays] {
            let waker = raw::waker(Arc::clone(busy));
            let context = &mut Context::from_waker(&waker);
            assert!(message.as_mut().poll(context).is_pending());
            assert!(stop.as_mut().poll(context).is_pending());
        }
        drop(message);
        gate.open();
        first.join().unwrap();
        task.send(5).unwrap();
        let mut task = std::pin::pin!(task);
        let waker = raw::waker(Arc::clone(&stays));
        eventually(|| match task.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => result.unwrap() == 5,
            Poll::Pending => false,
        });
        eventually(|| stop.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
        *stays.task.lock().unwrap() = None;
        *goes.task.lock().unwrap() = None;
        stays.calls.load(SeqCst)
    };
    assert!(used > 5, "{used}");
}

/// Queries its own queue in comparisons.
struct Compares(u32, Arc<OnceLock<QueueWorker<Compares>>>);

impl PartialEq for Compares {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Compares {}
impl PartialOrd for Compares {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Compares {
    fn cmp(&self, other: &Self) -> Ordering {
        let queue = self.1.get().unwrap();
        let _ = (queue.len(), queue.is_active());
        assert_ne!((self.0, other.0), (13, 14), "this pair cannot be compared");
        assert_ne!((self.0, other.0), (14, 13), "this pair cannot be compared");
        if queue.len() < 40 {
            assert!(queue.put(Compares(100, Arc::clone(&self.1))).is_ok());
        }
        self.0.cmp(&other.0)
    }
}

#[test]
fn compared_items_may_use_queue() {
    let _watchdog = Watchdog::new("items", FAR);
    let sup = pool(1);
    let (sender, reported) = mpsc::channel();
    let queue = QueueWorker::builder().supervisor(&sup).by_priority();
    let queue = queue.run(move |_: &WorkerContext, item: Compares| sender.send(item.0).unwrap());
    let cell = Arc::new(OnceLock::new());
    assert!(cell.set(queue.clone()).is_ok());
    for n in [3, 1, 2, 14, 13, 5] {
        assert!(queue.put(Compares(n, Arc::clone(&cell))).is_ok());
    }
    queue.start();
    // A comparison that panics fails its run. One item may be lost, but the queue continues.
    let mut seen: Vec<u32> = Vec::new();
    while !seen.contains(&100) {
        seen.push(reported.recv_timeout(FAR).unwrap());
    }
    assert!([1, 2, 3, 5].iter().filter(|n| seen.contains(n)).count() >= 3, "{seen:?}");
    queue.stop();
    drop(cell);
}

#[test]
fn functions_may_use_own_collection_and_worker() {
    let _watchdog = Watchdog::new("collections", FAR);
    static STANDS: FunctionCollection<usize> = FunctionCollection::new();
    STANDS.add("adds", 1, || {
        STANDS.add("added", 2, || STANDS.names().len());
        STANDS.remove("gone");
        STANDS.names().len()
    });
    STANDS.add("gone", 3, || 0);
    assert!(STANDS.execute().all_ok);
    assert_eq!(STANDS.names(), ["adds", "added"]);
}

/// Uses the library for every event.
fn uses(sup: &Supervisor) {
    thread_local!(static INSIDE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) });
    if INSIDE.replace(true) {
        return;
    }
    let _ = sup.info();
    let _ = sup.tasks();
    if sup.is_active() {
        let _ = sup.spawn(|| 1).join();
    }
    INSIDE.set(false);
}

#[background_task(tt = "mp")]
fn dies(how: &str) {
    match how {
        "aborts" => std::process::abort(),
        _ => loop {
            std::thread::park();
        },
    }
}

#[test]
fn subscriber_may_use_supervisor() {
    let _watchdog = Watchdog::new("a subscriber", FAR);
    let sup = pool(2);
    let of_events = sup.clone();
    let on_event = move |event: &tracing::Event<'_>| {
        // Not for each stage of a task, because the task that is launched here has stages as well.
        let metadata = event.metadata();
        let is_stage = *metadata.level() > Level::WARN && metadata.fields().field("task").is_some();
        if is_of_library(metadata) && !is_stage {
            uses(&of_events);
        }
    };
    tracing::subscriber::set_global_default(subscriber(|_| true, on_event)).unwrap();
    // Events of a start, of failures, limits, workers and jobs, and of a stop that abandons tasks.
    drop(sup.spawn(|| panic!("on purpose")));
    drop(dies::builder("aborts").supervisor(&sup).start());
    let killed = dies::builder("waits").timeout(Duration::from_millis(20)).supervisor(&sup).start();
    assert!(killed.wait().is_err());
    let overrun = TaskBuilder::repeatable(|| {
        eventually(|| atasker::current().unwrap().stopped());
    });
    let overrun = overrun.timeout(Duration::from_millis(5)).retries(1).supervisor(&sup).start();
    assert!(overrun.wait().is_err());
    drop(TaskBuilder::new(|| ()).retries(3).supervisor(&sup).start());
    let job = sup.create_job(atasker::Job::cron("* * * * * *"), || Err::<(), _>("on purpose"));
    eventually(|| job.runs() > 0);
    let gate = Gate::new();
    let waits = gate.clone();
    let left = sup.spawn(move || waits.wait());
    eventually(|| left.is_started());
    let report = sup.stop(StopOptions::new().wait(Duration::from_millis(20)));
    assert_eq!(report.abandoned, 1);
    gate.open();
}
