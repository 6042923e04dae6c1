//! Waiting for the first of several tasks to end.

use std::time::Instant;

use super::ready::Arrivals;
use super::waitable::sealed::{self, Handle, HeaderRef, Sealed};
use super::waitable::{TaskHandle, Waitable, at};
use crate::error::WaitError;
use crate::fork;
use crate::limit;
use crate::task::handle::Task;
use crate::task::park;

/// The arguments of [`wait_any!`](crate::wait_any): a list of tasks (`Vec`, array, `&Vec`, slice or
/// `&` of an array), a tuple of up to 12 tasks with the same result type, or a single task.
///
/// This trait is sealed.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{Alternatives, WaitError, wait_any};
/// fn fastest<A: Alternatives>(tasks: A) -> Result<A::Output, WaitError> {
///     wait_any!(tasks).map(|(_, result)| result)
/// }
/// # let sup = atasker::Supervisor::builder().build();
/// assert_eq!(fastest([sup.spawn(|| 42), sup.spawn(|| 42)]).unwrap(), 42);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a list of tasks nor a tuple of tasks with one type of result",
    label = "no first of these can be waited for",
    note = "`wait_any!` takes a `Vec`, slice or array of tasks, or up to 12 tasks whose results are \
            of one type, all by value or all by reference"
)]
pub trait Alternatives: Sealed + sealed::Choices {
    /// The result of one task: owned if the tasks were passed by value, borrowed otherwise.
    type Output;

    /// Returns the result of the task at `index`, which has ended.
    #[doc(hidden)]
    fn __take(self, index: usize) -> Result<Self::Output, WaitError>;
}

/// Waits for the first task to end, and returns its index and result.
#[track_caller]
pub(super) fn first<A: Alternatives>(
    tasks: A,
    deadline: Option<Instant>,
) -> Result<(usize, A::Output), WaitError> {
    if tasks.len() == 0 {
        return Err(WaitError::Empty);
    }
    let index = match earliest(&tasks) {
        Some(index) => Some(index),
        // A task may end while the wait is being given up, so check again.
        None => wait(&tasks, deadline).or_else(|| earliest(&tasks)),
    };
    match index {
        Some(index) => match tasks.__take(index) {
            Ok(output) => Ok((index, output)),
            Err(error) => Err(at(index)(error)),
        },
        None => {
            let pending = (0..tasks.len()).map(|index| tasks.header_ref(index).0.id()).collect();
            Err(WaitError::Timeout { pending })
        }
    }
}

/// Returns the task that ended first, of those that have ended.
fn earliest(tasks: &impl sealed::Choices) -> Option<usize> {
    (0..tasks.len())
        .filter(|index| tasks.header_ref(*index).0.state.read().is_ended())
        .min_by_key(|index| tasks.header_ref(*index).0.ended())
}

#[track_caller]
fn wait<A: Alternatives>(tasks: &A, deadline: Option<Instant>) -> Option<usize> {
    /// Removes the wakers, because the tasks live on.
    struct Watched<'a, A: Alternatives>(&'a A, Arrivals);
    impl<A: Alternatives> Drop for Watched<'_, A> {
        fn drop(&mut self) {
            (0..self.0.len()).for_each(|index| self.1.remove(index, self.0.header_ref(index).0));
        }
    }

    if fork::is_copy() {
        // None will end in this process: the first one answers with the error.
        return Some(0);
    }
    let mut watched = Watched(tasks, Arrivals::new());
    for index in 0..tasks.len() {
        watched.1.add(index, tasks.header_ref(index).0);
    }
    let _lent = limit::lend((0..tasks.len()).map(|index| tasks.header_ref(index).0));
    park::block_on_or_run_inline(
        deadline,
        |context| watched.1.poll(context, |index| tasks.header_ref(index).0),
        || (0..tasks.len()).any(|index| tasks.run_inline(index)),
    )
}

macro_rules! lists {
    ($([$($generics:tt)*] $list:ty;)+) => {$(
        impl<T: TaskHandle, $($generics)*> sealed::Choices for $list {
            fn len(&self) -> usize {
                self.as_slice().len()
            }
            fn header_ref(&self, index: usize) -> HeaderRef<'_> {
                self[index].header_ref()
            }
            fn run_inline(&self, index: usize) -> bool {
                self[index].run_inline()
            }
        }

        impl<T: TaskHandle, $($generics)*> Alternatives for $list {
            type Output = T::Output;

            fn __take(self, index: usize) -> Result<Self::Output, WaitError> {
                let task = self.into_iter().nth(index).expect("an index into this list");
                task.__completed()
            }
        }

        impl<'a, T: Handle, $($generics)*> sealed::Choices for &'a $list
        where
            &'a T: TaskHandle,
        {
            fn len(&self) -> usize {
                self.as_slice().len()
            }
            fn header_ref(&self, index: usize) -> HeaderRef<'_> {
                self[index].header_ref()
            }
            fn run_inline(&self, index: usize) -> bool {
                self[index].run_inline()
            }
        }

        impl<'a, T: Handle, $($generics)*> Alternatives for &'a $list
        where
            &'a T: TaskHandle,
        {
            type Output = <&'a T as Waitable>::Output;

            fn __take(self, index: usize) -> Result<Self::Output, WaitError> {
                (&self[index]).__completed()
            }
        }
    )+};
}

lists! {
    [] Vec<T>;
    [const N: usize] [T; N];
}

impl<'a, T: Handle> sealed::Choices for &'a [T]
where
    &'a T: TaskHandle,
{
    fn len(&self) -> usize {
        <[T]>::len(self)
    }
    fn header_ref(&self, index: usize) -> HeaderRef<'_> {
        self[index].header_ref()
    }
    fn run_inline(&self, index: usize) -> bool {
        self[index].run_inline()
    }
}

impl<'a, T: Handle> Alternatives for &'a [T]
where
    &'a T: TaskHandle,
{
    type Output = <&'a T as Waitable>::Output;

    fn __take(self, index: usize) -> Result<Self::Output, WaitError> {
        (&self[index]).__completed()
    }
}

macro_rules! one {
    ($($task:ty),+) => {$(
        impl<R: Send + 'static, I: Send + 'static, O: Send + 'static> sealed::Choices for $task {
            fn len(&self) -> usize {
                1
            }
            fn header_ref(&self, _: usize) -> HeaderRef<'_> {
                Handle::header_ref(self)
            }
            fn run_inline(&self, _: usize) -> bool {
                Handle::run_inline(self)
            }
        }

        impl<R: Send + 'static, I: Send + 'static, O: Send + 'static> Alternatives for $task {
            type Output = <Self as Waitable>::Output;

            fn __take(self, _: usize) -> Result<Self::Output, WaitError> {
                self.__completed()
            }
        }
    )+};
}

one!(Task<R, I, O>, &Task<R, I, O>);

macro_rules! tuples {
    ($First:ident 0 $(, $W:ident $i:tt)*) => {
        impl<$First: TaskHandle, $($W: TaskHandle,)*> sealed::Choices for ($First, $($W,)*) {
            fn len(&self) -> usize {
                [0, $($i,)*].len()
            }
            fn header_ref(&self, index: usize) -> HeaderRef<'_> {
                match index {
                    $($i => self.$i.header_ref(),)*
                    _ => self.0.header_ref(),
                }
            }
            fn run_inline(&self, index: usize) -> bool {
                match index {
                    $($i => self.$i.run_inline(),)*
                    _ => self.0.run_inline(),
                }
            }
        }

        impl<$First, $($W,)*> Alternatives for ($First, $($W,)*)
        where
            $First: TaskHandle,
            $($W: TaskHandle + Waitable<Output = $First::Output>,)*
        {
            type Output = $First::Output;

            fn __take(self, index: usize) -> Result<Self::Output, WaitError> {
                match index {
                    $($i => self.$i.__completed(),)*
                    _ => self.0.__completed(),
                }
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
