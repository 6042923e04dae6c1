//! What members send that have nothing to do.

use std::time::Duration;

use super::runner::Plan;
use super::world::{MS, Told, World, call, head, id, simulate};

#[test]
fn an_idle_launcher_sends_nothing() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let told = Told::new();
        {
            let (_node, serving) = world.node("node", 1).await;
            launcher.session.submit(call(head(id(1)), &Plan::ok_after(MS)), told.clone());
            told.end().await.outcome.unwrap();
            serving.drain(Duration::ZERO, MS).await;
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        let before = world.hub.sent();
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        assert_eq!(world.hub.sent() - before, 0);
    });
}

#[test]
fn an_idle_node_writes_its_description_only() {
    simulate(async {
        let mut world = World::new(1);
        let (_node, _serving) = world.node("node", 1).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let (written, sent) = (world.hub.history().len(), world.hub.sent());
        tokio::time::sleep(Duration::from_secs(600)).await;
        let written = world.hub.history().split_off(written);
        assert!(written.iter().all(|record| record.key.starts_with("n.")), "{written:?}");
        // Every 3 to 4 seconds. Besides, a beat a second, and polls of four priorities.
        assert!((140..=200).contains(&written.len()), "{}", written.len());
        let sent = world.hub.sent() - sent;
        assert!((750..1_200).contains(&sent), "{sent}");
        assert!(world.hub.entries().is_empty());
    });
}
