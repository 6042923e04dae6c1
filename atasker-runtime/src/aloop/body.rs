//! The bodies of async tasks, and the driver that polls them.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::error::TaskError;
use crate::task::cell::{Body, Typed};
use crate::task::state::Phase;
use crate::task::{AnyTask, current, panic, park};

/// What the cell keeps for the loop: how to have the future dropped, and of which attempt that is.
#[derive(Default)]
pub(crate) struct Seat(Mutex<(u32, Option<AbortHandle>)>);

/// A future that is made once.
pub(crate) struct Once<F>(pub(crate) Option<F>);

/// A future that can be made again.
pub(crate) struct Repeat<F>(pub(crate) F);

fn not_here<R>() -> Result<R, TaskError> {
    Err(TaskError::not_started("a future runs on an aloop, not on a thread"))
}

impl<R, F, Fut> Body<R> for Once<F>
where
    R: Send + 'static,
    F: FnOnce(&Arc<dyn AnyTask>) -> Fut + Send + 'static,
    Fut: Future<Output = R> + Send + 'static,
{
    type Seat = Seat;

    fn run(&mut self, _task: &Arc<dyn AnyTask>) -> Result<R, TaskError> {
        not_here()
    }

    fn spawn(self, task: Arc<dyn Typed<R>>, on: &Handle, seat: &Seat, _: impl FnOnce(Self)) {
        let Some(make) = self.0 else { return };
        match panic::catch(|| make(&task.clone().erase())) {
            Ok(future) => drive(future, task, on, seat),
            Err(error) => task.settle(&task.clone().erase(), Err(error)),
        }
    }

    fn abort(seat: &Seat) {
        seat.abort();
    }
}

impl<R, F, Fut> Body<R> for Repeat<F>
where
    R: Send + 'static,
    F: FnMut(&Arc<dyn AnyTask>) -> Fut + Send + 'static,
    Fut: Future<Output = R> + Send + 'static,
{
    type Seat = Seat;
    const REPEATS: bool = true;

    fn run(&mut self, _task: &Arc<dyn AnyTask>) -> Result<R, TaskError> {
        not_here()
    }

    fn spawn(mut self, task: Arc<dyn Typed<R>>, on: &Handle, seat: &Seat, keep: impl FnOnce(Self)) {
        let made = panic::catch(|| (self.0)(&task.clone().erase()));
        keep(self);
        match made {
            Ok(future) => drive(future, task, on, seat),
            Err(error) => task.settle(&task.clone().erase(), Err(error)),
        }
    }

    fn abort(seat: &Seat) {
        seat.abort();
    }
}

impl Seat {
    fn abort(&self) {
        if let (_, Some(handle)) = &*self.0.lock() {
            handle.abort();
        }
    }
}

/// Polls the future on the loop until it ends, and ends the task with it.
fn drive<R, Fut>(future: Fut, task: Arc<dyn Typed<R>>, on: &Handle, seat: &Seat)
where
    R: Send + 'static,
    Fut: Future<Output = R> + Send + 'static,
{
    let erased = task.clone().erase();
    let dropped = Dropped(Some(task));
    let task_of_poll = Arc::clone(&erased);
    let driver = async move {
        // In this order: what was captured first is dropped first where this is never polled, what
        // was declared last where it is. Either way the future goes before the guard, and what it
        // held is free when the end is seen.
        let (future, mut dropped) = (future, dropped);
        let erased = task_of_poll;
        let mut future = pin!(Some(future));
        let result = poll_fn(|context| {
            let _on_aloop = park::drive_aloop();
            current::during(&erased, || {
                let polled = panic::catch(|| match future.as_mut().as_pin_mut() {
                    Some(future) => future.poll(context),
                    None => unreachable!("not polled again after its end"),
                });
                let result = match polled {
                    Ok(Poll::Pending) => return Poll::Pending,
                    Ok(Poll::Ready(value)) => Ok(value),
                    Err(error) => Err(error),
                };
                // What the future held is free before the end is seen; a destructor that panics
                // changes nothing about the result.
                drop(panic::catch(|| future.set(None)));
                Poll::Ready(result)
            })
        })
        .await;
        if let Some(task) = dropped.0.take() {
            task.settle(&task.clone().erase(), result);
        }
    };
    let attempt = erased.header().attempt();
    let spawned = on.spawn(driver).abort_handle();
    {
        // This run may be over by now, and the next one on its way.
        let mut seat = seat.0.lock();
        if seat.0 <= attempt {
            *seat = (attempt, Some(spawned));
        }
    }
    // An abort that came before there was a handle has left its mark in the state.
    let now = erased.header().state.read();
    if now.kill_asked() || now.limit_over() || now.is_ended() {
        seat.abort();
    }
}

/// Ends the task when its future is dropped before it returned.
struct Dropped<R: Send + 'static>(Option<Arc<dyn Typed<R>>>);

impl<R: Send + 'static> Drop for Dropped<R> {
    fn drop(&mut self) {
        let Some(task) = self.0.take() else { return };
        let now = task.header().state.read();
        if now.limit_over() && !now.kill_asked() {
            let limit = task.header().timeout().unwrap_or_default();
            return task.settle(&task.clone().erase(), Err(TaskError::TimedOut { limit }));
        }
        let error =
            if now.kill_asked() { TaskError::Canceled } else { TaskError::SupervisorStopped };
        if let Some(claim) = task.header().state.claim(Phase::Started) {
            task.end(&task.clone().erase(), claim.of_the_runner(), error);
        }
    }
}
