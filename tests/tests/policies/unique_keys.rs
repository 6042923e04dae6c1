//! What may the value of the key `unique` be, on the attribute and in `background!`, in each place?

use std::collections::BTreeSet;
use std::sync::Arc;

use atasker::{Supervisor, Task, TaskBuilder, TaskContext, background, background_task};
use atasker_tests::pool;

#[derive(Clone)]
struct Order {
    id: u64,
    lines: Vec<String>,
}

#[background_task(unique = (user_id))]
fn one(ctx: &TaskContext, user_id: u64) -> u64 {
    while !ctx.wait_stop(atasker_tests::FAR) {}
    user_id
}

#[background_task(unique = (name, &order.lines, order.id, 7))]
fn several(ctx: &TaskContext, name: String, order: Order) -> usize {
    while !ctx.wait_stop(atasker_tests::FAR) {}
    name.len() + order.lines.len()
}

#[background_task(unique = ())]
async fn single(ctx: &TaskContext, n: u32) -> u32 {
    ctx.stop_requested().await;
    n
}

#[background_task(tt = "mp", unique = (name, numbers, list))]
fn borrows(
    ctx: &TaskContext,
    name: &str,
    numbers: &[u32],
    list: &BTreeSet<String>,
    other: u32,
) -> u32 {
    while !ctx.wait_stop(atasker_tests::FAR) {}
    other + name.len() as u32 + numbers.len() as u32 + list.len() as u32
}

#[background_task(unique = format!("{}/{}", order.id, extra.len()), retries = 2)]
fn expression(ctx: &TaskContext, order: Order, extra: Vec<u8>) -> u64 {
    while !ctx.wait_stop(atasker_tests::FAR) {}
    order.id + extra.len() as u64
}

#[background_task(unique = (value.clone()), companion = false)]
fn generic<T>(ctx: &TaskContext, value: T) -> T
where
    T: Clone + std::hash::Hash + Eq + Send + Sync + 'static,
{
    while !ctx.wait_stop(atasker_tests::FAR) {}
    value
}

struct Shop {
    id: u32,
}

impl Shop {
    #[background_task(unique = (self.id, day))]
    fn close(self: Arc<Self>, ctx: &TaskContext, day: &'static str) -> usize {
        while !ctx.wait_stop(atasker_tests::FAR) {}
        day.len() + self.id as usize
    }
}

/// Checks that the second launch is a duplicate of the first, and the third is none.
#[track_caller]
fn check<R: Send + std::fmt::Debug + PartialEq + 'static>(
    [first, same, other]: [Task<R>; 3],
    expected: R,
) {
    assert!(same.join().unwrap_err().is_duplicate());
    first.stop();
    other.stop();
    assert_eq!(first.join().unwrap(), expected);
    other.join().unwrap();
}

/// Waits until a task has begun, because a stop before would cancel it, or was rejected.
#[track_caller]
fn settled<R: Send + 'static>(task: Task<R>) -> Task<R> {
    atasker_tests::eventually(|| task.is_started() || task.is_completed());
    task
}

#[track_caller]
fn started<R: Send + 'static>(builder: TaskBuilder<R>, sup: &Supervisor) -> Task<R> {
    settled(builder.supervisor(sup).start())
}

#[test]
fn parameter_is_the_key() {
    let sup = pool(8);
    let start = |user| started(one::builder(user), &sup);
    check([start(1), start(1), start(2)], 1);
    // The key is the parameter itself.
    let task = start(3);
    let same = one::builder(4).unique(3u64).supervisor(&sup).start_unique();
    assert_eq!(same.unwrap_err().id(), task.id());
    task.stop();
    task.join().unwrap();
}

#[test]
fn parts_are_borrowed_and_cloned() {
    let sup = pool(8);
    let order = |id| Order { id, lines: vec!["a".to_owned()] };
    let start = |name: &str, id| started(several::builder(name.to_owned(), order(id)), &sup);
    check([start("n", 1), start("n", 1), start("n", 2)], 2);
    check([start("n", 1), start("n", 1), start("m", 1)], 2);
}

#[test]
fn empty_key_allows_one_task() {
    let sup = pool(8);
    let first = started(single::builder(1), &sup);
    let same = single::builder(2).supervisor(&sup).start();
    assert!(same.join().unwrap_err().is_duplicate());
    first.stop();
    assert_eq!(first.join().unwrap(), 1);
}

#[test]
fn borrowed_parameters_are_parts() {
    let sup = Supervisor::builder().mp_pool(atasker::MpPoolConfig::new(4)).build();
    let start = |name: String, numbers: &[u32], list: &str| {
        let list = BTreeSet::from([list.to_owned()]);
        started(borrows::builder(&name, numbers, &list, 10), &sup)
    };
    let n = || "n".to_owned();
    check([start(n(), &[1], "l"), start(n(), &[1], "l"), start(n(), &[1, 2], "l")], 13);
    check([start(n(), &[1], "l"), start(n(), &[1], "l"), start(n(), &[1], "m")], 13);
}

#[test]
fn expression_is_evaluated_before_the_arguments_are_moved() {
    let sup = pool(8);
    let start = |id, extra: usize| {
        let order = Order { id, lines: Vec::new() };
        started(expression::builder(order, vec![0; extra]), &sup)
    };
    check([start(1, 1), start(1, 1), start(1, 2)], 2);
}

#[test]
fn generic_parameter_is_a_part() {
    // On the default supervisor, where no other test launches this function.
    check([generic("a"), generic("a"), generic("b")].map(settled), "a");
    check([generic(1), generic(1), generic(2)].map(settled), 1);
}

#[test]
fn receiver_is_a_part() {
    let shop = |id| Arc::new(Shop { id });
    check([shop(1).close("sun"), shop(1).close("sun"), shop(2).close("sun")].map(settled), 4);
}

fn waits(gate: atasker_tests::Gate, name: String) -> usize {
    gate.wait();
    name.len()
}

fn doubles(name: &str, n: u32) -> u32 {
    name.len() as u32 + 2 * n
}

#[test]
fn call_uses_variables_of_the_caller() {
    let sup = pool(8);
    let gate = atasker_tests::Gate::new();
    let user = 5u32;
    let name = String::from("name");
    let first = {
        let name = name.clone();
        background!(waits(gate.clone(), name), unique = (user, name), supervisor = &sup)
    };
    let second =
        background!(waits(gate.clone(), name.clone()), unique = (user, &name), supervisor = &sup);
    assert!(second.join().unwrap_err().is_duplicate());
    gate.open();
    assert_eq!(first.join().unwrap(), 4);
    let task = background!(doubles(&name, user), tt = "mp", unique = (name), supervisor = &sup);
    assert_eq!(task.join().unwrap(), 14);
    let task = background!(|| name.len(), unique = (user, &name), supervisor = &sup);
    assert_eq!(task.join().unwrap(), 4);
    let again = String::from("again");
    let task = background!(async move { again }, unique = (again), supervisor = &sup);
    assert_eq!(task.join().unwrap(), "again");
    let task = background!(|| 1 + 1, tt = "mp", unique = (user), supervisor = &sup);
    assert_eq!(task.join().unwrap(), 2);
}
