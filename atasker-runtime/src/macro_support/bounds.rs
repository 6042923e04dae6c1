//! Checks of `Send` and `Clone`, for values that pass between threads and from run to run.
//!
//! The functions that create tasks and workers require these traits anyway. A check comes before
//! their call, at the same tokens, and the compiler reports what both require only once: by the check
//! if it has better words. `Send` itself is left to the compiler where it can tell which part of a
//! type is at fault.

use crate::macro_support::verdict::{Fails, Holds};
use crate::params::Arg;

/// Requires `Send`, in the words of the compiler.
pub fn sendable<T: Send + ?Sized>(_: Arg<T>) {}

/// Requires `Clone`, in the words of the compiler.
pub fn cloneable<T: Clone>(_: Arg<T>) {}

macro_rules! checks {
    ($($(#[$about:meta])* $trait:ident: $bound:ident;)*) => {$(
        $(#[$about])*
        pub trait $trait {
            /// Checks the type.
            fn __check(_: Arg<Self>) {}
        }
        #[diagnostic::do_not_recommend]
        impl<T: $bound + ?Sized> $trait for T {}
    )*};
}

// The traits exist for their error messages.
checks! {
    /// Requires that an `Rc` is not sent to another thread.
    #[diagnostic::on_unimplemented(
        message = "`{Self}` can't be sent to or from a task, which runs on another thread",
        label = "is not `Send`, because its counter belongs to one thread",
        note = "use `std::sync::Arc`, which threads can share"
    )]
    SendableRc: Send;

    /// Requires that the guard of a lock is not sent to another thread.
    #[diagnostic::on_unimplemented(
        message = "`{Self}` can't be sent to or from a task, which runs on another thread",
        label = "is not `Send`, because the thread that locks is the one that unlocks",
        note = "pass what is locked, for example an `Arc<Mutex<T>>`, and lock it in the task"
    )]
    SendableGuard: Send;

    /// Requires that a trait object is `Send`.
    #[diagnostic::on_unimplemented(
        message = "`{Self}` can't be sent to or from a task, which runs on another thread",
        label = "a trait object is `Send` only if its type says so",
        note = "write `dyn Trait + Send`"
    )]
    SendableDyn: Send;

    /// Requires that an error is `Send`.
    #[diagnostic::on_unimplemented(
        message = "the error `{Self}` can't be sent from a task, which runs on another thread",
        label = "a trait object is `Send` only if its type says so",
        note = "write `Box<dyn Error + Send + Sync>`, or return `atasker::RemoteResult<T>`"
    )]
    SendableError: Send;
}

/// Requires that a task can run again.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not `Clone`, which `retries` needs",
    label = "each attempt receives a clone",
    note = "derive `Clone` for it, or take an `Arc<{Self}>`"
)]
pub trait ClonedForAttempt {
    /// Checks the type.
    fn __check(_: Arg<Self>) {}
}

#[diagnostic::do_not_recommend]
impl<T: Clone> ClonedForAttempt for T {}

/// Requires that a worker can run again.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not `Clone`, so the worker can't pass it to each run by value",
    label = "each run receives a clone",
    note = "take `&mut {Self}`, which keeps its value between runs, or `&{Self}`; or make it `Clone`"
)]
pub trait ClonedForRun {
    /// Checks the type.
    fn __check(_: Arg<Self>) {}
}

#[diagnostic::do_not_recommend]
impl<T: Clone> ClonedForRun for T {}

/// Implemented by types that are `Send`. Method lookup finds it before [`NotSend`].
pub trait IsSend {
    /// Returns whether the type is `Send`.
    fn __atasker_send(&self) -> Holds {
        Holds
    }
}

impl<T: Send + ?Sized> IsSend for &Arg<T> {}

/// Implemented by all types.
pub trait NotSend {
    /// Returns whether the type is `Send`.
    fn __atasker_send(&self) -> Fails {
        Fails
    }
}

impl<T: ?Sized> NotSend for Arg<T> {}
