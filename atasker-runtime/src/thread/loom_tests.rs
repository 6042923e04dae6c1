//! Models of the hand-over to an idle thread.

use loom::sync::Arc;
use loom::thread;

use loom::sync::atomic::{AtomicBool, Ordering};

use super::idle::Idler;
use super::inbox::Gate;

#[test]
fn loom_an_order_is_never_lost() {
    loom::model(|| {
        let idler = Arc::new(Idler::new());
        let sleeper = {
            let idler = Arc::clone(&idler);
            thread::spawn(move || idler.sleep(None))
        };
        idler.hand(7);
        assert_eq!(sleeper.join().unwrap(), Some(7));
    });
}

#[test]
fn loom_a_spinner_finds_it_or_sleeps_on_it() {
    loom::model(|| {
        let idler = Arc::new(Idler::new());
        let sleeper = {
            let idler = Arc::clone(&idler);
            thread::spawn(move || match idler.is_called() {
                true => idler.take(),
                false => idler.sleep(None),
            })
        };
        idler.hand(7);
        assert_eq!(sleeper.join().unwrap(), Some(7));
    });
}

#[test]
fn loom_one_order_after_another() {
    loom::model(|| {
        let idler = Arc::new(Idler::new());
        let done = Arc::new(Idler::new());
        let worker = {
            let (idler, done) = (Arc::clone(&idler), Arc::clone(&done));
            thread::spawn(move || {
                let first = idler.sleep(None).unwrap();
                done.hand(());
                first + idler.sleep(None).unwrap()
            })
        };
        idler.hand(1);
        // The worker is on the idle list again only after it has taken the first order.
        done.sleep(None).unwrap();
        idler.hand(2);
        assert_eq!(worker.join().unwrap(), 3);
    });
}

#[test]
fn loom_a_job_that_is_left_at_a_closed_gate_is_found_by_who_opens_it() {
    const BIT: u8 = 1;
    loom::model(|| {
        let shared = Arc::new((Gate::new(), AtomicBool::new(false)));
        shared.0.set(0);
        let launcher = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let (gate, job) = &*shared;
                job.store(true, Ordering::Relaxed);
                gate.is_open(BIT)
            })
        };
        let (gate, job) = &*shared;
        gate.set(BIT);
        let found = job.load(Ordering::Relaxed);
        assert!(launcher.join().unwrap() || found, "nobody would start it");
    });
}
