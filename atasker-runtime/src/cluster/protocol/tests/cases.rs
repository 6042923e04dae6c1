//! Situations, one by one.

use tokio::time::Instant;

use super::runner::{Deed, Ends, Plan};
use super::world::{MS, Told, World, call, head, id, simulate};

#[test]
fn a_call_runs_on_a_node_and_its_result_comes_back() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let (_node, _serving) = world.node("node", 2).await;
        let told = Told::new();
        launcher.session.submit(call(head(id(1)), &Plan::ok_after(20 * MS)), told.clone());
        let end = told.end().await;
        assert_eq!(end.outcome, Ok(vec![1]));
        assert_eq!((end.attempt, end.losses), (1, 0));
        assert_eq!(&*end.node.unwrap().name, "node");
        assert!(world.queues_are_empty(MS * 1_000).await);
        assert_eq!(told.ends().len(), 1);
    });
}

#[test]
fn bad_runs_are_repeated_after_their_pause() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let (_node, _serving) = world.node("node", 2).await;
        let deed = |ends| Deed { takes: MS, sends: 0, receives: 0, ends };
        let told = Told::new();
        let mut head = head(id(1));
        head.retries = 2;
        let plan = Plan(vec![deed(Ends::Panic), deed(Ends::Err), deed(Ends::Ok)]);
        let begun = Instant::now();
        launcher.session.submit(call(head, &plan), told.clone());
        let end = told.end().await;
        assert_eq!((end.outcome, end.attempt), (Ok(vec![3]), 3));
        let took = begun.elapsed();
        assert!(took >= 200 * MS && took < 1_000 * MS, "{took:?}");
    });
}

#[test]
fn a_call_of_a_dead_node_runs_elsewhere_soon() {
    simulate(async {
        let mut world = World::new(1);
        let launcher = world.member("launcher");
        let (first, _serving) = world.node("first", 1).await;
        let told = Told::new();
        launcher.session.submit(call(head(id(1)), &Plan::ok_after(5_000 * MS)), told.clone());
        told.begun().await;
        let (_second, _serving) = world.node("second", 1).await;
        tokio::time::sleep(3_000 * MS).await;
        first.die();
        let died = Instant::now();
        while world.runs(id(1)) < 2 {
            tokio::time::sleep(10 * MS).await;
            assert!(died.elapsed() < 2_500 * MS);
        }
        let end = told.end().await;
        assert_eq!((end.outcome, end.attempt, end.losses), (Ok(vec![2]), 2, 1));
    });
}
