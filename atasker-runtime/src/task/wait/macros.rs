//! What users write. The macros only sort their arguments: tasks into a tuple (one alone stays as
//! it is), and `timeout` apart; the traits do the rest.

/// Waits for all of these tasks, then gives their results.
///
/// The results have the shape of what was given (see [`Waitable`](crate::Waitable)): a tuple for
/// several arguments, of whichever types and kinds; `Vec` for `Vec`; one result for one task. Tasks
/// given by value give owned results; tasks given by reference live on and lend theirs.
///
/// `timeout = d` limits the wait; `d` is a `Duration`, or an `Option<Duration>` (`None`: no limit).
///
/// ```
/// use atasker_runtime::{Supervisor, WaitError, wait_completed};
/// use std::time::Duration;
/// # fn main() -> Result<(), WaitError> {
/// let sup = Supervisor::builder().build();
/// let (number, text) = wait_completed!(sup.spawn(|| 1), sup.spawn(|| "one"))?;
/// assert_eq!((number, text), (1, "one"));
///
/// let tasks: Vec<_> = (0..3).map(|n| sup.spawn(move || n * n)).collect();
/// assert_eq!(wait_completed!(&tasks, timeout = Duration::from_secs(60))?, [&0, &1, &4]);
/// let squares: Vec<i32> = wait_completed!(tasks)?;
/// assert_eq!(squares, [0, 1, 4]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// After the end of *all* of them: [`WaitError::Task`](crate::WaitError::Task) with the failure that
/// comes first in the order given; its `index` is the place in the list for one list, the place
/// among the arguments for several, 0 for one task. When the time is over first:
/// [`WaitError::Timeout`](crate::WaitError::Timeout) with the ids of those that had not completed.
/// They go on; those given by value are detached.
///
/// # Panics
/// On the thread of an aloop, if it would have to block: use `.await` there.
#[macro_export]
macro_rules! wait_completed {
    ($($arguments:tt)*) => {
        $crate::__wait_arguments!([completed] [] [] $($arguments)*)
    };
}

/// Waits for all of these tasks, then gives the outcome of each: never fails itself.
///
/// As [`wait_completed!`](crate::wait_completed), but with a `Result<_, TaskError>` in the place of
/// each result. It has no `timeout`, for it has no error to report it by.
///
/// ```
/// use atasker_runtime::{Supervisor, TaskError, wait_settled};
/// let sup = Supervisor::builder().build();
/// let divide = |by: u32| sup.spawn(move || 12 / by);
/// let (good, bad) = wait_settled!(divide(3), divide(0));
/// assert_eq!(good.unwrap(), 4);
/// assert!(bad.unwrap_err().is_panic());
///
/// let each: Vec<Result<u32, TaskError>> = wait_settled!((0..4).map(divide).collect::<Vec<_>>());
/// assert_eq!(each.into_iter().flatten().sum::<u32>(), 12 + 6 + 4);
/// ```
///
/// # Panics
/// On the thread of an aloop, if it would have to block: use `.await` there.
#[macro_export]
macro_rules! wait_settled {
    ($($arguments:tt)*) => {
        $crate::__wait_arguments!([settled] [] [] $($arguments)*)
    };
}

/// Waits for the first of these tasks to complete, and gives its place and its result.
///
/// Takes a list of tasks (`Vec`, array, slice, also by reference), or several tasks whose results
/// are of one type; `timeout = d` as in [`wait_completed!`](crate::wait_completed). If several have
/// completed before, it is the one that did so first. The other tasks go on; given by value, they
/// are detached. To go through many tasks as they complete, use
/// [`as_completed`](crate::as_completed): it does not begin anew each time.
///
/// ```
/// use atasker_runtime::{Supervisor, TaskBuilder, TaskContext, WaitError, wait_any};
/// # fn main() -> Result<(), WaitError> {
/// let sup = Supervisor::builder().build();
/// let patient = TaskBuilder::with_context(|ctx: &TaskContext| ctx.recv().is_err()).start();
/// let quick = TaskBuilder::with_context(|_: &TaskContext| true).start();
/// let tasks = [patient, quick];
/// assert_eq!(wait_any!(&tasks)?, (1, &true));
/// tasks[0].stop();
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`WaitError::Task`](crate::WaitError::Task) if the first to complete failed: a failure counts as
/// any other end. [`WaitError::Timeout`](crate::WaitError::Timeout) with the ids of all when the
/// time is over first. [`WaitError::Empty`](crate::WaitError::Empty) for an empty list.
///
/// # Panics
/// On the thread of an aloop, if it would have to block.
#[macro_export]
macro_rules! wait_any {
    ($($arguments:tt)*) => {
        $crate::__wait_arguments!([any] [] [] $($arguments)*)
    };
}

/// `[function] [tasks,] [time] arguments that are still to be sorted`
#[doc(hidden)]
#[macro_export]
macro_rules! __wait_arguments {
    // Sort.
    ([settled] $tasks:tt [] timeout = $($rest:tt)*) => {
        ::core::compile_error!(
            "`wait_settled!` never fails, so it takes no `timeout`: use `wait_completed!`"
        )
    };
    ($f:tt [$($task:expr,)*] [] timeout = $time:expr $(, $($rest:tt)*)?) => {
        $crate::__wait_arguments!($f [$($task,)*] [$time] $($($rest)*)?)
    };
    ($f:tt $tasks:tt [$time:expr] timeout = $($rest:tt)*) => {
        ::core::compile_error!("`timeout` is given twice")
    };
    ($f:tt [$($task:expr,)*] [$($time:expr)?] $next:expr $(, $($rest:tt)*)?) => {
        $crate::__wait_arguments!($f [$($task,)* $next,] [$($time)?] $($($rest)*)?)
    };

    // Call.
    ($f:tt [] [$($time:expr)?]) => {
        ::core::compile_error!("there is nothing to wait for: give at least one task, or a list of tasks")
    };
    ([settled] [$task:expr,] []) => {
        $crate::private_wait::settled($task)
    };
    ([settled] [$($task:expr,)+] []) => {
        $crate::private_wait::settled(($($task,)+))
    };
    ($f:tt [$($task:expr,)+] []) => {
        $crate::__wait_arguments!($f [$($task,)+] [$crate::private_wait::NO_LIMIT])
    };
    ([$f:ident] [$task:expr,] [$time:expr]) => {
        $crate::private_wait::$f($task, $time)
    };
    ([$f:ident] [$($task:expr,)+] [$time:expr]) => {
        $crate::private_wait::$f(($($task,)+), $time)
    };
}
