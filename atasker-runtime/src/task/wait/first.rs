//! The first of several tasks to end.

use std::time::Instant;

use super::ready::Arrivals;
use super::waitable::sealed::{self, Handle, Inside, Sealed};
use super::waitable::{TaskHandle, Waitable, at};
use crate::error::WaitError;
use crate::task::handle::Task;
use crate::task::park;

/// What [`wait_any!`](crate::wait_any) takes: a list of tasks (`Vec`, array, `&Vec`, slice, `&` of
/// an array) or a tuple of up to 12 tasks with one type of result; also one task.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a list of tasks nor a tuple of tasks with one type of result",
    label = "no first of these can be waited for",
    note = "`wait_any!` takes a `Vec`, slice or array of tasks, or up to 12 tasks whose results are \
            of one type, all by value or all by reference"
)]
pub trait Alternatives: Sealed + sealed::Choice {
    /// The result of one: owned where the tasks were given by value, else borrowed.
    type Output;

    /// The result of the one in this place, which has ended.
    #[doc(hidden)]
    fn __take(self, index: usize) -> Result<Self::Output, WaitError>;
}

/// Waits for the first to end, and gives its place and its result.
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
        // One may end while the wait is given up: hence the second look.
        None => wait(&tasks, deadline).or_else(|| earliest(&tasks)),
    };
    match index {
        Some(index) => match tasks.__take(index) {
            Ok(output) => Ok((index, output)),
            Err(error) => Err(at(index)(error)),
        },
        None => {
            let pending = (0..tasks.len()).map(|index| tasks.inside(index).0.id).collect();
            Err(WaitError::Timeout { pending })
        }
    }
}

/// Of those that have ended, the one that did so first.
fn earliest(tasks: &impl sealed::Choice) -> Option<usize> {
    (0..tasks.len())
        .filter(|index| tasks.inside(*index).0.state.read().is_ended())
        .min_by_key(|index| tasks.inside(*index).0.ended())
}

#[track_caller]
fn wait<A: Alternatives>(tasks: &A, deadline: Option<Instant>) -> Option<usize> {
    /// Takes the bells down: the tasks live on.
    struct Watched<'a, A: Alternatives>(&'a A, Arrivals);
    impl<A: Alternatives> Drop for Watched<'_, A> {
        fn drop(&mut self) {
            (0..self.0.len()).for_each(|index| self.1.remove(self.0.inside(index).0));
        }
    }

    let mut watched = Watched(tasks, Arrivals::new());
    for index in 0..tasks.len() {
        watched.1.add(index, tasks.inside(index).0);
    }
    park::block_on_or_help(
        deadline,
        |context| watched.1.poll(context, |index| tasks.inside(index).0),
        || (0..tasks.len()).any(|index| tasks.run_here(index)),
    )
}

macro_rules! lists {
    ($([$($generics:tt)*] $list:ty;)+) => {$(
        impl<T: TaskHandle, $($generics)*> sealed::Choice for $list {
            fn len(&self) -> usize {
                self.as_slice().len()
            }
            fn inside(&self, index: usize) -> Inside<'_> {
                self[index].inside()
            }
            fn run_here(&self, index: usize) -> bool {
                self[index].run_here()
            }
        }

        impl<T: TaskHandle, $($generics)*> Alternatives for $list {
            type Output = T::Output;

            fn __take(self, index: usize) -> Result<Self::Output, WaitError> {
                let task = self.into_iter().nth(index).expect("an index into this list");
                task.__completed()
            }
        }

        impl<'a, T: Handle, $($generics)*> sealed::Choice for &'a $list
        where
            &'a T: TaskHandle,
        {
            fn len(&self) -> usize {
                self.as_slice().len()
            }
            fn inside(&self, index: usize) -> Inside<'_> {
                self[index].inside()
            }
            fn run_here(&self, index: usize) -> bool {
                self[index].run_here()
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

impl<'a, T: Handle> sealed::Choice for &'a [T]
where
    &'a T: TaskHandle,
{
    fn len(&self) -> usize {
        <[T]>::len(self)
    }
    fn inside(&self, index: usize) -> Inside<'_> {
        self[index].inside()
    }
    fn run_here(&self, index: usize) -> bool {
        self[index].run_here()
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
        impl<R: Send + 'static, I: Send + 'static, O: Send + 'static> sealed::Choice for $task {
            fn len(&self) -> usize {
                1
            }
            fn inside(&self, _: usize) -> Inside<'_> {
                Handle::inside(self)
            }
            fn run_here(&self, _: usize) -> bool {
                Handle::run_here(self)
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
        impl<$First: TaskHandle, $($W: TaskHandle,)*> sealed::Choice for ($First, $($W,)*) {
            fn len(&self) -> usize {
                [0, $($i,)*].len()
            }
            fn inside(&self, index: usize) -> Inside<'_> {
                match index {
                    $($i => self.$i.inside(),)*
                    _ => self.0.inside(),
                }
            }
            fn run_here(&self, index: usize) -> bool {
                match index {
                    $($i => self.$i.run_here(),)*
                    _ => self.0.run_here(),
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
