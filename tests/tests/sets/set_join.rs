//! Does a set return the outcome of each of its tasks once, in the order of completion?

use std::time::Duration;

use atasker::{
    MpPoolConfig, Supervisor, TaskBuilder, TaskContext, TaskError, TaskId, TaskSet, supervisor,
};
use atasker_tests::{FAR, Gate, eventually, mp, pool};

use crate::{crashes, doubles, gated, until_stopped};

/// The ids in the order in which the set returns them. All tasks end well.
fn order<R: Send + 'static>(set: &mut TaskSet<R>) -> Vec<TaskId> {
    std::iter::from_fn(|| set.join_next())
        .map(|(id, outcome)| {
            assert!(outcome.is_ok());
            id
        })
        .collect()
}

#[test]
fn outcomes_come_in_completion_order() {
    let sup = pool(4);
    let mut set = TaskSet::new();
    let (tasks, gates): (Vec<_>, Vec<_>) = (0..4).map(|_| gated(&sup)).unzip();
    let found: Vec<_> = tasks.iter().map(|task| task.to_ref()).collect();
    let ids: Vec<_> = tasks.into_iter().map(|task| set.push(task)).collect();
    for n in [2, 0, 3, 1] {
        assert!(set.try_join_next().is_none());
        gates[n].open();
        found[n].wait().unwrap();
        let (id, outcome) = set.join_next().unwrap();
        assert_eq!((id, outcome), (ids[n], Ok(7)));
    }
    assert!(set.is_empty() && set.join_next().is_none() && set.try_join_next().is_none());
}

#[test]
fn order_is_kept_until_it_is_asked_for() {
    let sup = pool(4);
    let mut set = TaskSet::new();
    let (tasks, gates): (Vec<_>, Vec<_>) = (0..4).map(|_| gated(&sup)).unzip();
    let found: Vec<_> = tasks.iter().map(|task| task.to_ref()).collect();
    let mut tasks: Vec<_> = tasks.into_iter().map(Some).collect();
    // Two of them end in the set, two before they are pushed, in the other order.
    set.push(tasks[1].take().unwrap());
    set.push(tasks[3].take().unwrap());
    for n in [2, 3, 0, 1] {
        gates[n].open();
        found[n].wait().unwrap();
    }
    set.push(tasks[0].take().unwrap());
    set.push(tasks[2].take().unwrap());
    let expected = [2, 3, 0, 1].map(|n| found[n].id());
    assert_eq!(order(&mut set), expected);
}

#[test]
fn collected_and_extended_sets_are_in_order() {
    let sup = pool(1);
    let task = || {
        let task = sup.spawn(|| ());
        task.wait().unwrap();
        task
    };
    let (a, b, c, d) = (task(), task(), task(), task());
    let expected = [a.id(), b.id(), c.id(), d.id()];
    let mut set: TaskSet<()> = [c, a].into_iter().collect();
    set.extend([d, b]);
    assert_eq!(set.len(), 4);
    assert_eq!(order(&mut set), expected);
    let (e, f) = (task(), task());
    set.extend(vec![f, e]);
    assert_eq!(set.len(), 2);
}

#[test]
fn tasks_of_all_places_and_channels_are_in_one_set() {
    let sup = mp::supervisor(MpPoolConfig::new(2));
    let mut set = TaskSet::default();
    set.spawn(TaskBuilder::new(|| 1).supervisor(&sup));
    set.spawn(TaskBuilder::future(async { 2 }).supervisor(&sup));
    set.spawn(doubles::builder(2).supervisor(&sup));
    let with_messages = |ctx: &TaskContext<u32, String>| ctx.recv().unwrap();
    let task = TaskBuilder::with_context(with_messages).supervisor(&sup).start();
    task.send(8).unwrap();
    set.push(task);
    set.push(sup.spawn(|| 16).chain(|n| 2 * n));
    let failing = set.spawn(crashes::builder().supervisor(&sup));
    let mut sum = 0;
    for _ in 0..6 {
        let (id, outcome) = set.join_next().unwrap();
        match outcome {
            Ok(n) => sum += n,
            Err(error) => assert!(id == failing && error.is_worker_died(), "{error}"),
        }
    }
    assert_eq!((sum, set.len()), (1 + 2 + 4 + 8 + 32, 0));
}

#[test]
fn sender_without_receiver_does_not_block() {
    let sup = pool(1);
    let mut set = TaskSet::new();
    let sends = |ctx: &TaskContext<(), u32>| (0..).take_while(|n| ctx.send(*n).is_ok()).count();
    set.spawn(TaskBuilder::with_context(sends).supervisor(&sup));
    assert!(set.join_next().unwrap().1.unwrap() <= 1024);
}

#[test]
fn set_is_joined_in_task_of_a_pool_of_one() {
    let sup = pool(1);
    let inner = sup.clone();
    let outer = sup.spawn(move || {
        let mut set: TaskSet<u32> = (0..10).map(|n| inner.spawn(move || n)).collect();
        std::iter::from_fn(|| set.join_next()).map(|(_, n)| n.unwrap()).sum::<u32>()
    });
    assert_eq!(outer.join().unwrap(), 45);
}

#[test]
fn tasks_are_added_while_others_complete() {
    let sup = pool(2);
    let mut set = TaskSet::new();
    let mut launched = 0;
    let mut spawn = |set: &mut TaskSet<u32>| {
        launched += 1;
        let n = launched;
        set.spawn(TaskBuilder::new(move || n).supervisor(&sup));
        n
    };
    (0..4).for_each(|_| _ = spawn(&mut set));
    let mut seen = Vec::new();
    while let Some((_, outcome)) = set.join_next() {
        seen.push(outcome.unwrap());
        if seen.len() < 1_000 {
            spawn(&mut set);
        }
    }
    seen.sort_unstable();
    let all: Vec<_> = (1..=1_003).collect();
    assert_eq!(seen, all);
}

#[test]
fn stopped_and_killed_tasks_are_returned() {
    let sup = mp::supervisor(MpPoolConfig::new(1));
    let mut set: TaskSet<bool> = TaskSet::new();
    set.push(until_stopped(&sup));
    let queued = TaskBuilder::new(|| true).delay(Duration::from_secs(600)).supervisor(&sup);
    set.spawn(queued);
    set.stop_all();
    let mut outcomes: Vec<_> = std::iter::from_fn(|| set.join_next()).map(|(_, o)| o).collect();
    outcomes.sort_by_key(Result::is_err);
    assert_eq!(outcomes, [Ok(true), Err(TaskError::Canceled)]);

    let mut set = TaskSet::new();
    set.spawn(TaskBuilder::future(std::future::pending::<bool>()).supervisor(&sup));
    set.push(until_stopped(&sup));
    set.kill_all();
    let mut outcomes: Vec<_> = std::iter::from_fn(|| set.join_next()).map(|(_, o)| o).collect();
    outcomes.sort_by_key(Result::is_err);
    assert_eq!(outcomes, [Ok(true), Err(TaskError::Canceled)]);
}

#[test]
fn set_of_ended_and_running_tasks_blocks_for_the_rest() {
    let sup = pool(2);
    let (first, gate) = gated(&sup);
    let mut set = TaskSet::new();
    set.push(first);
    set.spawn(TaskBuilder::new(|| 1).supervisor(&sup));
    assert_eq!(set.join_next().unwrap().1, Ok(1));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // The waiter is blocked, or about to be.
            std::thread::yield_now();
            gate.open();
        });
        assert_eq!(set.join_next().unwrap().1, Ok(7));
    });
}

#[test]
fn stop_request_wakes_nothing_up() {
    let sup = pool(2);
    let (begun, gate) = (Gate::new(), Gate::new());
    let (begins, waits) = (begun.clone(), gate.clone());
    let task = TaskBuilder::with_context(move |ctx: &TaskContext| {
        begins.open();
        let stopped = ctx.wait_stop(FAR);
        waits.wait();
        stopped
    });
    let mut set = TaskSet::new();
    set.spawn(task.supervisor(&sup));
    begun.wait();
    set.stop_all();
    assert!(set.try_join_next().is_none());
    set.stop_all();
    gate.open();
    assert_eq!(set.join_next().unwrap().1, Ok(true));
}

#[test]
fn result_that_is_being_cloned_is_not_ready() {
    struct Slow(Gate, Gate);
    impl Clone for Slow {
        fn clone(&self) -> Self {
            self.0.open();
            self.1.wait();
            Slow(self.0.clone(), self.1.clone())
        }
    }
    let sup = pool(1);
    let (begins, gate) = (Gate::new(), Gate::new());
    let value = Slow(begins.clone(), gate.clone());
    let task = sup.spawn(move || value);
    task.wait().unwrap();
    let found = task.to_ref();
    let mut set = TaskSet::new();
    set.push(task);
    std::thread::scope(|scope| {
        scope.spawn(|| found.result_cloned::<Slow>());
        begins.wait();
        assert!(set.try_join_next().is_none() && set.len() == 1);
        gate.open();
        assert!(set.join_next().unwrap().1.is_ok());
    });
}

#[test]
fn taken_result_panics_and_leaves_the_rest() {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    for joins in [TaskSet::join_next, TaskSet::try_join_next] {
        let sup = pool(1);
        let mut task = sup.spawn(|| 1);
        futures_lite::future::block_on(&mut task).unwrap();
        let mut set = TaskSet::new();
        set.push(task);
        set.push(sup.spawn(|| 2));
        let panic = catch_unwind(AssertUnwindSafe(|| joins(&mut set))).unwrap_err();
        let message = panic.downcast_ref::<String>().unwrap();
        assert!(message.contains("was taken by an earlier `.await`"), "{message}");
        assert_eq!((set.len(), set.join_next().unwrap().1), (1, Ok(2)));
        assert!(set.join_next().is_none());
    }
}

#[test]
fn blocking_join_panics_on_aloop() {
    let sup = pool(2);
    let (first, gate) = gated(&sup);
    let task = sup.spawn_async(async move {
        let mut set = TaskSet::new();
        set.push(first);
        set.join_next().map(|(_, outcome)| outcome.unwrap())
    });
    let error = task.join().unwrap_err();
    assert!(error.to_string().contains("would block all of its tasks"), "{error}");
    gate.open();
}

#[test]
fn set_is_shown_and_shared() {
    fn is_sync<T: Send + Sync + Unpin>() {}
    is_sync::<TaskSet<u32>>();
    fn is_send<T: Send>() {}
    is_send::<TaskSet<std::cell::Cell<u32>>>();
    let set: TaskSet<u32> = (0..2).map(|n| supervisor().spawn(move || n)).collect();
    assert_eq!(format!("{set:?}"), "TaskSet { len: 2, .. }");
}

#[test]
fn large_set_is_joined() {
    const COUNT: usize = 50_000;
    let sup: Supervisor = pool(2);
    let mut set: TaskSet<usize> = (0..COUNT).map(|n| sup.spawn(move || n)).collect();
    let mut sum = 0;
    while let Some((_, outcome)) = set.join_next() {
        sum += outcome.unwrap();
    }
    assert_eq!(sum, COUNT * (COUNT - 1) / 2);
    eventually(|| sup.tasks().is_empty());
}
