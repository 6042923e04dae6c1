//! Does `wait_completed!` give the results in the shape of what it was given, and the first
//! failure in order?

use std::sync::mpsc;
use std::time::Duration;

use atasker::{
    PoolConfig, Supervisor, Task, TaskBuilder, TaskContext, TaskError, WaitError, Waitable,
    wait_completed,
};

fn supervisor() -> Supervisor {
    Supervisor::builder().id("wait").thread_pool(PoolConfig::unlimited()).build()
}

/// A task that ends when its gate is opened.
fn gated<R: Send + 'static>(sup: &Supervisor, result: R) -> (mpsc::Sender<()>, Task<R>) {
    let (open, gate) = mpsc::channel();
    let task = sup.spawn(move || {
        gate.recv().unwrap();
        result
    });
    (open, task)
}

fn panics(sup: &Supervisor, message: &'static str) -> Task<u32> {
    sup.spawn(move || panic!("{message}"))
}

#[derive(Debug, PartialEq)]
struct NotClone(u32);

#[test]
fn a_tuple_of_any_types_and_kinds_by_value() {
    let sup = supervisor();
    let thread = sup.spawn(|| NotClone(1));
    let future = sup.spawn_async(async { String::from("two") });
    let talker = TaskBuilder::with_context(|ctx: &TaskContext<u8, u16>| ctx.recv().unwrap())
        .supervisor(&sup)
        .start();
    talker.send(3).unwrap();
    let (a, b, c): (NotClone, String, u8) = wait_completed!(thread, future, talker).unwrap();
    assert_eq!((a, b.as_str(), c), (NotClone(1), "two", 3));
}

#[test]
fn references_lend_and_the_tasks_live_on() {
    let sup = supervisor();
    let (a, b) = (sup.spawn(|| NotClone(1)), sup.spawn(|| "b".to_string()));
    {
        let (x, y): (&NotClone, &String) = wait_completed!(&a, &b).unwrap();
        assert_eq!((x, y.as_str()), (&NotClone(1), "b"));
        assert!(std::ptr::eq(x, a.result().unwrap()));
    }
    assert_eq!(a.join().unwrap(), NotClone(1));
    // One by reference beside one by value.
    let c = sup.spawn(|| 7);
    let (y, z): (&String, i32) = wait_completed!(&b, c).unwrap();
    assert_eq!((y.as_str(), z), ("b", 7));
}

#[test]
fn every_kind_of_list() {
    let sup = supervisor();
    let tasks = || (0..5_u32).map(|n| sup.spawn(move || n)).collect::<Vec<_>>();

    let owned: Vec<u32> = wait_completed!(tasks()).unwrap();
    assert_eq!(owned, [0, 1, 2, 3, 4]);

    let list = tasks();
    let lent: Vec<&u32> = wait_completed!(&list).unwrap();
    assert_eq!(lent, [&0, &1, &2, &3, &4]);
    let lent: Vec<&u32> = wait_completed!(&list[1..3]).unwrap();
    assert_eq!(lent, [&1, &2]);
    let of_references: Vec<&Task<u32>> = list.iter().filter(|t| t.result() != Some(&2)).collect();
    let lent: Vec<&u32> = wait_completed!(&of_references).unwrap();
    assert_eq!(lent, [&0, &1, &3, &4]);
    let lent: Vec<&u32> = wait_completed!(of_references).unwrap();
    assert_eq!(lent, [&0, &1, &3, &4]);

    let array = [sup.spawn(|| "x".to_string()), sup.spawn(|| "y".to_string())];
    let lent: Vec<&String> = wait_completed!(&array).unwrap();
    assert_eq!(lent, ["x", "y"]);
    let owned: [String; 2] = wait_completed!(array).unwrap();
    assert_eq!(owned, ["x", "y"]);

    let none: Vec<u32> = wait_completed!(Vec::<Task<u32>>::new()).unwrap();
    assert!(none.is_empty());
    let none: [u32; 0] = wait_completed!([] as [Task<u32>; 0]).unwrap();
    assert_eq!(none, []);
}

#[test]
fn lists_stand_in_tuples() {
    let sup = supervisor();
    let low: Vec<_> = (0..3_u8).map(|n| sup.spawn(move || n)).collect();
    let high = [sup.spawn(|| 'x'), sup.spawn(|| 'y')];
    let kept: Vec<_> = (0..2_i64).map(|n| sup.spawn(move || n)).collect();
    let one = sup.spawn_async(async { "one" });
    let (low, high, lent, one): (Vec<u8>, [char; 2], Vec<&i64>, &str) =
        wait_completed!(low, high, &kept[..], one).unwrap();
    assert_eq!((low, high, lent, one), (vec![0, 1, 2], ['x', 'y'], vec![&0, &1], "one"));
}

#[test]
fn one_task_gives_one_result() {
    let sup = supervisor();
    let task = sup.spawn(|| NotClone(9));
    assert_eq!(wait_completed!(&task).unwrap(), &NotClone(9));
    assert_eq!(wait_completed!(task,).unwrap(), NotClone(9));
    // A tuple is what it is, written out or not, and one of one place stays one.
    let (a, b) = wait_completed!((sup.spawn(|| 1), sup.spawn(|| 'b'))).unwrap();
    assert_eq!((a, b), (1, 'b'));
    let (a,) = wait_completed!((sup.spawn(|| 1),)).unwrap();
    assert_eq!(a, 1);
}

#[test]
fn up_to_twelve() {
    let sup = supervisor();
    let t = |n: u32| sup.spawn(move || n);
    let r = wait_completed!(
        t(0),
        t(1),
        t(2),
        t(3),
        t(4),
        t(5),
        t(6),
        t(7),
        t(8),
        t(9),
        t(10),
        sup.spawn(|| "last"),
    );
    assert_eq!(r.unwrap(), (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, "last"));
    let r = wait_completed!(
        &t(0),
        &t(1),
        &t(2),
        &t(3),
        &t(4),
        &t(5),
        &t(6),
        &t(7),
        &t(8),
        &t(9),
        &t(10),
        &t(11),
        timeout = Duration::from_secs(600),
    )
    .map(|r| *r.11);
    assert_eq!(r.unwrap(), 11);
}

#[test]
fn the_first_failure_in_order_with_its_place() {
    let sup = supervisor();
    // The second of the failures is there first.
    let (open, late) = gated(&sup, ());
    let first = sup.spawn(move || -> u32 {
        late.join().unwrap();
        panic!("first in order")
    });
    let second = panics(&sup, "second in order");
    second.wait().unwrap_err();
    open.send(()).unwrap();
    let tasks = vec![sup.spawn(|| 0), first, sup.spawn(|| 2), second];
    let ids: Vec<_> = tasks.iter().map(Task::id).collect();

    let check = |error: WaitError, place: usize| {
        let WaitError::Task { index, id, error, .. } = &error else { panic!("{error:?}") };
        assert_eq!((*index, *id), (place, ids[1]));
        assert!(error.is_panic() && error.to_string().contains("first in order"));
    };
    check(wait_completed!(&tasks).unwrap_err(), 1);
    check(wait_completed!(&tasks[1..]).unwrap_err(), 0);
    // In a tuple, a list's failure is at the list's place.
    check(wait_completed!(sup.spawn(|| 0), sup.spawn(|| 'x'), &tasks).unwrap_err(), 2);
    check(wait_completed!(&tasks[1]).unwrap_err(), 0);
    let [a, b, c, d] = <[Task<u32>; 4]>::try_from(tasks).unwrap();
    check(wait_completed!(&a, &b, &c, &d).unwrap_err(), 1);
    check(wait_completed!(&[a, b, c, d]).unwrap_err(), 1);
}

#[test]
fn owned_lists_fail_like_borrowed_ones() {
    let sup = supervisor();
    let index = |error: WaitError| match error {
        WaitError::Task { index, error, .. } => (index, error.to_string().contains("no 2")),
        other => panic!("{other:?}"),
    };
    let make = || [sup.spawn(|| 0), sup.spawn(|| 1), panics(&sup, "no 2"), panics(&sup, "no 3")];
    assert_eq!(index(wait_completed!(make()).unwrap_err()), (2, true));
    assert_eq!(index(wait_completed!(Vec::from(make())).unwrap_err()), (2, true));
    let [a, b, c, d] = make();
    assert_eq!(index(wait_completed!(a, b, c, d).unwrap_err()), (2, true));
}

#[test]
fn an_error_that_the_function_returns_is_a_result() {
    let sup = supervisor();
    let task = sup.spawn(|| "x".parse::<u32>());
    let result: Result<u32, _> = wait_completed!(task).unwrap();
    assert!(result.is_err());
}

#[test]
fn all_have_ended_before_a_failure_is_told() {
    let sup = supervisor();
    let failed = panics(&sup, "at once");
    failed.wait().unwrap_err();
    let (open, running) = gated(&sup, 1_u32);
    // With no time at all, the one that runs is what is missing; the failure is not told.
    match wait_completed!(&failed, &running, timeout = Duration::ZERO) {
        Err(WaitError::Timeout { pending, .. }) => assert_eq!(pending, [running.id()]),
        other => panic!("{other:?}"),
    }
    let both = [failed, running];
    let id = both[1].id();
    let waiter = sup.clone().spawn(move || {
        let outcome = wait_completed!(&both);
        assert!(both[1].is_completed());
        matches!(outcome, Err(WaitError::Task { index: 0, .. }))
    });
    assert!(sup.task(id).is_some());
    open.send(()).unwrap();
    assert!(waiter.join().unwrap());
}

#[test]
fn a_canceled_task_is_a_failure() {
    let sup = Supervisor::builder().thread_pool(PoolConfig::new(1)).build();
    let (open, running) = gated(&sup, 1);
    let queued = sup.spawn(|| 2);
    assert!(queued.cancel());
    open.send(()).unwrap();
    match wait_completed!(running, queued) {
        Err(WaitError::Task { index, error, .. }) => {
            assert_eq!(index, 1);
            assert!(matches!(error, TaskError::Canceled));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn in_whichever_order_they_end() {
    let sup = supervisor();
    let (gates, tasks): (Vec<_>, Vec<_>) = (0..60_u64).map(|n| gated(&sup, n)).unzip();
    let ids: Vec<_> = tasks.iter().map(Task::id).collect();
    let waiter = sup.spawn(move || wait_completed!(tasks));
    for n in (0..60).map(|n| n * 37 % 60) {
        gates[n].send(()).unwrap();
        if let Some(task) = sup.task(ids[n]) {
            task.wait().unwrap();
        }
    }
    assert_eq!(waiter.join().unwrap().unwrap(), (0..60).collect::<Vec<_>>());
}

#[test]
fn through_a_function_of_the_users() {
    fn both<A: Waitable, B: Waitable>(a: A, b: B) -> Result<(A::Output, B::Output), WaitError> {
        wait_completed!(a, b)
    }
    let sup = supervisor();
    let list = [sup.spawn(|| 1), sup.spawn(|| 2)];
    let (one, two) = both(sup.spawn(|| "a"), &list).unwrap();
    assert_eq!((one, two), ("a", vec![&1, &2]));
}
