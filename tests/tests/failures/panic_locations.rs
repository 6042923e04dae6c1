//! Does the error of a task have the location of exactly the panic that ended the task?

use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};

use atasker::{Supervisor, TaskBuilder, TaskError, background_task, supervisor};

/// The line of this file where `error` says that the task panicked.
fn line(error: &TaskError) -> Option<u32> {
    let TaskError::Panicked { location, .. } = error else { panic!("{error}") };
    let location = location.as_deref()?;
    let (file, place) = location.split_once(".rs:").unwrap();
    assert!(file.ends_with("panic_locations"), "{location}");
    Some(place.split(':').next().unwrap().parse().unwrap())
}

fn place_of(f: impl FnOnce() + Send + 'static) -> (Option<u32>, String) {
    let error = supervisor().spawn(f).join().unwrap_err();
    (line(&error), error.to_string())
}

/// Panics when dropped, and catches that panic.
struct CatchesWhenDropped(fn());

impl Drop for CatchesWhenDropped {
    fn drop(&mut self) {
        let _ = catch_unwind(self.0);
    }
}

#[test]
fn panic_in_destructor_is_distinguished() {
    let (place, text) = place_of(|| {
        let _guard = CatchesWhenDropped(|| panic!("inner"));
        panic!("outer");
    });
    assert_eq!(place, Some(line!() - 2), "{text}");
    assert!(text.contains("outer"));
    // The same with formatted messages of the same content.
    let (place, text) = place_of(|| {
        let _guard = CatchesWhenDropped(|| panic!("{}", "made".repeat(3)));
        panic!("{}", "made".repeat(3));
    });
    assert_eq!(place, Some(line!() - 2), "{text}");
    // With other payloads.
    let (place, text) = place_of(|| {
        let _guard = CatchesWhenDropped(|| panic_any(1_u8));
        panic_any(2_u64);
    });
    assert_eq!(place, Some(line!() - 2), "{text}");
    // Two equal payloads cannot be distinguished.
    let (place, text) = place_of(|| {
        let _guard = CatchesWhenDropped(|| panic_any(1_u8));
        panic_any(2_u8);
    });
    assert_eq!(place, None, "{text}");
}

#[test]
fn task_in_destructor_has_own_location() {
    struct RunsATask;
    impl Drop for RunsATask {
        fn drop(&mut self) {
            let error = supervisor().spawn(|| panic!("of the task")).join().unwrap_err();
            assert_eq!(line(&error), Some(line!() - 1));
        }
    }
    let (place, _) = place_of(|| {
        let _guard = RunsATask;
        panic!("of the outer task");
    });
    assert_eq!(place, Some(line!() - 2));
}

#[test]
fn resumed_payload_keeps_location() {
    let (place, text) = place_of(|| {
        let old = catch_unwind(|| panic!("the older panic")).unwrap_err();
        let _ = catch_unwind(|| panic!("the newer panic"));
        resume_unwind(old);
    });
    assert_eq!(place, Some(line!() - 4), "{text}");
    assert!(text.contains("older"));
    // On another thread: the hook has not recorded the location on this thread.
    let (place, text) = place_of(|| {
        let _ = catch_unwind(|| panic!("panic of this thread"));
        let theirs = std::thread::spawn(|| panic!("theirs")).join().unwrap_err();
        resume_unwind(theirs);
    });
    assert_eq!(place, None, "{text}");
    // A payload created by the program, after panics and without one.
    for panics in [0, 1, 5, 20] {
        let (place, text) = place_of(move || {
            for n in 0..panics {
                let _ = catch_unwind(|| panic!("panic number {n}"));
            }
            resume_unwind(Box::new(format!("resumed {panics}")));
        });
        assert_eq!(place, None, "{text}");
        assert!(text.contains("resumed"));
    }
    let (place, _) = place_of(|| resume_unwind(Box::new(7_u8)));
    assert_eq!(place, None);
}

#[test]
fn location_of_earlier_task_is_not_reused() {
    let sup = Supervisor::builder().thread_pool(atasker::PoolConfig::new(1)).build();
    for _ in 0..20 {
        sup.spawn(|| drop(catch_unwind(|| panic_any(5_i32)))).join().unwrap();
        let error = sup.spawn(|| resume_unwind(Box::new(5_i32))).join().map(drop).unwrap_err();
        assert_eq!(line(&error), None);
    }
}

#[background_task]
async fn polled(first: bool) {
    if first {
        let _ = catch_unwind(|| panic!("caught"));
    }
    tokio::task::yield_now().await;
    panic!("polled");
}

#[background_task(tt = "mp")]
fn in_process(old: bool) {
    let older = catch_unwind(|| panic!("older")).unwrap_err();
    let _guard = CatchesWhenDropped(|| panic!("in a destructor"));
    if old {
        resume_unwind(older);
    }
    panic!("newer");
}

#[test]
fn locations_in_every_place() {
    for first in [false, true] {
        assert_eq!(line(&polled(first).join().unwrap_err()), Some(line!() - 16));
    }
    assert_eq!(line(&in_process(true).join().unwrap_err()), Some(line!() - 13));
    assert_eq!(line(&in_process(false).join().unwrap_err()), Some(line!() - 9));
}

#[test]
fn caught_panics_keep_final_location() {
    let task = TaskBuilder::new(|| {
        for n in 0..100 {
            let caught = catch_unwind(AssertUnwindSafe(|| panic_any(n)));
            assert_eq!(caught.unwrap_err().downcast_ref(), Some(&n));
        }
        panic!("the last panic");
    });
    let error = task.start().join().map(drop).unwrap_err();
    assert_eq!(line(&error), Some(line!() - 3));
}
