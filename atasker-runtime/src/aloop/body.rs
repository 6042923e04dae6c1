//! The bodies of async tasks: how a task's future is made.

use std::sync::Arc;

use crate::error::TaskError;
use crate::task::cell::Body;
use crate::task::future::queue::Queue;
use crate::task::future::{Seat, Seated};
use crate::task::{AnyTask, panic};

/// A future.
pub(crate) struct Made<Fut>(pub(crate) Fut);

/// A future that is made once.
pub(crate) struct Once<F>(pub(crate) F);

/// A future that can be made again.
pub(crate) struct Repeat<F>(pub(crate) F);

fn not_here<R>() -> Result<R, TaskError> {
    Err(TaskError::not_started("a future runs on an aloop, not on a thread"))
}

impl<R, Fut> Body<R> for Made<Fut>
where
    R: Send + 'static,
    Fut: Future<Output = R> + Send + 'static,
{
    type Seat = Seat<Fut>;

    fn run(&mut self, _task: &Arc<dyn AnyTask>) -> Result<R, TaskError> {
        not_here()
    }

    fn spawn(
        self,
        task: &Arc<dyn AnyTask>,
        on: &Arc<Queue>,
        seat: &Seat<Fut>,
        _: impl FnOnce(Self),
    ) -> Result<(), TaskError> {
        seat.start(self.0, task, on);
        Ok(())
    }

    fn future(seat: &Seat<Fut>) -> Option<&dyn Seated<R>> {
        Some(seat)
    }
}

impl<R, F, Fut> Body<R> for Once<F>
where
    R: Send + 'static,
    F: FnOnce(&Arc<dyn AnyTask>) -> Fut + Send + 'static,
    Fut: Future<Output = R> + Send + 'static,
{
    type Seat = Seat<Fut>;

    fn run(&mut self, _task: &Arc<dyn AnyTask>) -> Result<R, TaskError> {
        not_here()
    }

    fn spawn(
        self,
        task: &Arc<dyn AnyTask>,
        on: &Arc<Queue>,
        seat: &Seat<Fut>,
        _: impl FnOnce(Self),
    ) -> Result<(), TaskError> {
        let future = panic::catch(|| (self.0)(task))?;
        seat.start(future, task, on);
        Ok(())
    }

    fn future(seat: &Seat<Fut>) -> Option<&dyn Seated<R>> {
        Some(seat)
    }
}

impl<R, F, Fut> Body<R> for Repeat<F>
where
    R: Send + 'static,
    F: FnMut(&Arc<dyn AnyTask>) -> Fut + Send + 'static,
    Fut: Future<Output = R> + Send + 'static,
{
    type Seat = Seat<Fut>;
    const REPEATS: bool = true;

    fn run(&mut self, _task: &Arc<dyn AnyTask>) -> Result<R, TaskError> {
        not_here()
    }

    fn spawn(
        mut self,
        task: &Arc<dyn AnyTask>,
        on: &Arc<Queue>,
        seat: &Seat<Fut>,
        keep: impl FnOnce(Self),
    ) -> Result<(), TaskError> {
        let made = panic::catch(|| (self.0)(task));
        keep(self);
        seat.start(made?, task, on);
        Ok(())
    }

    fn future(seat: &Seat<Fut>) -> Option<&dyn Seated<R>> {
        Some(seat)
    }
}
