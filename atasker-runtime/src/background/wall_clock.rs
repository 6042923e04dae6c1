//! Those that go by the wall clock hear of it when that is set: devices start in 1970 and learn the
//! time later.
//!
//! A thread that sleeps in the kernel until then, started with the first cron job. It needs the
//! feature `mp`, which brings the calls to the system; without it, what was planned before the clock
//! was set keeps its place on the monotonic clock, and only what follows goes by the new time.

use std::sync::Weak;

use parking_lot::Mutex;

use crate::background::engine::Engine;

static WATCHED: Mutex<Vec<Weak<Engine>>> = Mutex::new(Vec::new());

/// Has the engine told when the wall clock is set.
pub(super) fn watch(engine: Weak<Engine>) {
    let mut watched = WATCHED.lock();
    // Doubled at most, whatever has come and gone.
    if watched.len() == watched.capacity() {
        watched.retain(|engine| engine.strong_count() > 0);
    }
    watched.push(engine);
    drop(watched);
    start();
}

/// The wall clock was set.
#[cfg(any(feature = "mp", test))]
fn tell() {
    let mut watched = WATCHED.lock();
    watched.retain(|engine| engine.strong_count() > 0);
    let engines: Vec<_> = watched.iter().filter_map(Weak::upgrade).collect();
    drop(watched);
    for engine in engines {
        engine.clock_was_set();
    }
}

#[cfg(feature = "mp")]
fn start() {
    use crate::sys::wall_clock::Watch;
    static STARTED: std::sync::Once = std::sync::Once::new();
    STARTED.call_once(|| {
        let started = Watch::new().and_then(|watch| {
            std::thread::Builder::new().name("atasker clock".into()).spawn(move || {
                while watch.wait().is_ok() {
                    tell();
                }
            })
        });
        if let Err(error) = started {
            tracing::warn!(
                target: "atasker", %error,
                "cron jobs will not hear of it when the wall clock is set"
            );
        }
    });
}

#[cfg(not(feature = "mp"))]
fn start() {}

#[cfg(test)]
mod tests {
    use crate::{Job, Supervisor};

    #[test]
    fn what_goes_by_the_wall_clock_is_planned_anew() {
        let sup = Supervisor::builder().build();
        let job = sup.create_job(Job::cron("30 4 1 1 *"), || ());
        let before = sup.info().jobs[0].next.unwrap();
        super::tell();
        let after = sup.info().jobs[0].next.unwrap();
        let moved = after.duration_since(before).unwrap_or_else(|error| error.duration());
        assert!(moved.as_secs() < 1, "{before:?} {after:?}");
        assert!(job.is_active());
    }
}
