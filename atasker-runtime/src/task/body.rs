//! The bodies of tasks on threads.

use crate::error::TaskError;
use crate::task::TaskArc;
use crate::task::cell::Body;

/// A function that runs once.
pub(crate) struct Once<F>(pub(crate) Option<F>);

impl<R, F> Body<R> for Once<F>
where
    F: FnOnce(&TaskArc) -> R + Send + 'static,
{
    type PlaceData = ();

    fn run(&mut self, task: &TaskArc) -> Result<R, TaskError> {
        match self.0.take() {
            Some(f) => Ok(f(task)),
            None => {
                Err(TaskError::not_started("the function can run only once and has run already"))
            }
        }
    }
}

/// A function that may run again.
pub(crate) struct Repeat<F>(pub(crate) F);

impl<R, F> Body<R> for Repeat<F>
where
    F: FnMut(&TaskArc) -> R + Send + 'static,
{
    type PlaceData = ();
    const REPEATS: bool = true;

    fn run(&mut self, task: &TaskArc) -> Result<R, TaskError> {
        Ok((self.0)(task))
    }
}
