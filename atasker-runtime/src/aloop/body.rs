//! The bodies of async tasks: how the future of a task is created and stored.

use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::error::TaskError;
use crate::task::TaskArc;
use crate::task::cell::Body;
use crate::task::future::FutureData;
use crate::unwind;

pin_project! {
    /// The body of a task that was launched with a future.
    pub(crate) struct FutureBody<Fut> {
        #[pin]
        future: Option<Fut>,
    }
}

pin_project! {
    /// The body of a task that was launched with a function that returns a future. The future
    /// replaces the function in place, so it needs no allocation.
    #[project = LazyProjection]
    pub(crate) enum LazyFuture<F, Fut> {
        Unmade { make: F },
        Made {
            #[pin]
            future: Fut,
        },
        Dropped,
    }
}

pin_project! {
    /// The body of a task that can run again: it creates a future for each attempt.
    pub(crate) struct RepeatableFuture<F, Fut> {
        make: F,
        #[pin]
        future: Option<Fut>,
    }
}

fn wrong_place<R>() -> Result<R, TaskError> {
    Err(TaskError::not_started("a future runs on an aloop, not on a thread"))
}

impl<Fut> FutureBody<Fut> {
    pub(crate) fn new(future: Fut) -> Self {
        FutureBody { future: Some(future) }
    }
}

impl<R, Fut> Body<R> for FutureBody<Fut>
where
    R: Send + 'static,
    Fut: Future<Output = R> + Send + 'static,
{
    type PlaceData = FutureData;

    fn run(&mut self, _task: &TaskArc) -> Result<R, TaskError> {
        wrong_place()
    }

    fn make(&mut self, _task: &TaskArc) -> Result<(), TaskError> {
        Ok(())
    }

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<R> {
        self.project().future.as_pin_mut().expect("not polled after its end").poll(context)
    }

    fn unmake(self: Pin<&mut Self>) {
        self.project().future.set(None);
    }

    fn future_data(data: &FutureData) -> Option<&FutureData> {
        Some(data)
    }
}

impl<F, Fut> LazyFuture<F, Fut> {
    pub(crate) fn new(make: F) -> Self {
        LazyFuture::Unmade { make }
    }
}

impl<R, F, Fut> Body<R> for LazyFuture<F, Fut>
where
    R: Send + 'static,
    F: FnOnce(&TaskArc) -> Fut + Send + 'static,
    Fut: Future<Output = R> + Send + 'static,
{
    type PlaceData = FutureData;

    fn run(&mut self, _task: &TaskArc) -> Result<R, TaskError> {
        wrong_place()
    }

    fn make(&mut self, task: &TaskArc) -> Result<(), TaskError> {
        if let LazyFuture::Unmade { make } = std::mem::replace(self, LazyFuture::Dropped) {
            *self = LazyFuture::Made { future: unwind::catch(|| make(task))? };
        }
        Ok(())
    }

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<R> {
        match self.project() {
            LazyProjection::Made { future } => future.poll(context),
            _ => unreachable!("polled between its making and its end"),
        }
    }

    fn unmake(mut self: Pin<&mut Self>) {
        self.set(LazyFuture::Dropped);
    }

    fn future_data(data: &FutureData) -> Option<&FutureData> {
        Some(data)
    }
}

impl<F, Fut> RepeatableFuture<F, Fut> {
    pub(crate) fn new(make: F) -> Self {
        RepeatableFuture { make, future: None }
    }
}

impl<R, F, Fut> Body<R> for RepeatableFuture<F, Fut>
where
    R: Send + 'static,
    F: FnMut(&TaskArc) -> Fut + Send + 'static,
    Fut: Future<Output = R> + Send + 'static,
{
    type PlaceData = FutureData;
    const REPEATS: bool = true;

    fn run(&mut self, _task: &TaskArc) -> Result<R, TaskError> {
        wrong_place()
    }

    fn make(&mut self, task: &TaskArc) -> Result<(), TaskError> {
        self.future = Some(unwind::catch(|| (self.make)(task))?);
        Ok(())
    }

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<R> {
        self.project().future.as_pin_mut().expect("not polled after its end").poll(context)
    }

    fn unmake(self: Pin<&mut Self>) {
        self.project().future.set(None);
    }

    fn future_data(data: &FutureData) -> Option<&FutureData> {
        Some(data)
    }
}
