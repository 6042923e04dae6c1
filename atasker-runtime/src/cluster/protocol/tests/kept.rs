//! Calls that last for longer than the broker keeps anything, and a broker that was away for that long.

use std::sync::Arc;
use std::time::Duration;

use super::runner::{Deed, Ends, Plan};
use super::world::{MS, Told, World, call, head, id, simulate};
use crate::cluster::door::{FoundState, RetryPause};
use crate::cluster::memory::MemoryOptions;

const S: Duration = Duration::from_secs(1);

/// A world in which everything is kept for a minute.
fn world() -> World {
    let mut options = MemoryOptions::default();
    options.limits.keep = 60 * S;
    World::with(1, options)
}

#[test]
fn a_long_run_is_begun_elsewhere_when_its_node_dies() {
    simulate(async {
        let mut world = world();
        let launcher = world.member("launcher");
        let (node, _serving) = world.node("node", 1).await;
        let told = Told::new();
        launcher.session.submit(call(head(id(1)), &Plan::ok_after(300 * S)), told.clone());
        told.begun().await;
        for _ in 0..40 {
            // What happens to the run does not put its upkeep off.
            tokio::time::sleep(5 * S).await;
            launcher.session.message(id(1), Arc::from([1]));
        }
        node.die();
        let (_node, _serving) = world.node("other", 1).await;
        let end = told.end().await;
        assert_eq!((end.outcome, end.attempt, end.losses), (Ok(vec![2]), 2, 1));
        assert!(world.queues_are_empty(S).await, "{:?}", world.hub.entries());
    });
}

#[test]
fn a_long_run_that_ends_leaves_nothing() {
    simulate(async {
        let mut world = world();
        let launcher = world.member("launcher");
        let (_node, _serving) = world.node("node", 1).await;
        // The second one has waited for long. Its renewed entry waits as well, because there is no room.
        let mut all = Vec::new();
        for number in [1, 2] {
            let told = Told::new();
            launcher.session.submit(call(head(id(number)), &Plan::ok_after(55 * S)), told.clone());
            all.push(told);
        }
        for told in &all {
            assert_eq!(told.end().await.outcome, Ok(vec![1]));
        }
        assert!(world.queues_are_empty(120 * S).await, "{:?}", world.hub.entries());
        assert!(world.all_runs().values().all(|runs| *runs == 1));
    });
}

#[test]
fn outcomes_survive_a_broker_that_was_away_for_long() {
    simulate(async {
        let mut world = world();
        let launcher = world.member("launcher");
        let (node, _serving) = world.node("node", 3).await;
        let run = |number, takes| {
            let told = Told::new();
            let deed = |takes| Deed { takes, sends: 0, receives: 0, ends: Ends::Ok };
            let plan = Plan(vec![deed(takes), deed(S)]);
            launcher.session.submit(call(head(id(number)), &plan), told.clone());
            told
        };
        let (short, long, lost) = (run(1, 100 * S), run(2, 400 * S), run(3, 4_000 * S));
        for told in [&short, &long, &lost] {
            told.begun().await;
        }
        world.faults.stop_broker();
        tokio::time::sleep(200 * S).await;
        world.faults.start_broker();
        // One run has ended meanwhile, and one goes on.
        assert_eq!(short.end().await.outcome, Ok(vec![1]));
        assert_eq!(long.end().await.outcome, Ok(vec![1]));
        assert_eq!(world.runs(id(1)) + world.runs(id(2)), 2);
        // And one can be begun again elsewhere.
        node.die();
        let (_node, _serving) = world.node("other", 1).await;
        let end = lost.end().await;
        assert_eq!((end.outcome, end.losses), (Ok(vec![2]), 1));
        assert!(world.queues_are_empty(S).await, "{:?}", world.hub.entries());
    });
}

#[test]
fn a_call_that_waited_for_long_is_run_again() {
    simulate(async {
        let mut world = world();
        let launcher = world.member("launcher");
        let told = Told::new();
        let deed = |ends| Deed { takes: S, sends: 0, receives: 0, ends };
        let mut head = head(id(1));
        (head.retries, head.retry) = (1, RetryPause::Fixed(20 * S));
        let plan = Plan(vec![deed(Ends::Err), deed(Ends::Ok)]);
        launcher.session.submit(call(head, &plan), told.clone());
        tokio::time::sleep(50 * S).await;
        let (_node, _serving) = world.node("node", 1).await;
        let end = told.end().await;
        assert_eq!((end.outcome, end.attempt), (Ok(vec![2]), 2));
        assert!(world.queues_are_empty(S).await, "{:?}", world.hub.entries());
    });
}

/// The launcher is gone, and no node serves the queue.
#[test]
fn a_call_that_no_one_looks_after_expires_for_those_who_ask() {
    simulate(async {
        let mut world = world();
        let launcher = world.member("launcher");
        for number in [1, 2] {
            let mut head = head(id(number));
            head.expires = Some(10 * S);
            let told = Told::new();
            launcher.session.submit(call(head, &Plan::ok_after(MS)), told.clone());
            told.stored().await;
        }
        launcher.die();
        let other = world.member("other");
        tokio::time::sleep(5 * S).await;
        let told = Told::new();
        other.session.attach(id(1), told.clone()).await.unwrap();
        let asked = tokio::time::Instant::now();
        assert!(told.end().await.outcome.unwrap_err().is_expired());
        assert!(asked.elapsed() < 6 * S, "{:?}", asked.elapsed());
        // It has expired before it is asked for.
        let found = other.session.find(id(2)).await.unwrap().unwrap();
        let FoundState::Ended { error: Some(error), .. } = found.state else { panic!("{found:?}") };
        assert!(error.is_expired());
        assert_eq!(other.session.dead_letters().await.unwrap().len(), 2);
        assert!(world.hub.entries().is_empty());
    });
}

fn stopped(redeliver: u32) -> (Plan, crate::cluster::door::CallHead) {
    let deed = Deed { takes: 60 * S, sends: 0, receives: 0, ends: Ends::Err };
    let mut head = head(id(1));
    head.redeliver = redeliver;
    (Plan(vec![deed]), head)
}

#[test]
fn a_run_that_fails_because_of_a_drain_runs_elsewhere() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let (_node, serving) = world.node("node", 1).await;
        let (plan, head) = stopped(1);
        let told = Told::new();
        launcher.session.submit(call(head, &plan), told.clone());
        told.begun().await;
        let drained = serving.drain(Duration::ZERO, S).await;
        assert_eq!((drained.ended, drained.cut_off), (0, 1));
        assert!(told.ends().is_empty());
        let (_node, serving) = world.node("other", 1).await;
        tokio::time::sleep(10 * S).await;
        assert_eq!(world.runs(id(1)), 2);
        // No redelivery is left: what the run says counts.
        serving.drain(Duration::ZERO, S).await;
        let end = told.end().await;
        assert_eq!((end.outcome, end.attempt, end.losses), (Ok(vec![2]), 2, 1));
    });
}

#[test]
fn a_run_of_a_call_at_most_once_that_fails_because_of_a_drain_has_ended() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let (_node, serving) = world.node("node", 1).await;
        let (plan, head) = stopped(0);
        let told = Told::new();
        launcher.session.submit(call(head, &plan), told.clone());
        told.begun().await;
        serving.drain(Duration::ZERO, S).await;
        let end = told.end().await;
        assert_eq!((end.outcome, end.attempt, end.losses), (Ok(vec![1]), 1, 0));
    });
}
