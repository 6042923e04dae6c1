//! What is bounded: queues, what is pending, what is large, what expires; and the order of calls.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::runner::{Deed, Ends, Plan};
use super::world::{MS, Told, World, call, function, head, id, offer, simulate};
use crate::cluster::door::NewCall;
use crate::cluster::error::ClusterError;
use crate::cluster::memory::MemoryOptions;
use crate::error::TaskError;
use crate::priority::Priority;

#[test]
fn a_full_queue_refuses_a_call() {
    simulate(async {
        let options = MemoryOptions { queue_limit: 2, ..MemoryOptions::default() };
        let mut world = World::with(1, options);
        let launcher = world.member("launcher");
        let all: Vec<_> = (1..=3)
            .map(|number| {
                let told = Told::new();
                let plan = Plan::ok_after(MS);
                launcher.session.submit(call(head(id(number)), &plan), told.clone());
                told
            })
            .collect();
        assert_eq!(all[2].end().await.outcome, Err(TaskError::QueueFull));
        let (_node, _serving) = world.node("node", 1).await;
        for told in &all[..2] {
            assert_eq!(told.end().await.outcome, Ok(vec![1]));
        }
    });
}

#[test]
fn a_full_queue_holds_launches_back() {
    simulate(async {
        let mut options = MemoryOptions { queue_limit: 1, ..MemoryOptions::default() };
        options.limits.blocks_when_full = true;
        let mut world = World::with(1, options);
        let launcher = world.member("launcher");
        let submit = |number| {
            let told = Told::new();
            launcher.session.submit(call(head(id(number)), &Plan::ok_after(MS)), told.clone());
            told
        };
        let (first, second) = (submit(1), submit(2));
        first.stored().await;
        tokio::time::sleep(1_000 * MS).await;
        assert!(!launcher.session.accepts(0));
        let room = launcher.session.room(0);
        let (_node, _serving) = world.node("node", 1).await;
        room.await;
        assert!(launcher.session.accepts(0));
        assert_eq!(first.end().await.outcome, Ok(vec![1]));
        assert_eq!(second.end().await.outcome, Ok(vec![1]));
    });
}

#[test]
fn what_is_pending_is_bounded_while_the_broker_is_away() {
    simulate(async {
        let mut options = MemoryOptions::default();
        options.limits.pending_bytes = 20;
        let mut world = World::with(1, options);
        let launcher = world.member("launcher");
        let (_node, _serving) = world.node("node", 1).await;
        world.faults.stop_broker();
        assert!(launcher.session.accepts(1_000), "one call is accepted, however large it is");
        let told = Told::new();
        let plan = Plan(vec![Deed { takes: MS, sends: 0, receives: 0, ends: Ends::Ok }; 2]);
        launcher.session.submit(call(head(id(1)), &plan), told.clone());
        assert!(launcher.session.accepts(6) && !launcher.session.accepts(7));
        let unreachable = launcher.session.flush(3_000 * MS).await;
        assert!(matches!(unreachable, Err(ClusterError::Unreachable { .. })), "{unreachable:?}");
        let room = launcher.session.room(7);
        world.faults.start_broker();
        room.await;
        assert_eq!(launcher.session.flush(3_000 * MS).await, Ok(()));
        assert!(launcher.session.accepts(20));
        assert_eq!(told.end().await.outcome, Ok(vec![1]));
    });
}

#[test]
fn large_arguments_go_in_blocks_which_are_removed() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let (_node, _serving) = world.node("node", 1).await;
        // 2 MB, of which the runner reads the first deed.
        let plan =
            Plan(vec![Deed { takes: 1_000 * MS, sends: 0, receives: 0, ends: Ends::Ok }; 300_000]);
        let told = Told::new();
        launcher.session.submit(call(head(id(1)), &plan), told.clone());
        told.begun().await;
        assert_eq!(world.hub.block_keys(), [format!("{}_a", id(1))]);
        assert_eq!(told.end().await.outcome, Ok(vec![1]));
        tokio::time::sleep(MS).await;
        assert!(world.hub.block_keys().is_empty());
    });
}

#[test]
fn large_results_go_in_blocks() {
    simulate(async {
        let mut options = MemoryOptions::default();
        options.limits.large_after = 0;
        let mut world = World::with(1, options);
        let launcher = world.member("launcher");
        let (_node, _serving) = world.node("node", 1).await;
        let told = Told::new();
        launcher.session.submit(call(head(id(1)), &Plan::ok_after(MS)), told.clone());
        assert_eq!(told.end().await.outcome, Ok(vec![1]));
        // Others may ask for it later.
        let again = Told::new();
        let late = world.member("late");
        late.session.attach(id(1), again.clone()).await.unwrap();
        assert_eq!(again.end().await.outcome, Ok(vec![1]));
    });
}

#[test]
fn too_large_arguments_are_refused() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let told = Told::new();
        let args: Arc<[u8]> = vec![0; (1 << 30) + 1].into();
        launcher.session.submit(NewCall { head: head(id(1)), args }, told.clone());
        let TaskError::Cluster(ClusterError::TooLarge { bytes, limit }) =
            told.end().await.outcome.unwrap_err()
        else {
            panic!()
        };
        assert_eq!((bytes, limit), ((1 << 30) + 1, 1 << 30));
    });
}

/// Returns the detail of the error with which a call expires.
async fn expired(told: &Told) -> String {
    match told.end().await.outcome {
        Err(TaskError::Expired { detail, .. }) => detail,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_expires_and_says_what_it_waited_for() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let submit = |number, function_name: &str| {
            let mut head = head(id(number));
            head.expires = Some(Duration::from_secs(10));
            head.function = function(function_name);
            let told = Told::new();
            launcher.session.submit(call(head, &Plan::ok_after(60_000 * MS)), told.clone());
            told
        };
        let begun = Instant::now();
        let detail = expired(&submit(1, "f")).await;
        assert!(detail.contains("no nodes"), "{detail}");
        assert!((10_000..11_000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());

        let member = world.member("other queue");
        let runner = Arc::new(world.runner("other queue", 1));
        let _serving = member.session.serve(offer("other queue", 1, &["gpu"]), runner).await;
        let detail = expired(&submit(2, "f")).await;
        assert!(detail.contains("the queue `default`: no node"), "{detail}");

        let (_node, _serving) = world.node("node", 1).await;
        let detail = expired(&submit(3, "g")).await;
        assert!(detail.contains("the function `g`"), "{detail}");

        let running = submit(4, "f");
        running.begun().await;
        let detail = expired(&submit(5, "f")).await;
        assert!(detail.contains("a free slot"), "{detail}");
        assert_eq!(running.end().await.outcome, Ok(vec![1]));
        assert!(world.queues_are_empty(1_000 * MS).await);
    });
}

#[test]
fn nodes_let_a_call_expire_whose_launcher_is_gone() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let mut head = head(id(1));
        head.expires = Some(Duration::from_secs(10));
        let told = Told::new();
        launcher.session.submit(call(head, &Plan::ok_after(MS)), told.clone());
        told.stored().await;
        launcher.die();
        tokio::time::sleep(Duration::from_secs(20)).await;
        let (node, _serving) = world.node("node", 1).await;
        let told = Told::new();
        assert!(world.queues_are_empty(1_000 * MS).await);
        node.session.attach(id(1), told.clone()).await.unwrap();
        assert!(told.end().await.outcome.unwrap_err().is_expired());
        assert_eq!(world.runs(id(1)), 0);
        assert_eq!(node.session.dead_letters().await.unwrap().len(), 1);
    });
}

#[test]
fn a_free_slot_goes_to_the_most_urgent_call() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let node = world.member("node");
        let runner = Arc::new(world.runner("node", 1));
        let mut offer = offer("node", 1, &["default"]);
        offer.prefetch = Some(0);
        let _serving = node.session.serve(offer, runner).await.unwrap();
        let submit = |number, priority| {
            let mut head = head(id(number));
            head.priority = priority;
            let told = Told::new();
            launcher.session.submit(call(head, &Plan::ok_after(1_000 * MS)), told.clone());
            told
        };
        let first = submit(1, Priority::Low);
        first.begun().await;
        let mut all = vec![first];
        for number in 2..6 {
            all.push(submit(number, Priority::Low));
        }
        all.push(submit(6, Priority::Normal));
        all.push(submit(7, Priority::High));
        all.push(submit(8, Priority::Critical));
        for told in &all {
            told.end().await;
        }
        let log = world.log.lock();
        let mut order: Vec<_> = log.runs.iter().map(|(id, runs)| (runs[0].begun, *id)).collect();
        order.sort();
        let order: Vec<_> = order.iter().map(|(_, id)| id.to_parts().1).collect();
        // The critical one has a slot beyond the pool.
        assert_eq!(order, [1, 8, 7, 6, 2, 3, 4, 5]);
        assert!(log.runs.values().all(|runs| runs.len() == 1));
    });
}

#[test]
fn short_calls_are_taken_in_advance_unless_that_is_forbidden() {
    let most_given = |prefetch| {
        simulate(async move {
            let mut world = World::new(1);
            let launcher = world.member("launcher");
            let node = world.member("node");
            let runner = Arc::new(world.runner("node", 1));
            let mut offer = offer("node", 1, &["default"]);
            offer.prefetch = prefetch;
            let _serving = node.session.serve(offer, runner.clone()).await.unwrap();
            let all: Vec<_> = (1..200)
                .map(|number| {
                    let told = Told::new();
                    let plan = Plan::ok_after(MS);
                    launcher.session.submit(call(head(id(number)), &plan), told.clone());
                    told
                })
                .collect();
            for told in all {
                told.end().await;
            }
            runner.most_given()
        })
    };
    assert_eq!(most_given(Some(0)), 1);
    let most = most_given(None);
    assert!(most > 5 && most <= 22, "{most}");
    assert!(most_given(Some(3)) <= 4);
}
