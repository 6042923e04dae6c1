//! What do errors contain, and does any failure affect the pool?

use std::error::Error;
use std::panic::panic_any;

use atasker::{StopOptions, Supervisor, Task, TaskBuilder, TaskError, WaitError, wait_completed};
use atasker_tests::pool;

fn error(sup: &Supervisor, f: impl FnOnce() + Send + 'static) -> TaskError {
    let error = sup.spawn(f).join().unwrap_err();
    assert_eq!(sup.spawn(|| 1).join().unwrap(), 1, "the pool works after the failure");
    error
}

#[test]
fn panic_has_message_and_location() {
    let sup = pool(1);
    let line = line!() + 1;
    let formatted = error(&sup, || panic!("deliberate {}", "panic"));
    let TaskError::Panicked { message, location, .. } = &formatted else { panic!("{formatted:?}") };
    assert_eq!(message, "deliberate panic");
    let location = location.as_deref().unwrap();
    let (file, place) = location.split_at(location.find(".rs:").unwrap() + 3);
    assert!(file.ends_with("errors.rs"));
    let place: Vec<u32> = place[1..].split(':').map(|n| n.parse().unwrap()).collect();
    assert_eq!((place.len(), place[0]), (2, line));
    assert!(formatted.to_string().contains("deliberate panic"));
    assert!(formatted.is_panic());
    let message = |f: fn()| match error(&sup, f) {
        TaskError::Panicked { message, .. } => message,
        other => panic!("{other:?}"),
    };
    assert_eq!(message(|| panic!("plain")), "plain");
    assert!(message(|| std::hint::black_box(None).expect("missing")).contains("missing"));
    assert!(!message(|| panic_any(7)).is_empty());
    assert!(message(|| assert_eq!(1, 2, "unequal")).contains("unequal"));
}

#[test]
fn location_is_of_final_panic() {
    let sup = pool(1);
    let line = line!() + 3;
    let task: Task<()> = sup.spawn(|| {
        let _ = std::panic::catch_unwind(|| panic!("caught"));
        panic!("real");
    });
    let text = task.join().unwrap_err().to_string();
    assert!(text.contains("real") && text.contains(&format!("errors.rs:{line}:")), "{text}");
    // A panic that the hook did not observe has no location, in particular not that of an earlier
    // panic.
    sup.spawn(|| drop(std::panic::catch_unwind(|| panic!("caught")))).join().unwrap();
    let unseen = error(&sup, || std::panic::resume_unwind(Box::new("unseen")));
    match unseen {
        TaskError::Panicked { message, location, .. } => {
            assert_eq!((message.as_str(), location), ("unseen", None));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn nested_panic_keeps_outer_location() {
    // A destructor that uses the library while its task unwinds.
    struct Uses(Supervisor);
    impl Drop for Uses {
        fn drop(&mut self) {
            let _ = self.0.spawn::<()>(|| panic!("another one")).join();
            assert!(self.0.spawn(|| ()).join().is_ok());
        }
    }
    let sup = pool(1);
    let uses = Uses(sup.clone());
    let task: Task<()> = sup.spawn(move || {
        let _uses = uses;
        panic!("the first one");
    });
    let text = task.join().unwrap_err().to_string();
    assert!(text.contains("the first one") && text.contains("errors.rs:"), "{text}");
}

struct Bomb(&'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("{}", self.0);
        }
    }
}

#[test]
fn panicking_destructor_loses_no_task() {
    let sup = pool(1);
    // A destructor of a captured value while the function panics.
    let bomb = Bomb("in the function");
    assert!(error(&sup, move || drop(bomb)).is_panic());
    // A destructor of an argument that was never used.
    let bomb = Bomb("of arguments");
    let mut first = true;
    let task = TaskBuilder::repeatable(move || {
        let _bomb = &bomb;
        std::mem::replace(&mut first, false)
    })
    .supervisor(&sup)
    .start();
    assert!(task.join().unwrap());
    // A destructor of a panic payload.
    assert!(error(&sup, || panic_any(Bomb("a payload"))).is_panic());
    // Destructors of a predicate and of a callback.
    let (one, two) = (Bomb("of a predicate"), Bomb("of a callback"));
    let task = TaskBuilder::repeatable(|| 5)
        .retries(2)
        .retry_if(move |_| {
            let _one = &one;
            false
        })
        .on_complete(move |_| drop(two))
        .supervisor(&sup)
        .start();
    assert_eq!(task.join().unwrap(), 5);
    // A destructor of an unclaimed result.
    drop(sup.spawn(|| Bomb("a result")));
    assert_eq!(sup.spawn(|| 1).join().unwrap(), 1);
    let report = sup.stop(StopOptions::new());
    assert_eq!(report.abandoned, 0);
}

#[test]
fn every_error_has_predicate_and_message() {
    let sup = pool(1);
    let (busy, gate) = atasker_tests::occupy(&sup, atasker::Priority::Normal);
    let canceled = sup.spawn(|| ());
    canceled.stop();
    let canceled = canceled.join().unwrap_err();
    assert!(canceled.is_canceled() && !canceled.is_panic() && !canceled.is_timeout());
    assert!(canceled.to_string().contains("canceled"));
    gate.open();
    busy.join().unwrap();
    sup.stop(StopOptions::new());
    let stopped = sup.spawn(|| ()).join().unwrap_err();
    assert!(matches!(stopped, TaskError::SupervisorStopped));
    assert!(!stopped.is_canceled() && !stopped.is_worker_died());
    let copy: Box<dyn Error + Send + Sync> = Box::new(stopped.clone());
    assert_eq!(copy.to_string(), stopped.to_string());
    assert!(TaskError::QueueFull.to_string().contains("full"));
}

#[test]
fn wait_error_names_task_and_cause() {
    let sup = pool(1);
    let bad: Task<i32> = sup.spawn(|| panic!("deliberate panic"));
    let id = bad.id();
    let error = wait_completed!(sup.spawn(|| 1), bad).unwrap_err();
    match &error {
        WaitError::Task { index, id: reported, error, .. } => {
            assert_eq!((*index, *reported), (1, id));
            assert!(error.is_panic());
        }
        other => panic!("{other:?}"),
    }
    assert!(error.to_string().contains("deliberate panic"));
    assert!(error.source().unwrap().to_string().contains("deliberate panic"));
}

#[test]
fn returned_err_is_a_result() {
    let sup = pool(1);
    let task = sup.spawn(|| "x".parse::<u8>());
    assert!(task.wait().unwrap().is_err());
    assert!(task.error().is_none() && task.result().unwrap().is_err());
    assert!(task.join().unwrap().is_err());
}

#[test]
fn results_and_errors_can_be_borrowed_repeatedly() {
    let sup = pool(1);
    let task: Task<String> = sup.spawn(|| "x".into());
    for _ in 0..3 {
        assert_eq!(task.wait().unwrap(), "x");
        assert_eq!(task.result().unwrap(), "x");
    }
    let failed: Task<()> = sup.spawn(|| panic!("deliberate panic"));
    for _ in 0..3 {
        assert!(failed.wait().unwrap_err().is_panic());
        assert!(failed.error().unwrap().is_panic() && failed.result().is_none());
    }
}
