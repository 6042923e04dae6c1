//! What does a scope do in a fork of the process?

use atasker::{Priority, TaskError, scope};
use atasker_tests::forks::fork;
use atasker_tests::{FAR, Gate, Watchdog, occupy, pool};

#[test]
fn fork_within_a_scope_leaves_it_without_waiting() {
    let _watchdog = Watchdog::new("a fork within a scope", FAR);
    let sup = pool(2);
    let (task, free) = occupy(&sup, Priority::Normal);
    let (begun, gate) = (Gate::new(), Gate::new());
    let mut number = 1;
    let code = fork(false, || {
        // In the fork, the library runs nothing.
        let refused = scope(|s| s.spawn(|| number += 1).join());
        let refused = matches!(refused, Err(TaskError::NotStarted { .. }));
        if refused && number == 1 { 0 } else { line!() as i32 }
    });
    assert_eq!(code, 0);
    sup.scope(|s| {
        s.spawn(|| {
            begun.open();
            gate.wait();
        });
        begun.wait();
        // One that is queued when the process forks.
        let queued = s.spawn(|| number += 1);
        let (outside, inside) = (std::process::id(), || std::process::id());
        let code = fork(false, || {
            // Like a child that returns from the scope: it waits neither for its parent's tasks nor
            // for those that it launches itself.
            let result = sup.scope(|s| s.spawn(|| 1).join());
            let ended = queued.is_completed();
            match result {
                Err(TaskError::NotStarted { .. }) if !ended && inside() != outside => 0,
                _ => line!() as i32,
            }
        });
        assert_eq!(code, 0);
        gate.open();
        free.open();
        queued.join().unwrap();
    });
    assert_eq!(number, 2);
    task.join().unwrap();
}

#[test]
fn child_returns_from_the_scope_of_its_parent() {
    let _watchdog = Watchdog::new("a child that returns from a scope", FAR);
    let sup = pool(1);
    let (begun, gate) = (Gate::new(), Gate::new());
    let mut pid = -1;
    sup.scope(|s| {
        s.spawn(|| {
            begun.open();
            gate.wait();
        });
        begun.wait();
        let handle = s.spawn(|| ());
        // SAFETY: the child has only this thread, and does only what is permitted in a fork.
        pid = unsafe { libc::fork() };
        if pid == 0 {
            drop(handle);
        } else {
            gate.open();
        }
    });
    if pid == 0 {
        // SAFETY: no preconditions.
        unsafe { libc::_exit(0) };
    }
    assert_eq!(atasker_tests::forks::wait_for(pid), 0);
}
