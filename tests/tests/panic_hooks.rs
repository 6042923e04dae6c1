//! If a program sets panic hooks at any time, are they called, and do the errors of tasks still
//! have locations?
//!
//! This is one test, because the hook belongs to the process.

use std::panic::{PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};

use atasker::{Supervisor, TaskError, background_task, supervisor};
use atasker_tests::{FAR, Watchdog, eventually};

static CALLS: AtomicU32 = AtomicU32::new(0);

fn calls() -> u32 {
    CALLS.swap(0, Ordering::SeqCst)
}

fn counts(_: &PanicHookInfo<'_>) {
    CALLS.fetch_add(1, Ordering::SeqCst);
}

#[background_task]
fn on_thread() {
    panic!("on a thread");
}

#[background_task]
async fn on_loop() {
    panic!("on a loop");
}

fn has_place(error: &TaskError) -> bool {
    let TaskError::Panicked { location, backtrace, .. } = error else { panic!("{error}") };
    // The environment enables or disables the backtrace, and with it the location of this panic.
    assert_eq!(location.is_some(), backtrace.is_some(), "{error:?}");
    location.as_ref().is_some_and(|location| location.contains("panic_hooks.rs"))
}

#[track_caller]
fn assert_places() {
    assert!(has_place(&on_thread().join().unwrap_err()));
    assert!(has_place(&on_loop().join().unwrap_err()));
}

#[test]
fn program_hooks_are_called_and_locations_kept() {
    if std::env::var("RUST_BACKTRACE").as_deref() != Ok("1") {
        // In a child process, because the environment is read once.
        let child = std::process::Command::new(std::env::current_exe().expect("this program"))
            .env("RUST_BACKTRACE", "1")
            .status();
        assert!(child.expect("the child process starts").success());
        return;
    }
    let _watchdog = Watchdog::new("panic hooks", 3 * FAR);
    a_hook_waits_for_the_first_task();
    set_after_the_first_task();
    taken_and_given_back();
    taken_and_kept_aside();
    set_by_many_threads();
    launches_tasks_in_a_hook();
    drops_a_hook_on_a_panicking_thread();
}

/// std holds the lock of the hook while a hook runs.
fn a_hook_waits_for_the_first_task() {
    set_hook(Box::new(|info| {
        counts(info);
        assert_eq!(supervisor().spawn(|| 6).join().unwrap(), 6);
    }));
    assert!(std::thread::spawn(|| panic!("before all tasks")).join().is_err());
    assert_eq!(calls(), 1);
    let _ = take_hook();
    // The library's own hook, which had to wait for the program's hook, is installed shortly after.
    eventually(|| has_place(&on_thread().join().unwrap_err()));
    calls();
}

fn set_after_the_first_task() {
    assert_eq!(supervisor().spawn(|| 1).join().unwrap(), 1);
    for _ in 0..3 {
        set_hook(Box::new(counts));
        assert_places();
        assert_eq!(calls(), 2);
    }
    // A hook that calls the previous hook.
    let before = take_hook();
    set_hook(Box::new(move |info| {
        counts(info);
        before(info);
    }));
    assert_places();
    assert_eq!(calls(), 4);
    // Back to the default hook.
    drop(take_hook());
    assert_places();
    assert_eq!(calls(), 0);
}

fn taken_and_given_back() {
    set_hook(Box::new(counts));
    for _ in 0..3 {
        let ours = take_hook();
        set_hook(ours);
        assert_places();
        assert_eq!(calls(), 2);
    }
}

/// Like a program that silences panics temporarily: the library's hook is kept and not called, so
/// these panics have no location. Afterwards they have one again.
fn taken_and_kept_aside() {
    for _ in 0..3 {
        let ours = take_hook();
        set_hook(Box::new(counts));
        let error = on_thread().join().unwrap_err();
        assert!(error.to_string().contains("on a thread"));
        assert!(!has_place(&error));
        assert_eq!(calls(), 1);
        set_hook(ours);
        assert_places();
        assert_eq!(calls(), 2);
    }
}

/// In any interleaving, one of the hooks is installed afterwards, with the library's hook in front
/// of it.
fn set_by_many_threads() {
    const THREADS: usize = 4;
    let sup = Supervisor::builder().build();
    for round in 0..40 {
        let all = Arc::new(Barrier::new(THREADS));
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let (all, sup) = (Arc::clone(&all), sup.clone());
                std::thread::spawn(move || {
                    all.wait();
                    for _ in 0..50 {
                        set_hook(Box::new(counts));
                    }
                    // Few panics, because they are slow, and more would reduce the number of
                    // collisions.
                    if round % 8 == 0 {
                        assert!(sup.spawn(|| panic!("meanwhile")).join().map(drop).is_err());
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        calls();
        assert_places();
        assert_eq!(calls(), 2);
    }
}

fn launches_tasks_in_a_hook() {
    set_hook(Box::new(|info| {
        counts(info);
        drop(supervisor().spawn(|| ()));
        if on_a_pool_thread() {
            // On a loop this wait would panic, and a panic in a hook ends the program.
            assert_eq!(supervisor().spawn(|| 4).join().unwrap(), 4);
        }
    }));
    assert_places();
    assert_eq!(calls(), 2);
}

fn on_a_pool_thread() -> bool {
    std::thread::current().name().is_some_and(|name| name.contains("_pool_"))
}

fn drops_a_hook_on_a_panicking_thread() {
    let ours = take_hook();
    set_hook(Box::new(counts));
    assert!(
        catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _ours = ours;
            panic!("drops the hook");
        }))
        .is_err()
    );
    assert_places();
    assert_eq!(calls(), 3);
}
