//! Unique keys, ticks, dead letters and the overview.

use std::time::Duration;

use super::runner::{Deed, Ends, Plan};
use super::world::{MS, Told, World, call, function, head, id, simulate};
use crate::cluster::door::{CallHead, UniqueKey};
use crate::cluster::memory::MemoryOptions;
use crate::error::TaskError;
use crate::id::TaskId;

fn unique(number: u64, keep: Duration) -> CallHead {
    let mut head = head(id(number));
    head.unique = Some(UniqueKey { hash: [7; 16], keep });
    head
}

#[test]
fn a_key_is_held_until_its_call_has_ended() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let other = world.member("other");
        let (_node, _serving) = world.node("node", 2).await;
        let submit = |member: &super::world::Living, number, keep| {
            let told = Told::new();
            let plan = Plan::ok_after(5_000 * MS);
            member.session.submit(call(unique(number, keep), &plan), told.clone());
            told
        };
        let first = submit(&launcher, 1, Duration::ZERO);
        first.stored().await;
        let duplicate = Err(TaskError::Duplicate { id: id(1) });
        assert_eq!(submit(&other, 2, Duration::ZERO).end().await.outcome, duplicate);
        first.begun().await;
        assert_eq!(submit(&launcher, 3, Duration::ZERO).end().await.outcome, duplicate);
        first.end().await;
        // It is free as soon as the end is seen.
        let keep = Duration::from_secs(60);
        let second = submit(&other, 4, keep);
        assert_eq!(second.end().await.outcome, Ok(vec![1]));
        tokio::time::sleep(59_000 * MS).await;
        let duplicate = Err(TaskError::Duplicate { id: id(4) });
        assert_eq!(submit(&launcher, 5, keep).end().await.outcome, duplicate);
        tokio::time::sleep(1_000 * MS).await;
        assert_eq!(submit(&launcher, 6, keep).end().await.outcome, Ok(vec![1]));
    });
}

#[test]
fn one_of_many_gets_the_key() {
    simulate(async {
        let mut world = World::new(1);
        let (_node, _serving) = world.node("node", 2).await;
        world.faults.lose(0.2);
        world.faults.reorder(true);
        let mut all = Vec::new();
        for number in 1..10 {
            let launcher = world.member("launcher");
            let told = Told::new();
            let mut head = unique(1, Duration::from_secs(3_600));
            head.id = TaskId::from_parts(number, 1);
            launcher.session.submit(call(head, &Plan::ok_after(MS)), told.clone());
            all.push((launcher, told));
        }
        let mut won = 0;
        for (_, told) in &all {
            match told.end().await.outcome {
                Ok(_) => won += 1,
                Err(error) => assert!(error.is_duplicate(), "{error:?}"),
            }
        }
        assert_eq!((won, world.all_runs().len()), (1, 1));
    });
}

#[test]
fn a_key_of_a_launcher_that_died_is_free() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let other = world.member("other");
        let (_node, _serving) = world.node("node", 2).await;
        // It dies after it has the key, before the call is stored.
        world.faults.delay(100 * MS);
        launcher.session.submit(call(unique(1, Duration::ZERO), &Plan::ok_after(MS)), Told::new());
        while world.hub.history().iter().all(|record| !record.key.starts_with("u.")) {
            tokio::time::sleep(10 * MS).await;
        }
        launcher.die();
        world.faults.delay(Duration::ZERO);
        tokio::time::sleep(2_000 * MS).await;
        let told = Told::new();
        other.session.submit(call(unique(2, Duration::ZERO), &Plan::ok_after(MS)), told.clone());
        assert_eq!(told.end().await.outcome, Ok(vec![1]));
        assert_eq!(world.runs(id(1)), 0);
    });
}

#[test]
fn a_name_has_one_first() {
    simulate(async {
        let mut world = World::new(1);
        let members: Vec<_> = (0..5).map(|_| world.member("member")).collect();
        world.faults.lose(0.05);
        for tick in 0..20 {
            let name = format!("nightly {tick}");
            let asked: Vec<_> =
                members.iter().map(|member| member.session.first(name.clone())).collect();
            let mut first = 0;
            for answer in asked {
                first += usize::from(answer.await.unwrap());
            }
            assert_eq!(first, 1, "{name}");
        }
    });
}

#[test]
fn dead_letters_are_kept_retried_and_dropped() {
    simulate(async {
        let mut options = crate::cluster::memory::MemoryOptions::default();
        // Arguments are in blocks, which the letters need.
        options.limits.large_after = 3;
        let mut world = World::with(1, options);
        let launcher = world.member("launcher");
        let (_node, _serving) = world.node("node", 2).await;
        for (number, ends) in [(1, Ends::Err), (2, Ends::Panic), (3, Ends::Ok)] {
            let told = Told::new();
            let deed = Deed { takes: MS, sends: 0, receives: 0, ends };
            launcher.session.submit(call(head(id(number)), &Plan(vec![deed])), told.clone());
            told.end().await;
        }
        let dead = launcher.session.dead_letters().await.unwrap();
        let ids: Vec<_> = dead.iter().map(|letter| letter.head.id).collect();
        assert_eq!(ids, [id(1), id(2)]);
        assert!(dead[0].error.is_none());
        assert!(dead[1].error.as_ref().unwrap().is_panic());

        let again = launcher.session.retry_dead(id(2)).await.unwrap();
        let told = Told::new();
        launcher.session.attach(again, told.clone()).await.unwrap();
        assert!(told.end().await.outcome.unwrap_err().is_panic());
        assert!(launcher.session.drop_dead(id(1)).await.unwrap());
        assert!(!launcher.session.drop_dead(id(1)).await.unwrap());
        assert!(launcher.session.retry_dead(id(1)).await.is_err());
        let dead = launcher.session.dead_letters().await.unwrap();
        let ids: Vec<_> = dead.iter().map(|letter| letter.head.id).collect();
        assert_eq!(ids, [again]);
    });
}

#[test]
fn info_shows_nodes_and_queues() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let (node, serving) = world.node("node", 2).await;
        let mut all = Vec::new();
        for number in 1..6 {
            let told = Told::new();
            launcher
                .session
                .submit(call(head(id(number)), &Plan::ok_after(90_000 * MS)), told.clone());
            all.push(told);
        }
        for told in &all[..2] {
            told.begun().await;
        }
        tokio::time::sleep(5_000 * MS).await;
        let info = launcher.session.info().await.unwrap();
        assert!(info.broker.contains("in memory"));
        let [(shown, heard)] = &info.nodes[..] else { panic!("{info:?}") };
        assert_eq!((shown.id.as_str(), shown.name.as_str()), (serving.id(), "node"));
        assert_eq!((shown.running, shown.draining, shown.slots), (2, false, 2));
        assert_eq!(shown.functions, [function("f")]);
        assert!(*heard < Duration::from_secs(5));
        let [queue] = &info.queues[..] else { panic!("{info:?}") };
        assert_eq!(
            (queue.queue.as_str(), queue.waiting, queue.given_out),
            ("default", [0, 0, 3, 0], 2)
        );
        assert_eq!(info.dead, 0);
        node.die();
        tokio::time::sleep(11_000 * MS).await;
        assert!(launcher.session.info().await.unwrap().nodes.is_empty());
    });
}

fn keeps(keep: Duration) -> World {
    let mut options = MemoryOptions::default();
    options.limits.keep = keep;
    World::with(1, options)
}

#[test]
fn a_key_outlives_its_record() {
    simulate(async {
        let mut world = keeps(Duration::from_secs(60));
        let launcher = world.member("launcher");
        let (_node, _serving) = world.node("node", 2).await;
        let keep = Duration::from_secs(50);
        let submit = |number, took| {
            let told = Told::new();
            let plan = Plan::ok_after(took);
            launcher.session.submit(call(unique(number, keep), &plan), told.clone());
            told
        };
        let first = submit(1, Duration::from_secs(150));
        let duplicate = Err(TaskError::Duplicate { id: id(1) });
        tokio::time::sleep(Duration::from_secs(140)).await;
        assert_eq!(submit(2, MS).end().await.outcome, duplicate);
        assert_eq!(first.end().await.outcome, Ok(vec![1]));
        tokio::time::sleep(Duration::from_secs(48)).await;
        assert_eq!(submit(3, MS).end().await.outcome, duplicate);
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(submit(4, MS).end().await.outcome, Ok(vec![1]));
    });
}

#[test]
fn nodes_are_shown_if_little_is_kept() {
    simulate(async {
        let mut world = keeps(Duration::from_secs(2));
        let member = world.member("member");
        let (_node, _serving) = world.node("node", 2).await;
        for number in 0..50 {
            tokio::time::sleep(500 * MS).await;
            // The broker forgets what is old when something is written.
            assert!(member.session.first(number.to_string()).await.unwrap());
            assert_eq!(member.session.info().await.unwrap().nodes.len(), 1);
        }
    });
}
