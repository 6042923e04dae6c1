//! What can be waited for: a task, a list of tasks, or a tuple of these, by value or by reference.
//!
//! The shape of the results follows from the shape of the arguments. A result is moved out only if
//! its task was passed by value.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::error::{TaskError, WaitError};
use crate::info::Outcome;
use crate::task::TaskArc;
use crate::task::handle::Task;
use crate::task::header::Header;
use crate::unwind::{Guarded, discard};

pub(super) mod sealed {

    use super::{Header, TaskArc};

    pub trait Sealed {}

    /// A reference to a task's header, wrapped so that public traits can mention it.
    pub struct HeaderRef<'t>(pub(in super::super) &'t Header);

    impl std::fmt::Debug for HeaderRef<'_> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_tuple("HeaderRef").field(&self.0.id()).finish()
        }
    }

    /// A task without its types, wrapped for the same reason.
    pub struct ErasedTask(pub(crate) TaskArc);

    impl std::fmt::Debug for ErasedTask {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_tuple("ErasedTask").field(&self.0.header().id()).finish()
        }
    }

    /// Internal access to a handle.
    pub trait Handle {
        fn header_ref(&self) -> HeaderRef<'_>;
        fn erased_task(&self) -> ErasedTask;
        /// See `run_inline` of the parent module.
        fn run_inline(&self) -> bool;
    }

    /// Internal access to several handles.
    pub trait Choices {
        fn len(&self) -> usize;
        fn header_ref(&self, index: usize) -> HeaderRef<'_>;
        fn run_inline(&self, index: usize) -> bool;
    }
}
use sealed::{ErasedTask, Handle, HeaderRef, Sealed};

/// The arguments of [`wait_completed!`](crate::wait_completed) and
/// [`wait_settled!`](crate::wait_settled).
///
/// | given | [`Output`](Self::Output) | [`Settled`](Self::Settled) |
/// |---|---|---|
/// | `Task<R>` | `R` | `Result<R, TaskError>` |
/// | `&Task<R>` | `&R` | `Result<&R, TaskError>` |
/// | `Vec<W>` | `Vec` of each one's | `Vec` of each one's |
/// | `[W; N]` | array of each one's | array of each one's |
/// | `&Vec<W>`, `&[W]`, `&[W; N]` | `Vec` of what `&W` gives | `Vec` of what `&W` gives |
/// | a tuple of up to 12 of these | tuple of each one's | tuple of each one's |
///
/// This trait is sealed: it is implemented for these types only. Use it in functions that pass tasks on:
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{Supervisor, WaitError, Waitable, wait_completed};
/// use std::time::Duration;
///
/// fn patiently<W: Waitable>(tasks: W) -> Result<W::Output, WaitError> {
///     wait_completed!(tasks, timeout = Duration::from_secs(60))
/// }
///
/// let sup = Supervisor::builder().build();
/// let (n, s) = patiently((sup.spawn(|| 1), vec![sup.spawn(|| "a")])).unwrap();
/// assert_eq!((n, s), (1, vec!["a"]));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a task nor a list or tuple of tasks",
    label = "can't be waited for",
    note = "tasks, `Vec`s, slices and arrays of tasks, tuples of up to 12 of these, and references \
            to tasks and lists can be waited for; put more than 12 tasks into a `Vec`"
)]
pub trait Waitable: Sealed + Sized {
    /// The results: owned if the tasks were passed by value, borrowed from the tasks otherwise.
    type Output;
    /// The outcomes: as [`Output`](Self::Output), with a `Result<_, TaskError>` for each task.
    type Settled;

    /// Waits for all. Returns false if the deadline passes first.
    #[doc(hidden)]
    #[track_caller]
    fn __wait(&self, deadline: Option<Instant>) -> bool;
    /// Calls `visit` with each task.
    #[doc(hidden)]
    fn __each(&self, visit: &mut dyn FnMut(&dyn Handle));
    /// Returns the results of tasks that have all ended, or the first failure in order.
    #[doc(hidden)]
    fn __completed(self) -> Result<Self::Output, WaitError>;
    /// Returns the outcomes of tasks that have all ended.
    #[doc(hidden)]
    fn __settled(self) -> Self::Settled;
}

/// A task passed by value or by reference: `Task<R, I, O>` or `&Task<R, I, O>`.
///
/// The items of [`as_completed`](crate::as_completed). This trait is sealed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a task",
    label = "a task, or a reference to one, is expected here"
)]
pub trait TaskHandle: Waitable + Handle {
    /// Returns the outcome of a task that has ended, as `__settled` does. Pending while the result is
    /// being cloned and can't be moved out.
    #[doc(hidden)]
    fn __poll(&mut self, context: &mut Context<'_>) -> Poll<Self::Settled>;
}

/// The time limit of a wait: a `Duration`, or an `Option<Duration>` where `None` means no limit.
///
/// This trait is sealed.
///
/// ```
/// # use atasker_runtime as atasker;
/// use std::time::Duration;
/// use atasker::{Task, WaitError, WaitTime, wait_completed};
/// fn sum(tasks: Vec<Task<u32>>, limit: impl WaitTime) -> Result<u32, WaitError> {
///     Ok(wait_completed!(tasks, timeout = limit)?.into_iter().sum())
/// }
/// # let sup = atasker::Supervisor::builder().build();
/// assert_eq!(sum(vec![sup.spawn(|| 42)], Duration::from_secs(60)).unwrap(), 42);
/// assert_eq!(sum(vec![sup.spawn(|| 42)], None).unwrap(), 42);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a time to wait",
    label = "`timeout` takes a `Duration` or an `Option<Duration>`"
)]
pub trait WaitTime: Sealed {
    #[doc(hidden)]
    fn __limit(self) -> Option<Duration>;
}

impl Sealed for Duration {}
impl WaitTime for Duration {
    fn __limit(self) -> Option<Duration> {
        Some(self)
    }
}

impl Sealed for Option<Duration> {}
impl WaitTime for Option<Duration> {
    fn __limit(self) -> Option<Duration> {
        self
    }
}

/// Sets the index of a failure.
pub(super) fn at(index: usize) -> impl Fn(WaitError) -> WaitError {
    move |error| match error {
        WaitError::Task { id, name, error, .. } => WaitError::Task { index, id, name, error },
        other => other,
    }
}

// One task.

impl<R, I, O> Sealed for Task<R, I, O> {}

impl<R, I, O> Handle for Task<R, I, O> {
    fn header_ref(&self) -> HeaderRef<'_> {
        HeaderRef(self.header())
    }
    fn erased_task(&self) -> ErasedTask {
        ErasedTask(self.erased().clone())
    }
    fn run_inline(&self) -> bool {
        super::run_inline(self.erased())
    }
}

impl<R: Send + 'static, I: Send + 'static, O: Send + 'static> Waitable for Task<R, I, O> {
    type Output = R;
    type Settled = Result<R, TaskError>;

    #[track_caller]
    fn __wait(&self, deadline: Option<Instant>) -> bool {
        self.wait_until(deadline)
    }
    fn __each(&self, visit: &mut dyn FnMut(&dyn Handle)) {
        visit(self);
    }
    fn __completed(self) -> Result<R, WaitError> {
        let header = self.header();
        let id = header.id();
        // An owned copy, because the task is consumed, and only for a task that has failed.
        let name = match header.state.read().outcome() {
            Some(Outcome::Failed) => header.name().to_owned(),
            _ => String::new(),
        };
        self.take_outcome().map_err(|error| WaitError::Task { index: 0, id, name, error })
    }
    fn __settled(self) -> Result<R, TaskError> {
        self.take_outcome()
    }
}

impl<R: Send + 'static, I: Send + 'static, O: Send + 'static> TaskHandle for Task<R, I, O> {
    fn __poll(&mut self, context: &mut Context<'_>) -> Poll<Self::Settled> {
        Pin::new(self).poll(context)
    }
}

// References.

impl<T: ?Sized> Sealed for &T {}

impl<T: Handle> Handle for &T {
    fn header_ref(&self) -> HeaderRef<'_> {
        (**self).header_ref()
    }
    fn erased_task(&self) -> ErasedTask {
        (**self).erased_task()
    }
    fn run_inline(&self) -> bool {
        (**self).run_inline()
    }
}

impl<T: TaskHandle> TaskHandle for &T
where
    Self: Waitable,
{
    fn __poll(&mut self, _: &mut Context<'_>) -> Poll<Self::Settled> {
        // Nothing is moved out.
        Poll::Ready((*self).__settled())
    }
}

impl<'a, R: Send + 'static, I: Send + 'static, O: Send + 'static> Waitable for &'a Task<R, I, O> {
    type Output = &'a R;
    type Settled = Result<&'a R, TaskError>;

    #[track_caller]
    fn __wait(&self, deadline: Option<Instant>) -> bool {
        self.wait_until(deadline)
    }
    fn __each(&self, visit: &mut dyn FnMut(&dyn Handle)) {
        Waitable::__each(*self, visit);
    }
    fn __completed(self) -> Result<&'a R, WaitError> {
        self.outcome_ref().map_err(|error| WaitError::Task {
            index: 0,
            id: self.id(),
            name: self.name().to_owned(),
            error,
        })
    }
    fn __settled(self) -> Result<&'a R, TaskError> {
        self.outcome_ref()
    }
}

/// References to lists of references, as collected from a filtered `iter()`.
impl<'b, W: ?Sized> Waitable for &&'b W
where
    &'b W: Waitable,
{
    type Output = <&'b W as Waitable>::Output;
    type Settled = <&'b W as Waitable>::Settled;

    #[track_caller]
    fn __wait(&self, deadline: Option<Instant>) -> bool {
        (**self).__wait(deadline)
    }
    fn __each(&self, visit: &mut dyn FnMut(&dyn Handle)) {
        (**self).__each(visit);
    }
    fn __completed(self) -> Result<Self::Output, WaitError> {
        (*self).__completed()
    }
    fn __settled(self) -> Self::Settled {
        (*self).__settled()
    }
}

// Lists.

/// Waits for each, the last one first. Tasks mostly end in about the order of their launch, so this
/// wakes up about once in total instead of once per task.
#[track_caller]
fn wait_each<'a, W: Waitable + 'a>(
    tasks: impl DoubleEndedIterator<Item = &'a W>,
    deadline: Option<Instant>,
) -> bool {
    for task in tasks.rev() {
        if !task.__wait(deadline) {
            return false;
        }
    }
    true
}

impl<W> Sealed for Vec<W> {}

impl<W: Waitable> Waitable for Vec<W> {
    type Output = Vec<W::Output>;
    type Settled = Vec<W::Settled>;

    #[track_caller]
    fn __wait(&self, deadline: Option<Instant>) -> bool {
        wait_each(self.iter(), deadline)
    }
    fn __each(&self, visit: &mut dyn FnMut(&dyn Handle)) {
        self.iter().for_each(|task| task.__each(visit));
    }
    fn __completed(self) -> Result<Self::Output, WaitError> {
        let mut outputs = Vec::with_capacity(self.len());
        for (i, task) in self.into_iter().enumerate() {
            match task.__completed() {
                Ok(output) => outputs.push(output),
                Err(error) => {
                    // The caller gets the failure, even if a result panics when it is dropped.
                    outputs.into_iter().for_each(discard);
                    return Err(at(i)(error));
                }
            }
        }
        Ok(outputs)
    }
    fn __settled(self) -> Self::Settled {
        self.into_iter().map(Waitable::__settled).collect()
    }
}

impl<W, const N: usize> Sealed for [W; N] {}

impl<W: Waitable, const N: usize> Waitable for [W; N] {
    type Output = [W::Output; N];
    type Settled = [W::Settled; N];

    #[track_caller]
    fn __wait(&self, deadline: Option<Instant>) -> bool {
        wait_each(self.iter(), deadline)
    }
    fn __each(&self, visit: &mut dyn FnMut(&dyn Handle)) {
        self.iter().for_each(|task| task.__each(visit));
    }
    fn __completed(self) -> Result<Self::Output, WaitError> {
        let mut results = self.map(|task| Some(task.__completed()));
        let failure = results.iter().position(|result| matches!(result, Some(Err(_))));
        if let Some(i) = failure
            && let Some(Err(error)) = results[i].take()
        {
            results.into_iter().for_each(discard);
            return Err(at(i)(error));
        }
        Ok(results.map(|result| match result {
            Some(Ok(output)) => output,
            _ => unreachable!("a failure was looked for"),
        }))
    }
    fn __settled(self) -> Self::Settled {
        self.map(Waitable::__settled)
    }
}

impl<'a, W> Waitable for &'a [W]
where
    &'a W: Waitable,
{
    type Output = Vec<<&'a W as Waitable>::Output>;
    type Settled = Vec<<&'a W as Waitable>::Settled>;

    #[track_caller]
    fn __wait(&self, deadline: Option<Instant>) -> bool {
        // The last one first: see `wait_each`.
        for task in self.iter().rev() {
            if !Waitable::__wait(&task, deadline) {
                return false;
            }
        }
        true
    }
    fn __each(&self, visit: &mut dyn FnMut(&dyn Handle)) {
        self.iter().for_each(|task| Waitable::__each(&task, visit));
    }
    fn __completed(self) -> Result<Self::Output, WaitError> {
        self.iter()
            .enumerate()
            .map(|(i, task)| Waitable::__completed(task).map_err(at(i)))
            .collect()
    }
    fn __settled(self) -> Self::Settled {
        self.iter().map(Waitable::__settled).collect()
    }
}

macro_rules! like_a_slice {
    ($([$($generics:tt)*] $list:ty;)+) => {$(
        impl<'a, W, $($generics)*> Waitable for &'a $list
        where
            &'a W: Waitable,
        {
            type Output = <&'a [W] as Waitable>::Output;
            type Settled = <&'a [W] as Waitable>::Settled;

            #[track_caller]
            fn __wait(&self, deadline: Option<Instant>) -> bool {
                Waitable::__wait(&self.as_slice(), deadline)
            }
            fn __each(&self, visit: &mut dyn FnMut(&dyn Handle)) {
                Waitable::__each(&self.as_slice(), visit);
            }
            fn __completed(self) -> Result<Self::Output, WaitError> {
                Waitable::__completed(self.as_slice())
            }
            fn __settled(self) -> Self::Settled {
                Waitable::__settled(self.as_slice())
            }
        }
    )+};
}

like_a_slice! {
    [] Vec<W>;
    [const N: usize] [W; N];
}

// Tuples.

macro_rules! tuples {
    ($($W:ident $i:tt),+) => {
        impl<$($W,)+> Sealed for ($($W,)+) {}

        impl<$($W: Waitable,)+> Waitable for ($($W,)+) {
            type Output = ($($W::Output,)+);
            type Settled = ($($W::Settled,)+);

            #[track_caller]
            fn __wait(&self, deadline: Option<Instant>) -> bool {
                $(self.$i.__wait(deadline))&&+
            }
            fn __each(&self, visit: &mut dyn FnMut(&dyn Handle)) {
                $(self.$i.__each(visit);)+
            }
            fn __completed(self) -> Result<Self::Output, WaitError> {
                let outputs = ($(Guarded::new(self.$i.__completed().map_err(at($i))?),)+);
                Ok(($(outputs.$i.into_inner(),)+))
            }
            fn __settled(self) -> Self::Settled {
                ($(self.$i.__settled(),)+)
            }
        }
    };
}

tuples!(A 0);
tuples!(A 0, B 1);
tuples!(A 0, B 1, C 2);
tuples!(A 0, B 1, C 2, D 3);
tuples!(A 0, B 1, C 2, D 3, E 4);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11);
