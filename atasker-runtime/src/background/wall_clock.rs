//! Notifies cron jobs when the wall clock is set, as on devices that start in 1970 and learn the
//! time later.
//!
//! A thread, which starts with the first cron job, reads a `timerfd` that the kernel cancels when
//! the clock is set (`sys::wall_clock`). On other platforms than Linux, a run that was planned
//! before the clock was set keeps its time on the monotonic clock, and only later runs use the new
//! time.

use std::sync::Weak;

use crate::sync::lock::Mutex;
use crate::sys::wall_clock::Watch;
use crate::unwind::log;

/// An engine, whose schedule depends on the wall clock.
pub(super) trait OnClockSet: Send + Sync {
    fn on_clock_set(&self);
}

static WATCHED: Mutex<Vec<Weak<dyn OnClockSet>>> = Mutex::new(Vec::new());

/// Notifies the engine from now on when the wall clock is set.
pub(super) fn watch(engine: Weak<dyn OnClockSet>) {
    let mut watched = WATCHED.lock();
    // Removes dropped engines before the vector grows, so that its size stays proportional to the
    // number of live ones.
    if watched.len() == watched.capacity() {
        watched.retain(|engine| engine.strong_count() > 0);
    }
    watched.push(engine);
    drop(watched);
    start();
}

/// Notifies all live engines.
fn notify() {
    let mut watched = WATCHED.lock();
    watched.retain(|engine| engine.strong_count() > 0);
    let engines: Vec<_> = watched.iter().filter_map(Weak::upgrade).collect();
    drop(watched);
    for engine in engines {
        engine.on_clock_set();
    }
}

fn start() {
    static STARTED: std::sync::Once = std::sync::Once::new();
    let mut failure = None;
    STARTED.call_once(|| {
        let started = Watch::new().and_then(|watch| {
            let Some(watch) = watch else { return Ok(()) };
            let name = "atasker clock".into();
            let run = move || {
                while watch.wait().is_ok() {
                    notify();
                }
            };
            std::thread::Builder::new().name(name).spawn(run).map(drop)
        });
        failure = started.err();
    });
    // Logged outside of `call_once`, because a subscriber may start a job and call this function
    // again.
    if let Some(error) = failure {
        log!(warn, %error, "cron jobs are not notified when the wall clock is set");
    }
}

#[cfg(all(test, feature = "cron"))]
mod tests {
    use crate::{Job, Supervisor};

    #[test]
    fn set_clock_replans_cron_job() {
        let sup = Supervisor::builder().build();
        let job = sup.create_job(Job::cron("30 4 1 1 *"), || ());
        let before = sup.info().jobs[0].next.unwrap();
        super::notify();
        let after = sup.info().jobs[0].next.unwrap();
        let moved = after.duration_since(before).unwrap_or_else(|error| error.duration());
        assert!(moved.as_secs() < 1, "{before:?} {after:?}");
        assert!(job.is_active());
    }
}
