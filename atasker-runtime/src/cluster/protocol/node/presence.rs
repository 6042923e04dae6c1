//! What a node shows of itself: a beat, and a record that describes it.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::Node;
use crate::cluster::broker::Expect;
use crate::cluster::door::NodeDescription;

/// The subject of the beats.
pub(super) const BEATS: &str = "beat";

/// The version of the description.
const VERSION: u8 = 1;

/// Shows that the node is there, as long as it serves.
pub(super) async fn beat(node: Rc<Node>) {
    // The broker forgets the record after `keep`, which may be the shorter time.
    let lost_after = node.lost_after().min(node.member.shared.limits.keep);
    let every = (lost_after / 10).clamp(Duration::from_millis(100), Duration::from_secs(1));
    let mut described = Instant::now();
    loop {
        node.member.broker.publish(BEATS, node.me.id.as_bytes().to_vec());
        if described.elapsed() >= lost_after / 3 {
            described = Instant::now();
            let node = node.clone();
            node.member.clone().spawn(async move { show(&node).await });
        }
        tokio::time::sleep(every).await;
    }
}

/// Writes the record that describes the node. A failure is made up for by the next one.
pub(super) async fn show(node: &Rc<Node>) {
    let description = describe(node);
    let mut value = vec![VERSION];
    if rmp_serde::encode::write_named(&mut value, &description).is_err() {
        return;
    }
    let member = &node.member;
    // One write at a time, so that none follows the removal.
    let is_hidden = node.is_hidden.lock().await;
    if *is_hidden {
        return;
    }
    let (key, token) = (key(&node.me.id), member.token());
    if let Err(error) = member.broker.write(&key, Expect::Anything, &token, value).await {
        member.trouble("describe a node", &error);
    }
}

/// Removes the record that describes the node.
pub(super) async fn hide(node: &Rc<Node>) {
    let mut is_hidden = node.is_hidden.lock().await;
    *is_hidden = true;
    if let Err(error) = node.member.broker.remove(&key(&node.me.id)).await {
        node.member.trouble("remove a node", &error);
    }
}

/// Returns the description in a record, if it can be read.
pub(in crate::cluster::protocol) fn decode(value: &[u8]) -> Option<NodeDescription> {
    let (VERSION, description) = value.split_first().map(|(version, rest)| (*version, rest))?
    else {
        return None;
    };
    rmp_serde::from_slice(description).ok()
}

fn describe(node: &Node) -> NodeDescription {
    let offer = &node.offer;
    NodeDescription {
        id: node.me.id.to_string(),
        name: offer.name.clone(),
        host: offer.host.clone(),
        pid: offer.pid,
        queues: offer.queues.clone(),
        slots: offer.slots,
        reserve_normal: offer.reserve_normal,
        reserve_high: offer.reserve_high,
        running: u32::try_from(node.held.borrow().len()).unwrap_or(u32::MAX),
        draining: node.is_draining.get(),
        functions: offer.functions.clone(),
        build: offer.build.clone(),
        lost_after: node.lost_after(),
    }
}

fn key(node: &str) -> String {
    format!("n.{node}")
}
