//! Dead letters: how long their arguments are kept, and when they are launched again.

use std::time::Duration;

use super::runner::{Deed, Ends, Plan};
use super::world::{MS, Told, World, call, head, id, simulate};
use crate::cluster::door::UniqueKey;
use crate::cluster::error::ClusterError;
use crate::cluster::memory::MemoryOptions;
use crate::error::TaskError;

const KEEP: Duration = Duration::from_secs(60);

/// A world in which all arguments go in blocks, and calls are kept for a minute.
fn world() -> World {
    let mut options = MemoryOptions::default();
    (options.limits.keep, options.limits.large_after) = (KEEP, 0);
    World::with(1, options)
}

fn ends(ends: Ends) -> Plan {
    Plan(vec![Deed { takes: MS, sends: 0, receives: 0, ends }])
}

#[test]
fn large_arguments_are_kept_as_long_as_the_letter() {
    simulate(async {
        let mut world = world();
        let launcher = world.member("launcher");
        let (_node, _serving) = world.node("node", 1).await;
        let told = Told::new();
        launcher.session.submit(call(head(id(1)), &ends(Ends::Panic)), told.clone());
        assert!(told.end().await.outcome.unwrap_err().is_panic());
        tokio::time::sleep(100 * KEEP).await;
        // The call itself is forgotten.
        assert!(launcher.session.find(id(1)).await.unwrap().is_none());
        assert_eq!(world.hub.block_keys(), [format!("{}_d", id(1))]);
        let again = launcher.session.retry_dead(id(1)).await.unwrap();
        let told = Told::new();
        launcher.session.attach(again, told.clone()).await.unwrap();
        assert!(told.end().await.outcome.unwrap_err().is_panic());
        tokio::time::sleep(MS).await;
        assert_eq!(world.hub.block_keys(), [format!("{again}_d")]);
        assert!(launcher.session.drop_dead(again).await.unwrap());
        assert!(world.hub.block_keys().is_empty());
    });
}

#[test]
fn large_arguments_of_a_call_that_expired_are_kept() {
    simulate(async {
        let mut world = world();
        let launcher = world.member("launcher");
        let told = Told::new();
        launcher.session.submit(call(head(id(1)), &ends(Ends::Ok)), told.clone());
        assert!(told.end().await.outcome.unwrap_err().is_expired());
        tokio::time::sleep(10 * KEEP).await;
        let again = launcher.session.retry_dead(id(1)).await.unwrap();
        let (_node, _serving) = world.node("node", 1).await;
        let told = Told::new();
        launcher.session.attach(again, told.clone()).await.unwrap();
        assert_eq!(told.end().await.outcome, Ok(vec![1]));
    });
}

#[test]
fn a_letter_whose_key_is_held_is_not_launched_again() {
    simulate(async {
        let mut world = world();
        let launcher = world.member("launcher");
        let (_node, _serving) = world.node("node", 2).await;
        let submit = |number, plan: &Plan| {
            let mut head = head(id(number));
            head.unique = Some(UniqueKey { hash: [7; 16], keep: Duration::ZERO });
            let told = Told::new();
            launcher.session.submit(call(head, plan), told.clone());
            told
        };
        submit(1, &ends(Ends::Err)).end().await.outcome.unwrap();
        let second = submit(2, &Plan::ok_after(5_000 * MS));
        second.stored().await;
        let held = launcher.session.retry_dead(id(1)).await;
        assert_eq!(held, Err(ClusterError::Duplicate { id: id(2) }));
        assert_eq!(launcher.session.dead_letters().await.unwrap().len(), 1);
        second.end().await;
        // Now it takes the key.
        let again = launcher.session.retry_dead(id(1)).await.unwrap();
        let third = submit(3, &Plan::ok_after(MS));
        let duplicate = Err(TaskError::Duplicate { id: again });
        assert_eq!(third.end().await.outcome, duplicate);
    });
}
