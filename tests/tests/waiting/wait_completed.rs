//! Does `wait_completed!` return results in the shape of its arguments, and the first failure in
//! argument order?

use std::time::Duration;

use atasker::{
    Supervisor, Task, TaskBuilder, TaskContext, TaskError, WaitError, Waitable, wait_completed,
};

use crate::{gated, one_slot, unlimited};

fn panics(sup: &Supervisor, message: &'static str) -> Task<u32> {
    sup.spawn(move || panic!("{message}"))
}

#[derive(Debug, PartialEq)]
struct NotClone(u32);

#[test]
fn tuple_of_any_types_by_value() {
    let sup = unlimited();
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
fn references_borrow_results() {
    let sup = unlimited();
    let (a, b) = (sup.spawn(|| NotClone(1)), sup.spawn(|| "b".to_string()));
    {
        let (x, y): (&NotClone, &String) = wait_completed!(&a, &b).unwrap();
        assert_eq!((x, y.as_str()), (&NotClone(1), "b"));
        assert!(std::ptr::eq(x, a.result().unwrap()));
    }
    assert_eq!(a.join().unwrap(), NotClone(1));
    // One task by reference beside one by value.
    let c = sup.spawn(|| 7);
    let (y, z): (&String, i32) = wait_completed!(&b, c).unwrap();
    assert_eq!((y.as_str(), z), ("b", 7));
}

#[test]
fn accepts_every_kind_of_list() {
    let sup = unlimited();
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
    assert!(none.is_empty());
}

#[test]
fn lists_within_tuples() {
    let sup = unlimited();
    let low: Vec<_> = (0..3_u8).map(|n| sup.spawn(move || n)).collect();
    let high = [sup.spawn(|| 'x'), sup.spawn(|| 'y')];
    let kept: Vec<_> = (0..2_i64).map(|n| sup.spawn(move || n)).collect();
    let one = sup.spawn_async(async { "one" });
    let (low, high, lent, one): (Vec<u8>, [char; 2], Vec<&i64>, &str) =
        wait_completed!(low, high, &kept[..], one).unwrap();
    assert_eq!((low, high, lent, one), (vec![0, 1, 2], ['x', 'y'], vec![&0, &1], "one"));
}

#[test]
fn one_task_returns_one_result() {
    let sup = unlimited();
    let task = sup.spawn(|| NotClone(9));
    assert_eq!(wait_completed!(&task).unwrap(), &NotClone(9));
    assert_eq!(wait_completed!(task,).unwrap(), NotClone(9));
    // A tuple expression or a tuple value: a tuple of one stays a tuple.
    let (a, b) = wait_completed!((sup.spawn(|| 1), sup.spawn(|| 'b'))).unwrap();
    assert_eq!((a, b), (1, 'b'));
    let (a,) = wait_completed!((sup.spawn(|| 1),)).unwrap();
    assert_eq!(a, 1);
}

#[test]
fn up_to_twelve_tasks() {
    let sup = unlimited();
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
fn returns_first_failure_in_order_with_index() {
    let sup = unlimited();
    // The second of the failures occurs first.
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
    // In a tuple, the failure of a list has the index of the list.
    check(wait_completed!(sup.spawn(|| 0), sup.spawn(|| 'x'), &tasks).unwrap_err(), 2);
    check(wait_completed!(&tasks[1]).unwrap_err(), 0);
    let [a, b, c, d] = <[Task<u32>; 4]>::try_from(tasks).unwrap();
    check(wait_completed!(&a, &b, &c, &d).unwrap_err(), 1);
    check(wait_completed!(&[a, b, c, d]).unwrap_err(), 1);
}

#[test]
fn owned_and_borrowed_lists_fail_alike() {
    let sup = unlimited();
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
fn returned_err_is_a_result() {
    let sup = unlimited();
    let task = sup.spawn(|| "x".parse::<u32>());
    let result: Result<u32, _> = wait_completed!(task).unwrap();
    assert!(result.is_err());
}

#[test]
fn failure_is_returned_after_all_have_ended() {
    let sup = unlimited();
    let failed = panics(&sup, "at once");
    failed.wait().unwrap_err();
    let (open, running) = gated(&sup, 1_u32);
    // With a timeout of zero, the running task is reported as missing, not the failure.
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
fn canceled_task_is_a_failure() {
    let sup = one_slot();
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
fn results_are_independent_of_completion_order() {
    let sup = unlimited();
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
fn works_in_generic_user_function() {
    fn both<A: Waitable, B: Waitable>(a: A, b: B) -> Result<(A::Output, B::Output), WaitError> {
        wait_completed!(a, b)
    }
    let sup = unlimited();
    let list = [sup.spawn(|| 1), sup.spawn(|| 2)];
    let (one, two) = both(sup.spawn(|| "a"), &list).unwrap();
    assert_eq!((one, two), ("a", vec![&1, &2]));
}
