//! Where does the code of a unique key run (`Hash`, `Eq`, `Drop`), and what if it panics, launches
//! tasks or waits?

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use atasker::{Supervisor, Task, TaskBuilder};
use atasker_tests::{FAR, Gate, Watchdog, pool};

type Code = Arc<dyn Fn() + Send + Sync>;

/// A key whose code can be replaced. All have the same hash.
#[derive(Clone)]
struct Key {
    value: u32,
    hash: Code,
    eq: Code,
    drop: Code,
}

fn nothing() -> Code {
    Arc::new(|| {})
}

impl Key {
    fn new(value: u32) -> Self {
        Key { value, hash: nothing(), eq: nothing(), drop: nothing() }
    }

    fn dropped_by(drop: Code) -> Self {
        Key { value: 1, hash: nothing(), eq: nothing(), drop }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.hash)();
        state.write_u8(0);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        (self.eq)();
        self.value == other.value
    }
}

impl Eq for Key {}

impl Drop for Key {
    fn drop(&mut self) {
        (self.drop)();
    }
}

fn holder(sup: &Supervisor, key: Key) -> (Task<()>, Gate) {
    let gate = Gate::new();
    let waits = gate.clone();
    let task = TaskBuilder::new(move || waits.wait()).name("job").unique(key).supervisor(sup);
    (task.start_unique().expect("the key is free"), gate)
}

fn job(sup: &Supervisor, key: Key) -> TaskBuilder<u32> {
    TaskBuilder::new(|| 1).name("job").unique(key).supervisor(sup)
}

#[test]
fn equal_hashes_do_not_make_keys_equal() {
    let sup = pool(8);
    let held: Vec<_> = (0..5).map(|n| holder(&sup, Key::new(n))).collect();
    for (n, (task, _)) in (0..).zip(&held) {
        assert_eq!(job(&sup, Key::new(n)).start_unique().unwrap_err().id(), task.id());
    }
    assert_eq!(job(&sup, Key::new(9)).start_unique().unwrap().join().unwrap(), 1);
    for (task, gate) in held.into_iter().rev() {
        gate.open();
        task.join().unwrap();
    }
    for n in 0..5 {
        assert_eq!(job(&sup, Key::new(n)).start().join().unwrap(), 1);
    }
}

#[test]
fn panic_harms_its_own_launch_only() {
    let sup = pool(8);
    let (first, gate) = holder(&sup, Key::new(1));
    let panics: Code = Arc::new(|| panic!("in the key"));
    let mut bad_hash = Key::new(1);
    bad_hash.hash = panics.clone();
    let mut bad_eq = Key::new(1);
    bad_eq.eq = panics;
    for key in [bad_hash, bad_eq] {
        for task in [
            job(&sup, key.clone()).start(),
            job(&sup, key).start_unique().expect("not known to be a duplicate"),
        ] {
            let error = task.join().unwrap_err();
            assert!(error.is_panic() && error.to_string().contains("in the key"), "{error}");
        }
    }
    assert_eq!(job(&sup, Key::new(1)).start_unique().unwrap_err().id(), first.id());
    assert_eq!(job(&sup, Key::new(2)).start().join().unwrap(), 1);
    gate.open();
    first.join().unwrap();
    assert_eq!(job(&sup, Key::new(1)).start().join().unwrap(), 1);
}

#[test]
fn panic_in_drop_harms_nothing() {
    let sup = pool(8);
    let panics: Code = Arc::new(|| panic!("in the key's drop"));
    let key = || Key::dropped_by(panics.clone());
    let (first, gate) = holder(&sup, key());
    assert!(job(&sup, key()).start_unique().is_err());
    assert!(job(&sup, key()).start().join().unwrap_err().is_duplicate());
    gate.open();
    first.join().unwrap();
    assert_eq!(job(&sup, Key::new(1)).start().join().unwrap(), 1);
}

#[test]
fn code_of_keys_may_launch_unique_tasks_and_wait() {
    let _watchdog = Watchdog::new("code of a unique key under a lock", FAR);
    let sup = pool(8);
    let runs = Arc::new(AtomicU32::new(0));
    let code: Code = {
        let (sup, runs) = (sup.clone(), Arc::clone(&runs));
        Arc::new(move || {
            // With the same hash, so in the same part of the map.
            assert!(job(&sup, Key::new(1)).start().join().is_ok_and(|n| n == 1));
            let _ = sup.tasks();
            runs.fetch_add(1, Ordering::SeqCst);
        })
    };
    let key = |value| Key { value, hash: code.clone(), eq: code.clone(), drop: code.clone() };
    let (first, gate) = holder(&sup, key(2));
    assert!(job(&sup, key(2)).start().join().unwrap_err().is_duplicate());
    assert!(job(&sup, key(2)).start_unique().is_err());
    gate.open();
    first.join().unwrap();
    assert!(runs.load(Ordering::SeqCst) >= 6);
}

#[test]
fn keys_are_dropped_with_their_tasks() {
    let sup = pool(8);
    let counted = Arc::new(());
    let key = || {
        let held = Arc::clone(&counted);
        Key::dropped_by(Arc::new(move || _ = Arc::strong_count(&held)))
    };
    let (first, gate) = holder(&sup, key());
    assert!(job(&sup, key()).start_unique().is_err());
    assert_eq!(Arc::strong_count(&counted), 2);
    gate.open();
    // The handle is left, and the key is gone.
    first.wait().unwrap();
    assert_eq!(Arc::strong_count(&counted), 1);
    let duplicate = job(&sup, key()).start();
    duplicate.wait().unwrap();
    assert_eq!(Arc::strong_count(&counted), 1);
}
