//! The macros for waiting. They only sort their arguments, collecting tasks into a tuple (unless
//! there is one) and separating `timeout` and `progress`. The traits do the rest.

/// Waits for all of the given tasks and returns their results.
///
/// The results have the shape of the arguments (see [`Waitable`](crate::Waitable)): a tuple for
/// several arguments of any types and kinds, a `Vec` for a `Vec`, a single result for a single
/// task. Tasks passed by value return owned results; tasks passed by reference return borrowed
/// ones.
///
/// `timeout = d` limits the wait, where `d` is a `Duration` or an `Option<Duration>` (`None` means
/// no limit).
///
/// `progress = label` shows a progress bar during the wait, which counts the tasks that have ended.
/// `label` is a `&'static str` or a `String`. Requires the feature `progress`; see the module of that
/// name.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{Supervisor, WaitError, wait_completed};
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
/// # Errors
///
/// After *all* tasks have ended, returns [`WaitError::Task`](crate::WaitError::Task) with the first
/// failure in argument order. Its `index` is the position in the list for a single list, the
/// position among the arguments for several, and 0 for a single task.
///
/// If the time is over first, returns [`WaitError::Timeout`](crate::WaitError::Timeout) with the
/// ids of the tasks that had not completed. These run on; those passed by value are detached.
///
/// # Panics
///
/// Panics on the thread of an aloop if it would have to block. Use `.await` there.
/// On the thread of an aloop, if it would have to block: use `.await` there.
#[macro_export]
macro_rules! wait_completed {
    ($($arguments:tt)*) => {
        $crate::__wait_arguments!([completed] [] [] [] $($arguments)*)
    };
}

/// Waits for all of the given tasks and returns the outcome of each. Never fails itself.
///
/// Works as [`wait_completed!`](crate::wait_completed), with a `Result<_, TaskError>` in place of
/// each result. There is no `timeout`, because there is no error to report it with. `progress =
/// label` shows a progress bar.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{Supervisor, TaskError, wait_settled};
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
///
/// Panics on the thread of an aloop if it would have to block. Use `.await` there.
#[macro_export]
macro_rules! wait_settled {
    ($($arguments:tt)*) => {
        $crate::__wait_arguments!([settled] [] [] [] $($arguments)*)
    };
}

/// Waits for the first of the given tasks to complete and returns its position and result.
///
/// Takes a list of tasks (`Vec`, array or slice, by value or by reference), or several tasks with
/// the same result type. `timeout = d` works as in [`wait_completed!`](crate::wait_completed). If
/// several tasks have completed already, the earliest one is returned. The other tasks run on;
/// those passed by value are detached. To process many tasks as they complete, use
/// [`as_completed`](crate::as_completed), which does not register with every task again for each
/// result.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{Supervisor, TaskBuilder, TaskContext, WaitError, wait_any};
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
/// # Errors
///
/// Returns [`WaitError::Task`](crate::WaitError::Task) if the first task to complete has failed;
/// failures count as completion. Returns [`WaitError::Timeout`](crate::WaitError::Timeout) with the
/// ids of all tasks if the time is over first, and [`WaitError::Empty`](crate::WaitError::Empty)
/// for an empty list.
///
/// # Panics
///
/// Panics on the thread of an aloop if it would have to block.
#[macro_export]
macro_rules! wait_any {
    ($($arguments:tt)*) => {
        $crate::__wait_arguments!([any] [] [] [] $($arguments)*)
    };
}

/// `[function] [tasks,] [time] [label] arguments still to be sorted`
#[doc(hidden)]
#[macro_export]
macro_rules! __wait_arguments {
    // Sort. These macros find their crate by `$crate`; the key `crate` is accepted because all
    // other macros have it.
    ($f:tt $tasks:tt $time:tt $label:tt crate = $krate:path $(, $($rest:tt)*)?) => {
        $crate::__wait_arguments!($f $tasks $time $label $($($rest)*)?)
    };
    ([settled] $tasks:tt [] $label:tt timeout = $($rest:tt)*) => {
        ::core::compile_error!(
            "`wait_settled!` never fails, so it takes no `timeout`: use `wait_completed!`"
        )
    };
    ($f:tt $tasks:tt [] $label:tt timeout = $time:expr $(, $($rest:tt)*)?) => {
        $crate::__wait_arguments!($f $tasks [$time] $label $($($rest)*)?)
    };
    ($f:tt $tasks:tt $time:tt $label:tt timeout = $($rest:tt)*) => {
        ::core::compile_error!("`timeout` is given twice")
    };
    ([any] $tasks:tt $time:tt $label:tt progress = $($rest:tt)*) => {
        ::core::compile_error!(
            "`wait_any!` ends with the first task, so it takes no `progress`: use `wait_completed!` or \
             `as_completed`"
        )
    };
    ($f:tt $tasks:tt $time:tt [] progress = $label:expr $(, $($rest:tt)*)?) => {
        $crate::__wait_arguments!($f $tasks $time [$label] $($($rest)*)?)
    };
    ($f:tt $tasks:tt $time:tt $label:tt progress = $($rest:tt)*) => {
        ::core::compile_error!("`progress` is given twice")
    };
    ($f:tt [$($task:expr,)*] $time:tt $label:tt $next:expr $(, $($rest:tt)*)?) => {
        $crate::__wait_arguments!($f [$($task,)* $next,] $time $label $($($rest)*)?)
    };

    // Call.
    ($f:tt [] $time:tt $label:tt) => {
        ::core::compile_error!("there is nothing to wait for: give at least one task, or a list of tasks")
    };
    ($f:tt [$task:expr,] $time:tt $label:tt) => {
        $crate::__wait_call!($f [$task] $time $label)
    };
    ($f:tt [$($task:expr,)+] $time:tt $label:tt) => {
        $crate::__wait_call!($f [($($task,)+)] $time $label)
    };
}

/// `[function] [tasks] [time] [label]`
#[doc(hidden)]
#[macro_export]
macro_rules! __wait_call {
    ([settled] [$tasks:expr] [] []) => {
        $crate::__private::wait::settled($tasks)
    };
    ([settled] [$tasks:expr] [] [$label:expr]) => {
        $crate::__wait_with_progress!([settled] $label, $tasks)
    };
    ($f:tt $tasks:tt [] $label:tt) => {
        $crate::__wait_call!($f $tasks [$crate::__private::wait::NO_LIMIT] $label)
    };
    ([$f:ident] [$tasks:expr] [$time:expr] []) => {
        $crate::__private::wait::$f($tasks, $time)
    };
    ([$f:ident] [$tasks:expr] [$time:expr] [$label:expr]) => {
        $crate::__wait_with_progress!([$f] $label, $tasks, $time)
    };
}
