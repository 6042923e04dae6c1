//! Models of the hand-over to an idle thread.

use loom::sync::Arc;
use loom::thread;

use super::idle::Idler;

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
