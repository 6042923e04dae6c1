//! Waiting for tasks: one, all, the first, each as it completes.

use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use crate::task::waiters::WaiterKey;
use crate::task::{AnyTask, park};

/// Waits for the end of a task; false when the deadline was first.
pub(crate) fn wait_end(task: &Arc<dyn AnyTask>, deadline: Option<Instant>) -> bool {
    let header = task.header();
    let key = WaiterKey::next();
    let ended = park::block_on_or_help(
        deadline,
        |context| match header.state.read().is_ended() || !header.watch(key, context.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        },
        || header.owner().is_some_and(|owner| owner.run_here(task)),
    );
    if ended.is_none() {
        header.unwatch(key);
    }
    ended.is_some()
}

/// Is ready when the task has ended.
pub(crate) async fn ended(task: Arc<dyn AnyTask>) {
    struct Watch(Arc<dyn AnyTask>, WaiterKey);
    impl Drop for Watch {
        fn drop(&mut self) {
            self.0.header().unwatch(self.1);
        }
    }
    let watch = Watch(task, WaiterKey::next());
    std::future::poll_fn(|context| match watch.0.header().watch(watch.1, context.waker()) {
        true => Poll::Pending,
        false => Poll::Ready(()),
    })
    .await
}
