//! What may an observer do, and what does a bad one do to others?

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use atasker::{
    EventWorker, Observer, StopOptions, Supervisor, Task, TaskBuilder, TaskError, TaskEvent, TaskId,
};
use atasker_tests::{FAR, Gate, pool};

use crate::recorder::Recorder;

#[test]
fn dropped_guard_ends_the_observation_and_a_kept_one_does_not() {
    let sup = pool(1);
    let (dropped, kept) = (Recorder::new(), Recorder::new());
    let guard = sup.observe(Arc::clone(&dropped));
    sup.observe(Arc::clone(&kept)).keep();
    sup.spawn(|| ()).join().unwrap();
    drop(guard);
    sup.spawn(|| ()).join().unwrap();
    assert_eq!((dropped.calls().len(), kept.calls().len()), (3, 6));
    // The supervisor does not keep it either.
    assert_eq!(Arc::strong_count(&dropped), 1);
    sup.stop(StopOptions::new());
    drop(sup);
}

#[test]
fn observers_of_one_supervisor_see_no_tasks_of_another() {
    let (sup, other) = (pool(1), pool(1));
    let recorder = Recorder::new();
    let _guard = sup.observe(Arc::clone(&recorder));
    other.spawn(|| ()).join().unwrap();
    assert!(recorder.calls().is_empty());
}

#[test]
fn late_observer_sees_what_happens_from_then_on() {
    let sup = pool(1);
    let gate = Gate::new();
    let waits = gate.clone();
    let (begun, begins) = (Gate::new(), Gate::new());
    let begin = begun.clone();
    let task = sup.spawn(move || {
        begin.open();
        waits.wait();
    });
    begun.wait();
    drop(begins);
    let recorder = Recorder::new();
    let _guard = sup.observe(Arc::clone(&recorder));
    gate.open();
    let id = task.id();
    task.join().unwrap();
    assert_eq!(recorder.stages(id), ["ended"]);
    assert!(recorder.of(id)[0].ran_for.is_some());
}

#[test]
fn panicking_observer_harms_nothing() {
    struct Panics(AtomicUsize);
    impl Observer for Panics {
        fn launched(&self, _: &TaskEvent<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
            panic!("an observer");
        }
        fn started(&self, _: &TaskEvent<'_>) {
            panic!("an observer");
        }
        fn ended(&self, _: &TaskEvent<'_>, _: Result<(), &TaskError>) {
            self.0.fetch_add(1, Ordering::Relaxed);
            panic!("an observer");
        }
    }
    let sup = pool(1);
    let panics = Arc::new(Panics(AtomicUsize::new(0)));
    let recorder = Recorder::new();
    let _panics = sup.observe(Arc::clone(&panics));
    let _guard = sup.observe(Arc::clone(&recorder));
    let task = sup.spawn(|| 42);
    let id = task.id();
    assert_eq!(task.join().unwrap(), 42);
    assert_eq!(panics.0.load(Ordering::Relaxed), 2);
    assert_eq!(recorder.stages(id), ["launched", "started", "ended"]);
}

#[test]
fn wait_in_an_observer_panics() {
    struct Waits(Mutex<Option<Task<()>>>, mpsc::Sender<bool>);
    impl Observer for Waits {
        fn started(&self, _: &TaskEvent<'_>) {
            let Some(other) = self.0.lock().unwrap().take() else { return };
            let waited = std::panic::AssertUnwindSafe(|| other.join());
            self.1.send(std::panic::catch_unwind(waited).is_err()).unwrap();
        }
    }
    let (sup, other) = (pool(1), pool(1));
    let gate = Gate::new();
    let waits = gate.clone();
    let (sender, panicked) = mpsc::channel();
    let pending = other.spawn(move || waits.wait());
    let _guard = sup.observe(Waits(Mutex::new(Some(pending)), sender));
    sup.spawn(|| ()).join().unwrap();
    assert!(panicked.recv_timeout(FAR).unwrap());
    gate.open();
}

/// Calls the supervisor and the task from each method.
struct Reenters {
    sup: Supervisor,
    launched: AtomicUsize,
}

impl Reenters {
    fn use_everything(&self, id: TaskId) {
        let _ = (self.sup.info(), self.sup.tasks(), self.sup.is_active());
        if let Some(task) = self.sup.task(id) {
            let _ = (task.info(), task.is_completed());
        }
    }
}

impl Observer for Reenters {
    fn launched(&self, task: &TaskEvent<'_>) {
        self.use_everything(task.id());
        if self.launched.fetch_add(1, Ordering::Relaxed) == 0 {
            // This launch is told within the call about the other one.
            self.sup.spawn(|| ()).detach();
        }
    }
    fn started(&self, task: &TaskEvent<'_>) {
        self.use_everything(task.id());
    }
    fn ended(&self, task: &TaskEvent<'_>, _: Result<(), &TaskError>) {
        self.use_everything(task.id());
    }
}

#[test]
fn observer_may_use_the_supervisor() {
    let sup = pool(2);
    let observer = Arc::new(Reenters { sup: sup.clone(), launched: AtomicUsize::new(0) });
    let guard = sup.observe(Arc::clone(&observer));
    sup.spawn(|| ()).join().unwrap();
    sup.stop(StopOptions::new());
    assert_eq!(observer.launched.load(Ordering::Relaxed), 2);
    drop(guard);
}

#[test]
fn kill_from_the_call_about_the_start_is_told_afterwards() {
    struct Kills(Supervisor, Arc<Recorder>);
    impl Observer for Kills {
        fn started(&self, task: &TaskEvent<'_>) {
            let stages = self.1.stages(task.id());
            self.0.task(task.id()).unwrap().kill().unwrap();
            // Calls about one task never overlap.
            assert_eq!(self.1.stages(task.id()), stages);
        }
    }
    let sup = pool(1);
    let recorder = Recorder::new();
    let _recorder = sup.observe(Arc::clone(&recorder));
    let guard = sup.observe(Kills(sup.clone(), Arc::clone(&recorder)));
    let task = sup.spawn_async(std::future::pending::<()>());
    let id = task.id();
    assert!(task.join().unwrap_err().is_canceled());
    assert_eq!(recorder.stages(id), ["launched", "started", "ended"]);
    drop(guard);
}

#[test]
fn time_limit_during_a_call_is_told_after_it() {
    struct Blocks(Gate, Gate);
    impl Observer for Blocks {
        fn started(&self, _: &TaskEvent<'_>) {
            self.0.open();
            self.1.wait();
        }
    }
    let sup = pool(1);
    let recorder = Recorder::new();
    let (inside, go_on) = (Gate::new(), Gate::new());
    let _blocks = sup.observe(Blocks(inside.clone(), go_on.clone()));
    let _guard = sup.observe(Arc::clone(&recorder));
    let task = TaskBuilder::new(|| ()).supervisor(&sup).start();
    let id = task.id();
    inside.wait();
    // Abandons the task that the pool thread is about to run.
    let stopper = std::thread::spawn({
        let sup = sup.clone();
        move || sup.stop(StopOptions::new().wait(std::time::Duration::ZERO))
    });
    let report = stopper.join().unwrap();
    assert_eq!(report.abandoned, 1);
    assert_eq!(recorder.stages(id), ["launched"], "its start is being told");
    assert!(!task.is_completed(), "its end was not told");
    go_on.open();
    assert_eq!(task.join(), Err(TaskError::SupervisorStopped));
    assert_eq!(recorder.stages(id), ["launched", "started", "ended"]);
}

#[test]
fn runs_of_background_workers_are_told() {
    let sup = pool(1);
    let recorder = Recorder::new();
    let _guard = sup.observe(Arc::clone(&recorder));
    let worker = EventWorker::builder()
        .name("printer")
        .supervisor(&sup)
        .on_error(|_: &atasker::WorkerError| std::ops::ControlFlow::Continue(()))
        .run(|_| Err::<(), _>("out of paper"));
    worker.start();
    worker.trigger();
    let run = recorder.wait_for_other("run of printer");
    assert_eq!(run, "run of printer, event worker: Some(\"out of paper\")");
    worker.stop();
    assert!(recorder.others().len() == 1);
}
