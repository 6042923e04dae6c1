//! Which pauses does a task make before it is run again, in each place?

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atasker::{Backoff, Observer, Supervisor, TaskBuilder, TaskError, TaskEvent, background_task};

const MS: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(3600);

/// Doubles from 1 ms to 4 ms, without jitter.
const SHORT: Backoff = Backoff::exponential(MS, Duration::from_millis(4)).jitter(false);

#[background_task(retries = 4, backoff = SHORT)]
fn on_thread() {
    panic!("again")
}

#[background_task(retries = 4, backoff = SHORT)]
async fn on_loop() {
    panic!("again")
}

#[background_task(tt = "mp", retries = 4, backoff = SHORT)]
fn in_process() {
    panic!("again")
}

/// One builder per place.
fn builders(sup: &Supervisor) -> [TaskBuilder<()>; 3] {
    [on_thread::builder(), on_loop::builder(), in_process::builder()].map(|b| b.supervisor(sup))
}

/// The pauses that were reported, and when.
#[derive(Clone, Default)]
struct Pauses(Arc<Mutex<Vec<(Duration, Instant)>>>);

impl Observer for Pauses {
    fn retrying(&self, _: &TaskEvent<'_>, _: Option<&TaskError>, pause: Duration) {
        self.0.lock().unwrap().push((pause, Instant::now()));
    }
}

/// Runs a task to its end, and returns the pauses that were reported.
fn pauses_of(sup: &Supervisor, builder: TaskBuilder<()>) -> Vec<Duration> {
    let pauses = Pauses::default();
    let guard = sup.observe(pauses.clone());
    assert!(builder.start().join().is_err());
    drop(guard);
    let pauses = std::mem::take(&mut *pauses.0.lock().unwrap());
    let ended = Instant::now();
    let next = pauses.iter().skip(1).map(|(_, at)| *at).chain([ended]);
    for ((pause, at), next) in pauses.iter().zip(next) {
        assert!(next - *at >= *pause, "the next attempt begins after the reported pause");
    }
    pauses.into_iter().map(|(pause, _)| pause).collect()
}

fn ms(pauses: [u64; 4]) -> Vec<Duration> {
    pauses.map(Duration::from_millis).to_vec()
}

#[test]
fn pauses_grow_in_each_place() {
    let sup = Supervisor::builder().build();
    for builder in builders(&sup) {
        assert_eq!(pauses_of(&sup, builder), ms([1, 2, 4, 4]));
    }
}

#[test]
fn builder_replaces_key() {
    let sup = Supervisor::builder().build();
    for builder in builders(&sup) {
        let backoff = Backoff::exponential(MS, LONG).factor(1.0).jitter(false);
        assert_eq!(pauses_of(&sup, builder.backoff(backoff)), ms([1; 4]));
    }
}

#[test]
fn later_one_of_backoff_and_retry_delay_counts() {
    let sup = Supervisor::builder().build();
    for builder in builders(&sup) {
        assert_eq!(pauses_of(&sup, builder.retry_delay(2 * MS)), ms([2; 4]));
    }
    for builder in builders(&sup) {
        assert_eq!(pauses_of(&sup, builder.retry_delay(LONG).backoff(SHORT)), ms([1, 2, 4, 4]));
    }
}

#[test]
fn jitter_varies_pauses() {
    let sup = Supervisor::builder().build();
    let backoff = Backoff::exponential(4 * MS, 16 * MS);
    let mut all = Vec::new();
    for _ in 0..5 {
        let pauses = pauses_of(&sup, on_thread::builder().supervisor(&sup).backoff(backoff));
        for (pause, full) in pauses.iter().zip(ms([4, 8, 16, 16])) {
            assert!(*pause >= full / 2 && *pause <= full, "{pause:?} of {full:?}");
        }
        all.extend(pauses);
    }
    all.sort();
    all.dedup();
    assert!(all.len() > 10, "20 random pauses are not equal: {all:?}");
}

#[background_task(retries = 2, backoff = "1ms..2ms")]
fn range_key() -> Result<(), ()> {
    Err(())
}

#[test]
fn range_is_a_backoff_with_jitter() {
    let pauses = Pauses::default();
    let sup = Supervisor::builder().build();
    sup.observe(pauses.clone()).keep();
    assert_eq!(range_key::builder().supervisor(&sup).start().join().unwrap(), Err(()));
    let pauses: Vec<_> = pauses.0.lock().unwrap().iter().map(|(pause, _)| *pause).collect();
    assert!(pauses[0] >= MS / 2 && pauses[0] <= MS, "{pauses:?}");
    assert!(pauses[1] >= MS && pauses[1] <= 2 * MS, "{pauses:?}");
}

#[test]
fn call_accepts_backoff() {
    let sup = Supervisor::builder().build();
    let fails = || -> Result<u32, u32> { Err(1) };
    let task = atasker::background!(
        fails(),
        retries = 2,
        backoff = "1ns..1ms",
        supervisor = &sup,
        retry_if = |result| result.is_err()
    );
    assert_eq!(task.wait(), Ok(&Err(1)));
    assert_eq!(task.info().attempt, 3);
}

#[test]
fn pause_of_a_task_without_retries_is_not_used() {
    let task = TaskBuilder::repeatable(|| 42).backoff(Backoff::exponential(LONG, LONG)).start();
    assert_eq!(task.join().unwrap(), 42);
}
