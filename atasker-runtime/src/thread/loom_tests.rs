//! Loom models of the parker and of the gate.

use loom::sync::Arc;
use loom::thread;

use loom::sync::atomic::{AtomicBool, Ordering};

use super::injector::Gate;
use super::parker::Parker;
use crate::sync::Mutex;

#[test]
fn loom_unpark_signal_is_not_lost() {
    loom::model(|| {
        let parker = Arc::new(Parker::new());
        let sleeper = {
            let parker = Arc::clone(&parker);
            thread::spawn(move || parker.park(None))
        };
        parker.unpark(7);
        assert_eq!(sleeper.join().unwrap(), Some(7));
    });
}

#[test]
fn loom_spinning_thread_takes_signal_or_parks() {
    loom::model(|| {
        let parker = Arc::new(Parker::new());
        let sleeper = {
            let parker = Arc::clone(&parker);
            thread::spawn(move || match parker.is_notified() {
                true => parker.try_take(),
                false => parker.park(None),
            })
        };
        parker.unpark(7);
        assert_eq!(sleeper.join().unwrap(), Some(7));
    });
}

#[test]
fn loom_signals_arrive_in_order() {
    loom::model(|| {
        let parker = Arc::new(Parker::new());
        let done = Arc::new(Parker::new());
        let thread = {
            let (parker, done) = (Arc::clone(&parker), Arc::clone(&done));
            thread::spawn(move || {
                let first = parker.park(None).unwrap();
                done.unpark(());
                first + parker.park(None).unwrap()
            })
        };
        parker.unpark(1);
        // The worker is back in the idle list only after it has taken the first signal.
        done.park(None).unwrap();
        parker.unpark(2);
        assert_eq!(thread.join().unwrap(), 3);
    });
}

#[test]
fn loom_job_pushed_at_closed_gate_is_found() {
    const BIT: u8 = 1;
    loom::model(|| {
        // The gate, the lock of the queue, and whether the queue contains a job.
        let shared = Arc::new((Gate::new(), Mutex::new(()), AtomicBool::new(false)));
        shared.0.set(0);
        let launcher = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let (gate, queue, nonempty) = &*shared;
                let pushing = queue.lock();
                nonempty.store(true, Ordering::Relaxed);
                drop(pushing);
                gate.is_open(BIT)
            })
        };
        let (gate, queue, nonempty) = &*shared;
        gate.set(BIT);
        drop(queue.lock());
        let found = nonempty.load(Ordering::Relaxed);
        assert!(launcher.join().unwrap() || found, "no one would start the job");
    });
}
