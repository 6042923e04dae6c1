//! The bodies of async tasks: how a task's future is made, and where it stands.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::error::TaskError;
use crate::task::cell::Body;
use crate::task::future::Turns;
use crate::task::{AnyTask, panic};

pin_project! {
    /// A future.
    pub(crate) struct Made<Fut> {
        #[pin]
        future: Option<Fut>,
    }
}

pin_project! {
    /// A future that is made once. It stands where the function stood that made it.
    #[project = OnceProjection]
    pub(crate) enum Once<F, Fut> {
        Make { make: F },
        Made {
            #[pin]
            future: Fut,
        },
        Gone,
    }
}

pin_project! {
    /// A future that can be made again.
    pub(crate) struct Repeat<F, Fut> {
        make: F,
        #[pin]
        future: Option<Fut>,
    }
}

fn not_here<R>() -> Result<R, TaskError> {
    Err(TaskError::not_started("a future runs on an aloop, not on a thread"))
}

impl<Fut> Made<Fut> {
    pub(crate) fn new(future: Fut) -> Self {
        Made { future: Some(future) }
    }
}

impl<R, Fut> Body<R> for Made<Fut>
where
    R: Send + 'static,
    Fut: Future<Output = R> + Send + 'static,
{
    type Seat = Turns;

    fn run(&mut self, _task: &Arc<dyn AnyTask>) -> Result<R, TaskError> {
        not_here()
    }

    fn make(&mut self, _task: &Arc<dyn AnyTask>) -> Result<(), TaskError> {
        Ok(())
    }

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<R> {
        self.project().future.as_pin_mut().expect("not polled after its end").poll(context)
    }

    fn unmake(self: Pin<&mut Self>) {
        self.project().future.set(None);
    }

    fn turns(turns: &Turns) -> Option<&Turns> {
        Some(turns)
    }
}

impl<F, Fut> Once<F, Fut> {
    pub(crate) fn new(make: F) -> Self {
        Once::Make { make }
    }
}

impl<R, F, Fut> Body<R> for Once<F, Fut>
where
    R: Send + 'static,
    F: FnOnce(&Arc<dyn AnyTask>) -> Fut + Send + 'static,
    Fut: Future<Output = R> + Send + 'static,
{
    type Seat = Turns;

    fn run(&mut self, _task: &Arc<dyn AnyTask>) -> Result<R, TaskError> {
        not_here()
    }

    fn make(&mut self, task: &Arc<dyn AnyTask>) -> Result<(), TaskError> {
        if let Once::Make { make } = std::mem::replace(self, Once::Gone) {
            *self = Once::Made { future: panic::catch(|| make(task))? };
        }
        Ok(())
    }

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<R> {
        match self.project() {
            OnceProjection::Made { future } => future.poll(context),
            _ => unreachable!("polled between its making and its end"),
        }
    }

    fn unmake(mut self: Pin<&mut Self>) {
        self.set(Once::Gone);
    }

    fn turns(turns: &Turns) -> Option<&Turns> {
        Some(turns)
    }
}

impl<F, Fut> Repeat<F, Fut> {
    pub(crate) fn new(make: F) -> Self {
        Repeat { make, future: None }
    }
}

impl<R, F, Fut> Body<R> for Repeat<F, Fut>
where
    R: Send + 'static,
    F: FnMut(&Arc<dyn AnyTask>) -> Fut + Send + 'static,
    Fut: Future<Output = R> + Send + 'static,
{
    type Seat = Turns;
    const REPEATS: bool = true;

    fn run(&mut self, _task: &Arc<dyn AnyTask>) -> Result<R, TaskError> {
        not_here()
    }

    fn make(&mut self, task: &Arc<dyn AnyTask>) -> Result<(), TaskError> {
        self.future = Some(panic::catch(|| (self.make)(task))?);
        Ok(())
    }

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<R> {
        self.project().future.as_pin_mut().expect("not polled after its end").poll(context)
    }

    fn unmake(self: Pin<&mut Self>) {
        self.project().future.set(None);
    }

    fn turns(turns: &Turns) -> Option<&Turns> {
        Some(turns)
    }
}
