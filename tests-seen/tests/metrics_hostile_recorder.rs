//! What if the recorder panics, or calls the library?
//!
//! One test: the recorder of a program is installed once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use atasker::{StopOptions, Supervisor, TaskBuilder};
use atasker_tests::{FAR, Watchdog, eventually};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

const MESSAGE: &str = "the recorder panics";

static SUPERVISOR: OnceLock<Supervisor> = OnceLock::new();
static PANICS: AtomicBool = AtomicBool::new(true);
static EXPORTED: AtomicBool = AtomicBool::new(false);
/// Calls of the recorder that may export.
static EXPORTS: AtomicU64 = AtomicU64::new(0);
static RECORDS: AtomicU64 = AtomicU64::new(0);

/// Calls the library, which would deadlock if it held a lock, and panics every other time.
fn record() {
    if let Some(sup) = SUPERVISOR.get() {
        let _ = (sup.info(), sup.tasks());
        EXPORTS.fetch_add(1, Ordering::SeqCst);
        if EXPORTED.load(Ordering::SeqCst) {
            // Otherwise this would be an export that records, and so on.
            drop(sup.export_metrics());
        }
        EXPORTS.fetch_sub(1, Ordering::SeqCst);
        if RECORDS.load(Ordering::SeqCst) % 100 == 3 {
            drop(TaskBuilder::new(|| ()).name("of the recorder").supervisor(sup).start());
        }
    }
    let number = RECORDS.fetch_add(1, Ordering::SeqCst);
    assert!(number.is_multiple_of(2) || !PANICS.load(Ordering::SeqCst), "{MESSAGE}");
}

struct Hostile;

impl CounterFn for Hostile {
    fn increment(&self, _value: u64) {
        record();
    }
    fn absolute(&self, _value: u64) {}
}

impl GaugeFn for Hostile {
    fn increment(&self, _value: f64) {}
    fn decrement(&self, _value: f64) {}
    fn set(&self, _value: f64) {
        record();
    }
}

impl HistogramFn for Hostile {
    fn record(&self, _value: f64) {
        record();
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        record();
    }
}

impl Recorder for Hostile {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        record();
    }
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        record();
    }
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        record();
    }
    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        record();
        Counter::from_arc(Arc::new(Hostile))
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        record();
        Gauge::from_arc(Arc::new(Hostile))
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        record();
        Histogram::from_arc(Arc::new(Hostile))
    }
}

#[test]
fn tasks_run_and_the_export_ends() {
    let _dog = Watchdog::new("a recorder that calls the library and panics", FAR);
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload_as_str() != Some(MESSAGE) {
            print(info);
        }
    }));
    assert!(metrics::set_global_recorder(Hostile).is_ok());
    let sup = SUPERVISOR.get_or_init(|| Supervisor::builder().id("hostile").build());
    let export = sup.export_metrics();
    EXPORTED.store(true, Ordering::SeqCst);
    let run = || {
        for n in 0..300 {
            let task = TaskBuilder::new(move || n).name("runs").supervisor(sup).start();
            assert_eq!(task.join().unwrap(), n);
        }
    };
    run();
    std::thread::sleep(Duration::from_millis(600));
    run();
    sup.stop(StopOptions::new());
    sup.start();
    run();
    // Without panics it works on.
    PANICS.store(false, Ordering::SeqCst);
    let before = RECORDS.load(Ordering::SeqCst);
    run();
    eventually(|| RECORDS.load(Ordering::SeqCst) > before);
    EXPORTED.store(false, Ordering::SeqCst);
    // The recorder's own guard must not be the last one.
    eventually(|| EXPORTS.load(Ordering::SeqCst) == 0);
    drop(export);
    // What was under way may finish a moment later: tasks of the recorder.
    eventually(|| sup.tasks().is_empty());
    let ended = RECORDS.load(Ordering::SeqCst);
    run();
    assert_eq!(RECORDS.load(Ordering::SeqCst), ended);
    let _ = std::panic::take_hook();
}
