//! Whether a thread of a tokio runtime may block.
//!
//! tokio does not expose whether a thread is driving a runtime or was lent out by `block_in_place`
//! or `spawn_blocking`: `Handle::try_current` returns the same in all three cases. The difference
//! is the budget: code polled by a runtime has one, code that may block has none. A future in
//! `tokio::task::unconstrained` has no budget either, so a second check decides, which tokio
//! answers with a panic.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Waker};

use tokio::runtime::Handle;
use tokio::task::coop::{consume_budget, has_budget_remaining};

/// Returns whether blocking this thread delays only the calling code: outside of runtimes, on
/// threads of `spawn_blocking`, and within `block_in_place`.
///
/// Uses up the budget of a task that is being polled, so that task yields at its next await.
pub(crate) fn may_block() -> bool {
    let Ok(handle) = Handle::try_current() else { return true };
    if has_budget() {
        return false;
    }
    // The second check needs unwinding.
    cfg!(panic = "abort") || catch_unwind(AssertUnwindSafe(|| handle.block_on(async {}))).is_ok()
}

/// Returns whether the calling code has a budget, by using it up.
fn has_budget() -> bool {
    /// More than tokio's budget.
    const MOST: usize = 1024;
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..MOST {
        if !has_budget_remaining() || pin!(consume_budget()).poll(&mut context).is_pending() {
            return true;
        }
    }
    false
}
