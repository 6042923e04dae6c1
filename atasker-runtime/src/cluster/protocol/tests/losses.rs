//! Nodes that die, freeze or are drained, and brokers that stop.

use super::runner::Plan;
use super::world::{MS, Told, World, call, head, id, simulate};
use crate::cluster::door::{CallEvent, Drained};
use crate::error::TaskError;
use tokio::time::Instant;

#[test]
fn a_call_of_a_frozen_node_runs_elsewhere_and_the_late_result_is_refused() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let (_first, _serving) = world.node("first", 1).await;
        let told = Told::new();
        launcher.session.submit(call(head(id(1)), &Plan::ok_after(30_000 * MS)), told.clone());
        told.begun().await;
        let (_second, _serving) = world.node("second", 1).await;
        tokio::time::sleep(15_000 * MS).await;
        world.faults.freeze_node("first");
        let frozen = Instant::now();
        told.until(|event| matches!(event, CallEvent::Begun { attempt: 2, losses: 1, .. })).await;
        let noticed = frozen.elapsed();
        assert!(noticed >= 9_000 * MS && noticed < 10_500 * MS, "{noticed:?}");
        world.faults.thaw_node("first");
        tokio::time::sleep(2_000 * MS).await;
        // The run of the node that was frozen is of no use any more.
        assert!(world.log.lock().runs[&id(1)][0].killed);
        let end = told.end().await;
        assert_eq!((end.outcome, end.attempt, end.losses), (Ok(vec![2]), 2, 1));
        assert!(world.queues_are_empty(1_000 * MS).await);
    });
}

/// The node that has found out that another one is lost may have filled its slot meanwhile.
#[test]
fn a_call_of_a_frozen_node_goes_to_a_node_with_room() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let submit = |number, takes: u32| {
            let told = Told::new();
            let plan = Plan::ok_after(takes * MS);
            launcher.session.submit(call(head(id(number)), &plan), told.clone());
            told
        };
        let (_first, _serving) = world.node("first", 1).await;
        let told = submit(1, 60_000);
        told.begun().await;
        let (_third, _serving) = world.node("third", 1).await;
        submit(2, 23_000).begun().await;
        let (_second, _serving) = world.node("second", 1).await;
        tokio::time::sleep(15_000 * MS).await;
        world.faults.freeze_node("first");
        let frozen = Instant::now();
        tokio::time::sleep(5_000 * MS).await;
        // Only the second one has a slot: it holds the delivery of the first call by now.
        submit(3, 600_000).begun().await;
        let again = |event: &CallEvent| match event {
            CallEvent::Begun { attempt: 2, node, .. } => &*node.name == "third",
            _ => false,
        };
        told.until(again).await;
        let noticed = frozen.elapsed();
        assert!(noticed >= 9_000 * MS && noticed < 11_000 * MS, "{noticed:?}");
    });
}

#[test]
fn a_lost_run_is_not_repeated_with_redeliver_0() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let (first, _serving) = world.node("first", 1).await;
        let told = Told::new();
        let mut head = head(id(1));
        head.redeliver = 0;
        head.retries = 3;
        launcher.session.submit(call(head, &Plan::ok_after(30_000 * MS)), told.clone());
        told.begun().await;
        first.die();
        let (_second, _serving) = world.node("second", 1).await;
        let end = told.end().await;
        let lost = TaskError::NodeLost { node: "first".to_owned(), losses: 1 };
        assert_eq!(end.outcome, Err(lost.clone()));
        assert_eq!(world.runs(id(1)), 1);
        assert!(world.queues_are_empty(1_000 * MS).await);
        let dead = launcher.session.dead_letters().await.unwrap();
        assert_eq!((dead.len(), dead[0].error.clone()), (1, Some(lost)));
    });
}

#[test]
fn a_stop_of_the_broker_loses_no_run() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let (_first, _serving) = world.node("first", 4).await;
        let (_second, _serving) = world.node("second", 4).await;
        let all: Vec<_> = (0..8)
            .map(|number| {
                let plan = Plan::ok_after((5_000 + 20_000 * number as u32) * MS);
                let told = Told::new();
                launcher.session.submit(call(head(id(number + 1)), &plan), told.clone());
                told
            })
            .collect();
        for told in &all {
            told.begun().await;
        }
        for away in [1_000, 90_000, 3_000, 20_000] {
            world.faults.stop_broker();
            tokio::time::sleep(away * MS).await;
            world.faults.start_broker();
            tokio::time::sleep(500 * MS).await;
        }
        for told in &all {
            let end = told.end().await;
            assert_eq!((end.outcome, end.attempt, end.losses), (Ok(vec![1]), 1, 0));
        }
        assert!(world.queues_are_empty(5_000 * MS).await);
    });
}

#[test]
fn outcomes_are_told_soon_after_the_broker_is_back() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let (_first, _serving) = world.node("first", 1).await;
        let told = Told::new();
        launcher.session.submit(call(head(id(1)), &Plan::ok_after(5_000 * MS)), told.clone());
        told.begun().await;
        world.faults.stop_broker();
        tokio::time::sleep(300_000 * MS).await;
        world.faults.start_broker();
        let back = Instant::now();
        assert_eq!(told.end().await.outcome, Ok(vec![1]));
        assert!(back.elapsed() < 2_000 * MS, "{:?}", back.elapsed());
    });
}

#[test]
fn drain_hands_back_and_cuts_off() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let (_first, serving) = world.node("first", 2).await;
        let submit = |number, takes: u32| {
            let told = Told::new();
            let plan = Plan::ok_after(takes * MS);
            launcher.session.submit(call(head(id(number)), &plan), told.clone());
            told
        };
        // Ends in time, and does not even after it was asked to.
        let (short, long) = (submit(1, 2_000), submit(2, 600_000));
        world.log.lock().stubborn = true;
        short.begun().await;
        long.begun().await;
        let waiting = submit(3, 100);
        waiting.stored().await;
        let begun = Instant::now();
        let drained = serving.drain(5_000 * MS, 1_000 * MS).await;
        assert_eq!(drained, Drained { ended: 1, handed_back: 0, cut_off: 1 });
        let took = begun.elapsed();
        assert!(took >= 6_000 * MS && took < 7_000 * MS, "{took:?}");
        assert_eq!(short.end().await.outcome, Ok(vec![1]));
        assert!(launcher.session.info().await.unwrap().nodes.is_empty());
        let (_second, _serving) = world.node("second", 2).await;
        let begun = Instant::now();
        assert_eq!(waiting.end().await.outcome, Ok(vec![1]));
        let again =
            |event: &CallEvent| matches!(event, CallEvent::Begun { attempt: 2, losses: 1, .. });
        long.until(again).await;
        assert!(begun.elapsed() < 500 * MS, "{:?}", begun.elapsed());
    });
}

#[test]
fn a_closed_member_hands_its_runs_over() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let (first, _serving) = world.node("first", 1).await;
        let told = Told::new();
        launcher.session.submit(call(head(id(1)), &Plan::ok_after(10_000 * MS)), told.clone());
        told.begun().await;
        let (_second, _serving) = world.node("second", 1).await;
        first.session.close().await;
        assert!(first.session.is_closed());
        assert!(first.session.cancel(id(1)).await == crate::cluster::door::Canceled::Unknown);
        let end = told.end().await;
        assert_eq!((end.outcome, end.attempt, end.losses), (Ok(vec![2]), 2, 1));
    });
}
