//! Attaching to calls, finding them, and the messages between a task and its handle.

use std::time::Duration;

use super::runner::{Deed, Ends, Plan};
use super::world::{MS, Told, World, call, head, id, simulate};
use crate::cluster::door::{CallEvent, FoundState};
use crate::cluster::error::ClusterError;

fn chatty(takes: Duration, sends: u8, receives: u8, ends: Ends) -> Deed {
    Deed { takes, sends, receives, ends }
}

#[test]
fn a_call_is_found_in_each_of_its_states() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let other = world.member("other");
        assert!(other.session.find(id(1)).await.unwrap().is_none());
        let told = Told::new();
        let mut head = head(id(1));
        head.retries = 1;
        head.retry = crate::cluster::door::RetryPause::Fixed(5_000 * MS);
        let plan =
            Plan(vec![chatty(1_000 * MS, 0, 0, Ends::Err), chatty(1_000 * MS, 0, 0, Ends::Panic)]);
        launcher.session.submit(call(head.clone(), &plan), told.clone());
        told.stored().await;
        let found = other.session.find(id(1)).await.unwrap().unwrap();
        assert_eq!(found.head, head);
        assert!(matches!(found.state, FoundState::Queued));
        let (_node, _serving) = world.node("node", 1).await;
        told.begun().await;
        let found = other.session.find(id(1)).await.unwrap().unwrap();
        assert!(matches!(found.state, FoundState::Running { attempt: 1, losses: 0, .. }));
        told.until(|event| matches!(event, CallEvent::WaitsAgain { .. })).await;
        let found = other.session.find(id(1)).await.unwrap().unwrap();
        assert!(matches!(found.state, FoundState::Waiting { attempt: 1, losses: 0 }));
        told.end().await;
        let found = other.session.find(id(1)).await.unwrap().unwrap();
        let FoundState::Ended { error: Some(error), attempt: 2, .. } = found.state else {
            panic!("{found:?}")
        };
        assert!(error.is_panic());
    });
}

#[test]
fn all_who_attach_are_told_the_end() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let other = world.member("other");
        let unknown = other.session.attach(id(1), Told::new()).await;
        assert!(matches!(unknown, Err(ClusterError::NotFound { .. })), "{unknown:?}");
        let told = Told::new();
        launcher.session.submit(call(head(id(1)), &Plan::ok_after(5_000 * MS)), told.clone());
        told.stored().await;
        let attach = async |member: &super::world::Living| {
            let told = Told::new();
            assert_eq!(member.session.attach(id(1), told.clone()).await.unwrap(), head(id(1)));
            told
        };
        let mut all = vec![told.clone(), attach(&other).await, attach(&launcher).await];
        let (_node, _serving) = world.node("node", 1).await;
        told.begun().await;
        all.extend([attach(&other).await, attach(&launcher).await]);
        told.end().await;
        all.extend([attach(&other).await, attach(&launcher).await]);
        for told in all {
            assert_eq!(told.end().await.outcome, Ok(vec![1]));
        }
    });
}

#[test]
fn messages_go_to_the_one_who_attached_last() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let other = world.member("other");
        let (_node, _serving) = world.node("node", 1).await;
        let told = Told::new();
        let mut head = head(id(1));
        head.has_channels = true;
        // It sends its messages once it has got one.
        let plan = Plan(vec![chatty(MS, 3, 1, Ends::Ok)]);
        world.log.lock().sends_late = true;
        launcher.session.submit(call(head, &plan), told.clone());
        told.begun().await;
        let attached = Told::new();
        other.session.attach(id(1), attached.clone()).await.unwrap();
        attached.begun().await;
        tokio::time::sleep(1_000 * MS).await;
        launcher.session.message(id(1), vec![1].into());
        tokio::time::sleep(1_000 * MS).await;
        assert!(attached.messages().is_empty());
        other.session.message(id(1), vec![2].into());
        assert_eq!(attached.end().await.outcome, Ok(vec![1]));
        assert_eq!(attached.messages(), [[1, 0], [1, 1], [1, 2]]);
        assert!(told.messages().is_empty());
        assert_eq!(told.end().await.outcome, Ok(vec![1]));
        assert_eq!(world.log.lock().runs[&id(1)][0].received, [2]);
    });
}

#[test]
fn messages_arrive_in_order_though_many_get_lost() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let (_node, _serving) = world.node("node", 1).await;
        world.faults.lose(0.3);
        world.faults.repeat(0.3);
        world.faults.reorder(true);
        let told = Told::new();
        let mut head = head(id(1));
        head.has_channels = true;
        let plan = Plan(vec![chatty(MS, 250, 250, Ends::Ok)]);
        launcher.session.submit(call(head, &plan), told.clone());
        for number in 0..250 {
            launcher.session.message(id(1), vec![number].into());
            tokio::time::sleep(MS).await;
        }
        assert_eq!(told.end().await.outcome, Ok(vec![1]));
        let expected: Vec<_> = (0..250).map(|number| vec![1, number]).collect();
        assert_eq!(told.messages(), expected);
        assert_eq!(world.log.lock().runs[&id(1)][0].received, (0..250).collect::<Vec<u8>>());
    });
}

#[test]
fn all_messages_of_a_run_arrive_before_its_end() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let (_node, _serving) = world.node("node", 4).await;
        world.faults.lose(0.3);
        let submit = |number| {
            let told = Told::new();
            let mut head = head(id(number));
            head.has_channels = true;
            let plan = Plan(vec![chatty(Duration::ZERO, 100, 0, Ends::Ok)]);
            launcher.session.submit(call(head, &plan), told.clone());
            told
        };
        let all: Vec<_> = (1..20).map(submit).collect();
        let expected: Vec<_> = (0..100).map(|number| vec![1, number]).collect();
        for told in &all {
            assert_eq!(told.end().await.outcome, Ok(vec![1]));
            assert_eq!(told.messages(), expected);
        }
    });
}

#[test]
fn the_next_attempt_gets_the_messages_that_were_not_taken() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let (_node, _serving) = world.node("node", 1).await;
        let told = Told::new();
        let mut head = head(id(1));
        (head.has_channels, head.retries) = (true, 2);
        let plan = Plan(vec![
            chatty(MS, 0, 2, Ends::Err),
            chatty(MS, 0, 0, Ends::Err),
            chatty(MS, 0, 1, Ends::Ok),
        ]);
        world.log.lock().takes_no_more = true;
        launcher.session.submit(call(head, &plan), told.clone());
        for number in 0..3 {
            launcher.session.message(id(1), vec![number].into());
        }
        assert_eq!(told.end().await.outcome, Ok(vec![3]));
        let log = world.log.lock();
        let received: Vec<_> = log.runs[&id(1)].iter().map(|run| run.received.clone()).collect();
        assert_eq!(received, [vec![0, 1], vec![], vec![2]]);
    });
}

#[test]
fn a_run_whose_handle_is_gone_hears_of_it() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let (node, _serving) = world.node("node", 1).await;
        let told = Told::new();
        let mut head = head(id(1));
        head.has_channels = true;
        let plan = Plan(vec![chatty(60_000 * MS, 1, 1, Ends::Ok)]);
        world.log.lock().sends_late = true;
        launcher.session.submit(call(head, &plan), told.clone());
        launcher.session.message(id(1), vec![1].into());
        told.begun().await;
        launcher.die();
        tokio::time::sleep(20_000 * MS).await;
        assert_eq!(world.log.lock().runs[&id(1)][0].has_receiver, Some(false));
        let attached = Told::new();
        node.session.attach(id(1), attached.clone()).await.unwrap();
        attached.begun().await;
        tokio::time::sleep(1_000 * MS).await;
        assert_eq!(world.log.lock().runs[&id(1)][0].has_receiver, Some(true));
        assert_eq!(attached.end().await.outcome, Ok(vec![1]));
    });
}
