//! Which handles are `Send` and `Sync`?

use std::cell::Cell;
use std::future::Future;

use atasker::{
    Aloop, CurrentTask, KillError, Outcome, PoolConfig, Priority, RecvError, StopOptions,
    StopReport, Supervisor, SupervisorInfo, Task, TaskBuilder, TaskContext, TaskError, TaskId,
    TaskInfo, TaskRef, TaskStatus, TaskType, WaitError,
};

fn send<T: Send>() {}
fn sync<T: Sync>() {}
fn cloned<T: Clone>() {}
fn vocabulary<T: Copy + Eq + Ord + std::hash::Hash + std::fmt::Debug + serde::Serialize>() {}
fn error<T: std::error::Error + Send + Sync + Clone + 'static>() {}
fn unpin_future<T: Future + Unpin + Send>() {}

/// Ambiguous, and therefore an error, if `T` is `Sync`.
macro_rules! not_sync {
    ($T:ty) => {{
        trait Ambiguous<A> {
            fn here() {}
        }
        impl<T: ?Sized> Ambiguous<()> for T {}
        impl<T: ?Sized + Sync> Ambiguous<u8> for T {}
        <$T as Ambiguous<_>>::here()
    }};
}

#[test]
fn handles_are_send_and_sync_as_documented() {
    send::<Task<Cell<u8>, Cell<u8>, Cell<u8>>>();
    sync::<Task<u8, Cell<u8>, Cell<u8>>>();
    // `wait` lends `&R`, so the handle is `Sync` only if `R` is.
    not_sync!(Task<Cell<u8>>);
    unpin_future::<Task<Cell<u8>>>();
    send::<TaskBuilder<Cell<u8>>>();
    send::<TaskContext<Cell<u8>, Cell<u8>>>();
    sync::<TaskContext<Cell<u8>, Cell<u8>>>();
    cloned::<TaskContext<Cell<u8>, Cell<u8>>>();
    send::<TaskRef>();
    sync::<TaskRef>();
    cloned::<TaskRef>();
    send::<Supervisor>();
    sync::<Supervisor>();
    cloned::<Supervisor>();
    send::<Aloop>();
    sync::<Aloop>();
    send::<CurrentTask>();
    cloned::<PoolConfig>();
    cloned::<StopOptions>();
    vocabulary::<TaskId>();
    vocabulary::<TaskType>();
    vocabulary::<TaskStatus>();
    vocabulary::<Priority>();
    vocabulary::<Outcome>();
    cloned::<TaskInfo>();
    cloned::<SupervisorInfo>();
    send::<StopReport>();
    error::<TaskError>();
    error::<WaitError>();
    error::<RecvError>();
    error::<KillError>();
}

#[test]
fn handle_is_awaited_by_many_threads() {
    let sup = atasker_tests::pool(1);
    let (busy, gate) = atasker_tests::occupy(&sup, Priority::Normal);
    let task = sup.spawn(|| vec![1, 2, 3]);
    std::thread::scope(|scope| {
        let waiters: Vec<_> = (0..8).map(|_| scope.spawn(|| task.wait().unwrap().len())).collect();
        gate.open();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), 3);
        }
    });
    busy.join().unwrap();
}
