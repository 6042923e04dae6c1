//! The end of serving.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::held::Happened;
use super::{Node, presence};
use crate::cluster::door::Drained;

/// How long the last writes are waited for.
const WRITES_WITHIN: Duration = Duration::from_secs(5);

/// Takes no more calls, hands back what has not begun, lets the rest end for `limit`, asks it to stop,
/// and ends it by force after `grace`.
pub(in crate::cluster::protocol) async fn drain(
    node: &Rc<Node>,
    limit: Duration,
    grace: Duration,
) -> Drained {
    let before = node.counts.get();
    node.is_draining.set(true);
    node.drained.notify_waiters();
    node.room.notify_one();
    let shown = node.clone();
    node.member.spawn(async move { presence::show(&shown).await });
    tell_all(node, || Happened::HandBack);
    if !all_released(node, limit).await {
        tell_all(node, || Happened::Stop);
        if !all_released(node, grace).await {
            tell_all(node, || Happened::CutOff);
            // What the broker does not take in this time is done by others, who find out themselves.
            all_released(node, WRITES_WITHIN).await;
        }
    }
    stop(node).await;
    let counts = node.counts.get();
    Drained {
        ended: counts.ended - before.ended,
        handed_back: counts.handed_back - before.handed_back,
        cut_off: counts.cut_off - before.cut_off,
    }
}

fn tell_all(node: &Node, event: impl Fn() -> Happened) {
    for held in node.held.borrow().values() {
        held.happen(event());
    }
}

/// Waits until no call is held. Returns whether that is so.
async fn all_released(node: &Node, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        let released = node.released.notified();
        if node.held.borrow().is_empty() {
            return true;
        }
        if tokio::time::timeout_at(deadline, released).await.is_err() {
            return node.held.borrow().is_empty();
        }
    }
}

/// The node is no more.
async fn stop(node: &Rc<Node>) {
    presence::hide(node).await;
    node.has_stopped.set(true);
    node.stopped.notify_waiters();
    node.guards.take();
    node.member.nodes.borrow_mut().remove(&*node.me.id);
}
