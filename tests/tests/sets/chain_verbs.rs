//! Do stop, cancel and kill of a chained task reach the first one until the chained one starts?

use std::future::pending;
use std::time::Duration;

use atasker::{
    KillError, MpPoolConfig, Priority, Task, TaskBuilder, TaskContext, TaskError, TaskStatus,
};
use atasker_tests::processes::Process;
use atasker_tests::{FAR, Gate, eventually, mp, occupy, pool};

use crate::{DropGuard, Drops, gated, sends_pid, until_stopped};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Verb {
    Stop,
    Cancel,
    Kill,
    RefStop,
    RefCancel,
    RefKill,
    StopOnDrop,
    KillOnDrop,
    InheritedStop,
    InheritedKill,
}

use Verb::*;

const ALL: [Verb; 10] = [
    Stop,
    Cancel,
    Kill,
    RefStop,
    RefCancel,
    RefKill,
    StopOnDrop,
    KillOnDrop,
    InheritedStop,
    InheritedKill,
];

impl Verb {
    /// Chains a function that never runs, and applies the verb to the chained task.
    fn apply<R: Send + 'static>(self, first: Task<R>) {
        let first = match self {
            InheritedStop => first.stop_on_drop(),
            InheritedKill => first.kill_on_drop(),
            _ => first,
        };
        let chained = first.chain(|_| unreachable!("it was canceled"));
        let found = chained.to_ref();
        match self {
            Stop => chained.stop(),
            Cancel => assert!(chained.cancel()),
            Kill => chained.kill().unwrap(),
            RefStop => found.stop(),
            RefCancel => assert!(found.cancel()),
            RefKill => found.kill().unwrap(),
            StopOnDrop => drop(chained.stop_on_drop()),
            KillOnDrop => drop(chained.kill_on_drop()),
            InheritedStop | InheritedKill => drop(chained),
        }
        // At once, whatever the first one does.
        assert_eq!(found.status(), TaskStatus::Canceled, "{self:?}");
        assert_eq!(found.error(), Some(&TaskError::Canceled));
    }

    fn kills(self) -> bool {
        matches!(self, Kill | RefKill | KillOnDrop | InheritedKill)
    }
}

#[test]
fn queued_first_task_is_canceled() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    for verb in ALL {
        let first = sup.spawn(|| unreachable!("it was canceled"));
        let found = first.to_ref();
        verb.apply::<()>(first);
        assert_eq!(found.status(), TaskStatus::Canceled, "{verb:?}");
    }
    gate.open();
    busy.join().unwrap();
}

#[test]
fn delayed_first_task_is_canceled() {
    let sup = pool(1);
    for verb in ALL {
        let first =
            TaskBuilder::new(|| ()).delay(Duration::from_secs(600)).supervisor(&sup).start();
        let found = first.to_ref();
        verb.apply(first);
        assert_eq!(found.status(), TaskStatus::Canceled, "{verb:?}");
    }
}

#[test]
fn running_thread_task_is_asked_to_stop() {
    let sup = pool(1);
    for verb in ALL {
        let first = until_stopped(&sup);
        let found = first.to_ref();
        verb.apply(first);
        found.wait().unwrap();
        assert!(found.result_cloned::<bool>().unwrap().unwrap(), "{verb:?}");
    }
}

#[test]
fn running_async_task_is_stopped_or_dropped() {
    let sup = pool(1);
    for verb in ALL {
        let (begun, drops) = (Gate::new(), Drops::default());
        let (begins, guard) = (begun.clone(), drops.guard());
        let first = TaskBuilder::future(async move {
            let _guard: DropGuard = guard;
            begins.open();
            pending::<u32>().await
        });
        let first = first.supervisor(&sup).start();
        begun.wait();
        let found = first.to_ref();
        verb.apply(first);
        if !verb.kills() {
            // A future that does not ask whether it was stopped goes on.
            assert!(!found.is_completed(), "{verb:?}");
            found.kill().unwrap();
        }
        assert!(found.wait().unwrap_err().is_canceled(), "{verb:?}");
        eventually(|| drops.count() == 1);
    }
}

#[test]
fn running_mp_task_is_stopped_or_killed() {
    let sup = mp::supervisor(MpPoolConfig::new(1));
    for verb in ALL {
        let first = sends_pid::builder().supervisor(&sup).start();
        let pid = first.recv().unwrap();
        let found = first.to_ref();
        // Without its channels, which don't matter here.
        drop(first);
        let first: Task<u32, (), u32> = found.clone().typed().unwrap();
        let chained = first.chain(|n| n);
        match verb.kills() {
            true => chained.kill().unwrap(),
            false => chained.stop(),
        }
        assert_eq!(chained.status(), TaskStatus::Canceled);
        let result = found.wait();
        assert_eq!(result.is_ok(), !verb.kills(), "{verb:?}: {result:?}");
        if verb.kills() {
            eventually(|| Process::is_gone(pid));
        }
    }
}

#[test]
fn verbs_reach_all_tasks_of_a_chain() {
    let sup = pool(1);
    for verb in ALL {
        let first = until_stopped(&sup);
        let second = first.chain(|stopped| stopped);
        let found = second.to_ref();
        let third = second.chain(|_| unreachable!("the second one was canceled"));
        let also = third.to_ref();
        verb.apply::<()>(third);
        assert_eq!((found.status(), also.status()), (TaskStatus::Canceled, TaskStatus::Canceled));
        // The slot is free again, because the first one has returned.
        sup.spawn(|| ()).join().unwrap();
    }
}

#[test]
fn retrying_first_task_is_canceled() {
    let sup = pool(1);
    let first = TaskBuilder::repeatable(|| panic!("again")).retries(1);
    let first = first.retry_delay(Duration::from_secs(600)).supervisor(&sup).start();
    eventually(|| first.info().attempt == 1 && first.status() == TaskStatus::Delayed);
    let found = first.to_ref();
    Cancel.apply::<()>(first);
    assert_eq!(found.status(), TaskStatus::Canceled);
}

#[test]
fn queued_chained_task_is_canceled_alone() {
    let sup = pool(1);
    let first = sup.spawn(|| 1);
    first.wait().unwrap();
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let found = first.to_ref();
    let chained = first.chain(|n| n + 1);
    assert_eq!(chained.status(), TaskStatus::Queued);
    assert!(chained.cancel());
    assert_eq!((chained.status(), found.status()), (TaskStatus::Canceled, TaskStatus::Completed));
    gate.open();
    busy.join().unwrap();
}

#[test]
fn running_chained_task_is_asked_to_stop() {
    let sup = pool(1);
    let (begun, gate) = (Gate::new(), Gate::new());
    let (begins, waits) = (begun.clone(), gate.clone());
    let chained = sup.spawn(|| 1).chain(move |n| {
        begins.open();
        waits.wait();
        (n, atasker::current().unwrap().stopped())
    });
    begun.wait();
    assert_eq!(chained.kill(), Err(KillError::Unsupported));
    assert!(!chained.cancel());
    gate.open();
    assert_eq!(chained.join().unwrap(), (1, true));
}

#[test]
fn first_task_is_canceled_by_reference() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let first = sup.spawn(|| 1);
    let found = first.to_ref();
    let chained = first.chain(|n| n + 1);
    assert!(found.cancel());
    assert_eq!((chained.status(), chained.error()), (TaskStatus::Canceled, found.error()));
    gate.open();
    busy.join().unwrap();
}

#[test]
fn stop_request_of_first_task_alone_changes_nothing() {
    let sup = pool(1);
    let gate = Gate::new();
    let waits = gate.clone();
    let begun = Gate::new();
    let begins = begun.clone();
    let first = TaskBuilder::with_context(move |ctx: &TaskContext| {
        begins.open();
        let stopped = ctx.wait_stop(FAR);
        waits.wait();
        stopped
    });
    let first = first.supervisor(&sup).start();
    begun.wait();
    let found = first.to_ref();
    let chained = first.chain(|stopped| stopped);
    // The request wakes the link, which registers again.
    found.stop();
    assert_eq!(chained.status(), TaskStatus::Delayed);
    found.stop();
    gate.open();
    assert!(chained.join().unwrap());
}

#[test]
fn handle_of_first_task_is_found_after_cancel() {
    let sup = pool(1);
    let (first, gate) = gated(&sup);
    let found = first.to_ref();
    assert!(first.chain(|n| n + 1).cancel());
    // The chained task has given the handle up.
    let first: Task<u32> = found.typed().unwrap();
    gate.open();
    assert_eq!(first.join().unwrap(), 7);
}
