//! Do deeply nested values either arrive or fail their task, on whichever thread they are decoded,
//! without overflowing a stack?

use std::thread;
use std::time::Duration;

use atasker::{
    RecvError, StopOptions, Supervisor, Task, TaskContext, TaskError, background_task, worker_data,
};
use atasker_tests::mp::pool_of;
use atasker_tests::{FAR, Watchdog};
use serde::{Deserialize, Serialize};

/// Deeper than any limit, and too deep for any stack here.
const LEVELS: [usize; 5] = [10, 100, 1_000, 2_000, 40_000];
/// Values of this depth arrive with every profile, codec and thread.
const SHALLOW: usize = 100;
/// The stack sizes of threads that wait and receive.
const STACKS: [usize; 3] = [64 << 10, 256 << 10, 2 << 20];

#[derive(Serialize, Deserialize)]
enum List {
    End,
    Next(Box<List>),
}

impl List {
    fn of(levels: usize) -> List {
        (0..levels).fold(List::End, |list, _| List::Next(Box::new(list)))
    }

    /// Counts the levels and drops them one by one.
    fn take_apart(self) -> usize {
        let (mut list, mut levels) = (self, 0);
        while let List::Next(inner) = list {
            list = *inner;
            levels += 1;
        }
        levels
    }
}

#[derive(Serialize, Deserialize)]
struct Tree {
    name: String,
    branches: Vec<Option<Tree>>,
}

impl Tree {
    fn of(levels: usize) -> Tree {
        let tree = |branches| Tree { name: "x".into(), branches };
        (0..levels).fold(tree(vec![]), |inner, _| tree(vec![None, Some(inner)]))
    }

    fn take_apart(mut self) -> usize {
        let mut levels = 0;
        while let Some(Some(inner)) = self.branches.pop() {
            self = inner;
            levels += 1;
        }
        levels
    }
}

/// Runs `f` with enough stack for values of any depth, and leaks the values that `f` creates.
fn with_room<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    on_stack(1 << 30, f)
}

fn on_stack<T: Send + 'static>(size: usize, f: impl FnOnce() -> T + Send + 'static) -> T {
    thread::Builder::new().stack_size(size).spawn(f).unwrap().join().unwrap()
}

#[background_task(tt = "mp")]
fn list(levels: usize) -> List {
    List::of(levels)
}

#[background_task(tt = "mp", codec = "msgpack")]
fn list_msgpack(levels: usize) -> List {
    List::of(levels)
}

#[background_task(tt = "mp")]
fn tree(levels: usize) -> Tree {
    Tree::of(levels)
}

#[background_task(tt = "mp", codec = "msgpack")]
fn tree_msgpack(levels: usize) -> Tree {
    Tree::of(levels)
}

#[background_task(tt = "mp", codec = "msgpack")]
fn json(levels: usize) -> serde_json::Value {
    (0..levels).fold(serde_json::json!(1), |inner, _| serde_json::json!({ "inner": [inner] }))
}

#[background_task(tt = "mp")]
fn deep_err(levels: usize) -> Result<Vec<u8>, List> {
    Err(List::of(levels))
}

#[background_task(tt = "mp")]
fn depth(list: List) -> usize {
    list.take_apart()
}

#[background_task(tt = "mp")]
fn sends(ctx: &TaskContext<(), List>, levels: usize) -> bool {
    let ctx = ctx.clone();
    with_room(move || ctx.send(List::of(levels)).is_ok())
}

#[background_task(tt = "mp", codec = "msgpack")]
fn receives(ctx: &TaskContext<Tree>, stack: usize) -> Option<usize> {
    let ctx = ctx.clone();
    on_stack(stack, move || ctx.recv().ok().map(Tree::take_apart))
}

#[background_task(tt = "mp")]
fn depth_of_data() -> Option<usize> {
    let list: &List = worker_data()?;
    let mut levels = 0;
    let mut list = list;
    while let List::Next(inner) = list {
        list = inner;
        levels += 1;
    }
    Some(levels)
}

fn pool() -> Supervisor {
    Supervisor::builder().id("deep").mp_pool(pool_of(1)).build()
}

#[track_caller]
fn fails_as_it_should(levels: usize, error: &TaskError) {
    assert!(levels > SHALLOW, "{levels} levels: {error}");
    let text = error.to_string();
    let codec = matches!(error, TaskError::Codec { .. }) && text.contains("nested too deeply");
    assert!(codec || error.is_worker_died(), "{levels} levels: {text}");
}

/// Waits for a value of each depth on threads of each stack size, and without a wait.
fn results<R: Send + 'static>(launch: fn(usize, &Supervisor) -> Task<R>, count: fn(R) -> usize) {
    let _watchdog = Watchdog::new("deep results", 3 * FAR);
    let sup = pool();
    for levels in LEVELS {
        for stack in STACKS {
            let task = launch(levels, &sup);
            match on_stack(stack, move || task.join().map(count)) {
                Ok(there) => assert_eq!(there, levels),
                Err(error) => fails_as_it_should(levels, &error),
            }
        }
        // The value is dropped on the thread that decodes it.
        drop(launch(levels, &sup));
    }
    let task = launch(SHALLOW, &sup);
    assert_eq!(task.join().map(count).unwrap(), SHALLOW, "the pool still works");
    sup.stop(StopOptions::new());
}

#[test]
fn deep_bincode_results() {
    results(|levels, sup| list::builder(levels).supervisor(sup).start(), List::take_apart);
    results(|levels, sup| tree::builder(levels).supervisor(sup).start(), Tree::take_apart);
}

#[test]
fn deep_msgpack_results() {
    results(|levels, sup| list_msgpack::builder(levels).supervisor(sup).start(), List::take_apart);
    results(|levels, sup| tree_msgpack::builder(levels).supervisor(sup).start(), Tree::take_apart);
}

#[test]
fn deep_json_results() {
    fn count(mut value: serde_json::Value) -> usize {
        let mut levels = 0;
        while let Some(inner) = value.get_mut("inner").and_then(|list| list.get_mut(0)) {
            value = inner.take();
            levels += 1;
        }
        levels
    }
    results(|levels, sup| json::builder(levels).supervisor(sup).start(), count);
}

#[test]
fn deep_returned_errors() {
    results(
        |levels, sup| deep_err::builder(levels).supervisor(sup).start(),
        |result| result.map(|_| 0).unwrap_or_else(List::take_apart),
    );
}

#[test]
fn deep_results_over_sockets_with_retries_and_await() {
    let config = pool_of(1).__over_sockets(true);
    let sup = Supervisor::builder().id("deep sockets").mp_pool(config).build();
    for levels in LEVELS {
        let task = list::builder(levels).supervisor(&sup).retries(1).start();
        let result = sup
            .spawn_async(async move { task.await.map(List::take_apart) })
            .join()
            .expect("the future itself does not fail");
        match result {
            Ok(there) => assert_eq!(there, levels),
            Err(error) => fails_as_it_should(levels, &error),
        }
    }
    sup.stop(StopOptions::new());
}

#[test]
fn deep_arguments() {
    let sup = pool();
    for levels in LEVELS {
        let own = sup.clone();
        // `f::builder` encodes the arguments and drops the list.
        let task = with_room(move || depth::builder(List::of(levels)).supervisor(&own).start());
        match task.join() {
            Ok(there) => assert_eq!(there, levels),
            Err(error) => fails_as_it_should(levels, &error),
        }
    }
    sup.stop(StopOptions::new());
}

#[test]
fn deep_messages_from_task() {
    let sup = pool();
    for levels in LEVELS {
        for stack in STACKS {
            let task = sends::builder(levels).supervisor(&sup).start();
            let (received, task) = on_stack(stack, move || {
                let mut received = task.recv().map(List::take_apart);
                while let Err(RecvError::Empty) = received {
                    received = task.try_recv().map(List::take_apart);
                }
                (received, task)
            });
            match received {
                Ok(there) => assert_eq!(there, levels),
                Err(_) => assert!(levels > SHALLOW, "{levels} levels"),
            }
            assert!(task.join().unwrap());
        }
    }
    sup.stop(StopOptions::new());
}

#[test]
fn deep_messages_to_task() {
    let sup = pool();
    for levels in LEVELS {
        for stack in STACKS {
            let task = receives::builder(stack).supervisor(&sup).start();
            let sent = with_room(move || {
                let sent = task.send(Tree::of(levels)).is_ok();
                (sent, task.join())
            });
            match sent {
                (true, Ok(Some(there))) => assert_eq!(there, levels),
                other => assert!(levels > SHALLOW, "{levels} levels: {other:?}"),
            }
        }
    }
    sup.stop(StopOptions::new());
}

#[test]
fn deep_worker_data() {
    for levels in [SHALLOW, 40_000] {
        let config = with_room(move || {
            let list = List::of(levels);
            let config = pool_of(1).worker_data(&list);
            list.take_apart();
            config
        });
        let sup = Supervisor::builder().id("deep data").mp_pool(config).build();
        let expected = (levels == SHALLOW).then_some(levels);
        assert_eq!(depth_of_data::builder().supervisor(&sup).start().join().unwrap(), expected);
        let here = on_stack(64 << 10, || worker_data::<List>().is_some());
        assert_eq!(here, expected.is_some());
        sup.stop(StopOptions::new().wait(Duration::from_secs(20)));
    }
}
