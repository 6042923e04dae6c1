//! Does each key have a limit of its own, do keys take turns, and is a key forgotten?

use std::cell::RefCell;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atasker::{KeyedLimit, Priority, TaskBuilder, TaskStatus, wait_completed};
use atasker_tests::{Gate, eventually, occupy, pool};

static BY_NAME: KeyedLimit<String> = KeyedLimit::concurrency(1);

fn keys<K>(limit: &KeyedLimit<K>) -> usize {
    let text = format!("{limit:?}");
    let at = text.find("keys: ").unwrap() + "keys: ".len();
    text[at..].trim_end_matches([' ', '}']).parse().unwrap()
}

#[test]
fn each_key_has_its_limit_and_is_borrowed() {
    let sup = pool(4);
    let (begun, gate) = (Gate::new(), Gate::new());
    let (begins, waits) = (begun.clone(), gate.clone());
    let builder = TaskBuilder::new(move || {
        begins.open();
        waits.wait();
    });
    let holder = builder.limit(BY_NAME.key("a")).supervisor(&sup).start();
    begun.wait();
    let same = TaskBuilder::new(|| 1).limit(BY_NAME.key(&"a".to_owned())).supervisor(&sup).start();
    let other = TaskBuilder::new(|| 2).limit(BY_NAME.key("b")).supervisor(&sup).start();
    assert_eq!(other.join(), Ok(2));
    assert_eq!(same.status(), TaskStatus::Queued);
    gate.open();
    assert_eq!(same.join(), Ok(1));
    holder.join().unwrap();
}

#[test]
fn keys_take_turns_within_a_priority() {
    static LIMIT: KeyedLimit<u64> = KeyedLimit::concurrency(1);
    let sup = pool(1);
    let (occupying, gate) = occupy(&sup, Priority::Normal);
    let order = Arc::new(Mutex::new(Vec::new()));
    let launch = |key: u64, priority: Priority| {
        let order = Arc::clone(&order);
        TaskBuilder::new(move || order.lock().unwrap().push(key))
            .priority(priority)
            .limit(LIMIT.key(&key))
            .supervisor(&sup)
            .start()
    };
    let mut tasks: Vec<_> = [1, 1, 1, 2, 2, 3].map(|key| launch(key, Priority::Normal)).into();
    tasks.extend([4, 4].map(|key| launch(key, Priority::Low)));
    tasks.extend([5, 5].map(|key| launch(key, Priority::High)));
    gate.open();
    wait_completed!(tasks).unwrap();
    occupying.join().unwrap();
    assert_eq!(*order.lock().unwrap(), [5, 5, 1, 2, 3, 1, 2, 1, 4, 4]);
}

#[test]
fn an_unused_key_takes_no_memory() {
    static LIMIT: KeyedLimit<u64> = KeyedLimit::concurrency(1);
    let sup = pool(2);
    for key in 0..5_000 {
        let task = TaskBuilder::new(|| ()).limit(LIMIT.key(&key)).supervisor(&sup).start();
        task.join().unwrap();
    }
    // A key that is never used either.
    drop(LIMIT.key(&7));
    eventually(|| keys(&LIMIT) == 0);
}

#[test]
fn the_key_of_a_rate_is_kept_until_its_tokens_are_back() {
    static LIMIT: KeyedLimit<u64> = KeyedLimit::rate(1, Duration::from_millis(300));
    let sup = pool(2);
    for key in 0..100 {
        let task = TaskBuilder::new(|| ()).limit(LIMIT.key(&key)).supervisor(&sup).start();
        task.join().unwrap();
    }
    // The token of a key that was used just now is spent, although no task of it is left.
    let first = TaskBuilder::new(|| ()).limit(LIMIT.key(&1_000)).supervisor(&sup).start();
    first.join().unwrap();
    assert!(keys(&LIMIT) > 0);
    eventually(|| keys(&LIMIT) == 0);
}

thread_local! {
    static HASHED_BY: RefCell<usize> = const { RefCell::new(0) };
}

/// A key that launches tasks while it is compared.
#[derive(Clone)]
struct Reentrant(u8);

static REENTRANT: KeyedLimit<Reentrant> = KeyedLimit::concurrency(1);

impl Hash for Reentrant {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The same for all.
        state.write_u8(1);
    }
}

impl PartialEq for Reentrant {
    fn eq(&self, other: &Self) -> bool {
        let nested = HASHED_BY.with(|depth| std::mem::replace(&mut *depth.borrow_mut(), 1) > 0);
        if !nested {
            TaskBuilder::new(|| ()).limit(REENTRANT.key(&Reentrant(99))).start().join().unwrap();
            HASHED_BY.set(0);
        }
        self.0 == other.0
    }
}
impl Eq for Reentrant {}

#[test]
fn keys_may_use_the_limit_while_they_are_compared() {
    let tasks: Vec<_> = (0..20_u8)
        .map(|n| TaskBuilder::new(move || n).limit(REENTRANT.key(&Reentrant(n % 3))).start())
        .collect();
    assert_eq!(wait_completed!(tasks).unwrap(), (0..20).collect::<Vec<_>>());
}
