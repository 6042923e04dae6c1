//! Stop, cancel and kill.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::runner::{Deed, Ends, Plan};
use super::world::{MS, Told, World, call, head, id, offer, simulate};
use crate::cluster::door::{CallEvent, Canceled, Killed};
use crate::error::TaskError;

#[test]
fn a_waiting_call_is_canceled_for_good() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let told = Told::new();
        launcher.session.submit(call(head(id(1)), &Plan::ok_after(MS)), told.clone());
        told.stored().await;
        assert_eq!(launcher.session.cancel(id(1)).await, Canceled::Yes);
        assert_eq!(told.end().await.outcome, Err(TaskError::Canceled));
        assert_eq!(launcher.session.cancel(id(1)).await, Canceled::No);
        let (_node, _serving) = world.node("node", 1).await;
        assert!(world.queues_are_empty(1_000 * MS).await);
        assert_eq!(world.runs(id(1)), 0);
    });
}

#[test]
fn a_running_call_is_asked_to_stop() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let (_node, _serving) = world.node("node", 1).await;
        let told = Told::new();
        launcher.session.submit(call(head(id(1)), &Plan::ok_after(60_000 * MS)), told.clone());
        told.begun().await;
        let begun = Instant::now();
        // Also by a member that knows no more than the id.
        let other = world.member("other");
        assert_eq!(other.session.cancel(id(1)).await, Canceled::No);
        assert_eq!(told.end().await.outcome, Ok(vec![1]));
        assert!(begun.elapsed() < 1_000 * MS);
    });
}

#[test]
fn a_call_that_was_asked_to_stop_is_not_run_again() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let (_node, _serving) = world.node("node", 1).await;
        let told = Told::new();
        let deed = Deed { takes: 60_000 * MS, sends: 0, receives: 0, ends: Ends::Panic };
        let mut head = head(id(1));
        head.retries = 5;
        launcher.session.submit(call(head, &Plan(vec![deed])), told.clone());
        told.begun().await;
        launcher.session.stop(id(1));
        let end = told.end().await;
        assert!(end.outcome.unwrap_err().is_panic());
        assert_eq!(end.attempt, 1);
    });
}

#[test]
fn stop_cancels_a_call_between_attempts() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let (_node, _serving) = world.node("node", 1).await;
        let told = Told::new();
        let deed = Deed { takes: MS, sends: 0, receives: 0, ends: Ends::Err };
        let mut head = head(id(1));
        head.retries = 5;
        head.retry = crate::cluster::door::RetryPause::Fixed(Duration::from_secs(3_600));
        launcher.session.submit(call(head, &Plan(vec![deed])), told.clone());
        told.until(|event| matches!(event, CallEvent::WaitsAgain { .. })).await;
        launcher.session.stop(id(1));
        assert_eq!(told.end().await.outcome, Err(TaskError::Canceled));
        assert!(world.queues_are_empty(1_000 * MS).await);
        assert_eq!(world.runs(id(1)), 1);
    });
}

#[test]
fn kill_ends_a_run_in_a_process_and_refuses_one_on_a_thread() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let (_node, _serving) = world.node("node", 1).await;
        let threads = world.member("threads");
        let runner = Arc::new(world.runner("threads", 1).on_threads());
        let _serving = threads.session.serve(offer("threads", 1, &["threads"]), runner).await;
        let run = |number, queue: &str| {
            let mut head = head(id(number));
            head.queue = queue.to_owned();
            head.retries = 3;
            let told = Told::new();
            let plan = Plan::ok_after(60_000 * MS);
            launcher.session.submit(call(head, &plan), told.clone());
            told
        };
        let (process, thread) = (run(1, "default"), run(2, "threads"));
        process.begun().await;
        thread.begun().await;
        assert_eq!(launcher.session.kill(id(1)).await, Killed::Yes);
        assert_eq!(process.end().await.outcome, Err(TaskError::Canceled));
        assert_eq!(launcher.session.kill(id(2)).await, Killed::Unsupported);
        assert_eq!(launcher.session.kill(id(1)).await, Killed::Yes);
        assert_eq!(thread.end().await.outcome, Ok(vec![1]));
    });
}

#[test]
fn a_request_without_an_answer_stands() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let told = Told::new();
        launcher.session.submit(call(head(id(1)), &Plan::ok_after(MS)), told.clone());
        told.stored().await;
        world.faults.stop_broker();
        let asked = Instant::now();
        assert_eq!(launcher.session.cancel(id(1)).await, Canceled::Unknown);
        assert_eq!(asked.elapsed(), 5_000 * MS);
        tokio::time::sleep(60_000 * MS).await;
        world.faults.start_broker();
        assert_eq!(told.end().await.outcome, Err(TaskError::Canceled));
    });
}

#[test]
fn a_call_that_was_not_sent_is_canceled_at_once() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        world.faults.stop_broker();
        let told = Told::new();
        launcher.session.submit(call(head(id(1)), &Plan::ok_after(MS)), told.clone());
        assert_eq!(launcher.session.cancel(id(1)).await, Canceled::Yes);
        assert_eq!(told.end().await.outcome, Err(TaskError::Canceled));
        world.faults.start_broker();
        tokio::time::sleep(60_000 * MS).await;
        assert!(world.hub.entries().is_empty() && world.hub.history().is_empty());
    });
}

#[test]
fn a_call_whose_node_is_gone_ends_but_may_still_run() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let (node, _serving) = world.node("node", 1).await;
        let told = Told::new();
        launcher.session.submit(call(head(id(1)), &Plan::ok_after(60_000 * MS)), told.clone());
        told.begun().await;
        node.die();
        // The node may be cut off, and its run go on.
        assert_eq!(launcher.session.cancel(id(1)).await, Canceled::No);
        assert_eq!(told.end().await.outcome, Err(TaskError::Canceled));
        let (_node, _serving) = world.node("another", 1).await;
        tokio::time::sleep(60_000 * MS).await;
        assert_eq!(world.runs(id(1)), 1);
    });
}

#[test]
fn no_run_is_in_progress_when_a_call_is_canceled() {
    for seed in 0..60 {
        simulate(async {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut world = World::new(seed);
            let launcher = world.member("launcher");
            let (_node, _serving) = world.node("node", 4).await;
            world.faults.delay(random.u32(1..10) * MS);
            let deed = Deed { takes: 5 * MS, sends: 0, receives: 0, ends: Ends::Err };
            let mut all = Vec::new();
            for number in 1..20 {
                let mut head = head(id(number));
                head.retries = 50;
                head.retry = crate::cluster::door::RetryPause::Fixed(random.u32(1..20) * MS);
                let told = Told::new();
                launcher.session.submit(call(head, &Plan(vec![deed])), told.clone());
                all.push(told);
            }
            tokio::time::sleep(random.u32(0..200) * MS).await;
            for (number, told) in (1..).zip(&all) {
                let answer = launcher.session.cancel(id(number)).await;
                let log = world.log.lock();
                let runs = log.runs.get(&id(number)).cloned().unwrap_or_default();
                drop(log);
                if answer == Canceled::Yes {
                    assert!(runs.iter().all(|run| run.ended.is_some()), "seed {seed}: {runs:?}");
                    let end = told.end().await;
                    assert_eq!(end.outcome, Err(TaskError::Canceled));
                    assert_eq!(world.runs(id(number)), runs.len());
                } else {
                    told.end().await;
                }
            }
        });
    }
}
