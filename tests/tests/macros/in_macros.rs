//! Do the attributes and macros accept fragments of a `macro_rules!` macro, which arrive in
//! invisible groups?

use std::time::Duration;

use atasker::{
    FunctionCollection, Priority, TaskContext, WaitError, WorkerContext, background,
    background_task, background_worker, collect, collection, wait_any, wait_completed,
    wait_settled,
};

fn double(n: u32) -> u32 {
    2 * n
}

fn length(text: &str) -> usize {
    text.len()
}

async fn later(n: u32) -> u32 {
    n + 1
}

mod module {
    pub fn triple(n: u32) -> u32 {
        3 * n
    }
    pub struct Typed;
    impl Typed {
        pub fn same(n: u32) -> u32 {
            n
        }
    }
}

macro_rules! by_path {
    ($f:path, $($arg:expr),* $(; $key:ident = $value:expr)*) => {
        background!($f($($arg),*) $(, $key = $value)*)
    };
}
macro_rules! by_expr {
    ($f:expr, $($arg:expr),* $(; $key:ident = $value:literal)*) => {
        by_path_again!($f, $($arg),* $(; $key = $value)*)
    };
}
// A group in a group.
macro_rules! by_path_again {
    ($f:expr, $($arg:expr),* $(; $key:ident = $value:expr)*) => {
        background!($f($($arg),*) $(, $key = $value)*)
    };
}
macro_rules! by_type {
    ($t:ty, $arg:expr, $place:expr) => {
        background!(<$t>::same($arg), tt = $place)
    };
}
macro_rules! whole {
    ($e:expr $(, $tt:literal)?) => {
        background!($e $(, tt = $tt)?)
    };
}

#[test]
fn background_accepts_call_fragments() {
    assert_eq!(by_path!(double, 4).join().unwrap(), 8);
    assert_eq!(by_path!(module::triple, 4; tt = "mp").join().unwrap(), 12);
    assert_eq!(by_path!(self::later, 4).join().unwrap(), 5);
    assert_eq!(
        by_path!(length, "four"; tt = "mp"; retries = 1; timeout = "60s").join().unwrap(),
        4
    );
    assert_eq!(by_expr!(double, 1 + 1).join().unwrap(), 4);
    assert_eq!(by_expr!(crate::in_macros::module::triple, 1 + 1; tt = "mp").join().unwrap(), 6);
    assert_eq!(by_expr!(later, 4; tt = "async").join().unwrap(), 5);
    assert_eq!(by_type!(module::Typed, 3, "thread").join().unwrap(), 3);
    assert_eq!(by_type!(module::Typed, 3, "mp").join().unwrap(), 3);
    let local = double;
    assert_eq!(by_expr!(local, 5).join().unwrap(), 10);
}

#[test]
fn background_accepts_expression_fragments() {
    assert_eq!(whole!(double(4)).join().unwrap(), 8);
    assert_eq!(whole!(double(4), "mp").join().unwrap(), 8);
    assert_eq!(whole!((module::triple)(4), "mp").join().unwrap(), 12);
    assert_eq!(whole!(|| 4).join().unwrap(), 4);
    assert_eq!(whole!(|| 4, "mp").join().unwrap(), 4);
    assert_eq!(whole!(async { 4 }).join().unwrap(), 4);
    assert_eq!(whole!(later(4), "async").join().unwrap(), 5);
}

#[test]
fn names_and_literals_keep_spelling() {
    let task = by_path!(double, 1; tt = "mp"; name = "named"; retries = 2; priority = "high");
    assert_eq!((task.name(), task.priority()), ("named", Priority::High));
    let task = by_type!(module::Typed, 3, "mp");
    assert!(!task.name().contains("/*"), "{}", task.name());
}

macro_rules! tasks {
    ($(
        $(#[$attr:meta])* $vis:vis $name:ident($($p:pat_param => $t:ty),*) -> $r:ty = $body:block
        [$($key:ident = $value:expr),*]
    )*) => {$(
        $(#[$attr])*
        #[background_task($($key = $value),*)]
        $vis fn $name($($p: $t),*) -> $r $body
    )*};
}
tasks! {
    /// On a thread.
    pub thread(mut n => u32, (a, b) => (u32, u32)) -> u32 = { n += a; n + b }
        [priority = "high", timeout = "60s", retries = 1]
    process(ctx => &TaskContext<u32>, text => &str, bytes => &[u8]) -> Result<usize, String> = {
        Ok(text.len() + bytes.len() + usize::from(ctx.stopped()))
    } [tt = "mp", codec = "msgpack", name = "by a macro", retry_delay = Duration::from_micros(1)]
    pub(crate) owned(v => Vec<u8>) -> Vec<u8> = { v } [tt = "mp", companion = Other]
}

macro_rules! annotated {
    ($item:item, $tt:literal) => {
        #[background_task(tt = $tt)]
        $item
    };
}
annotated!(
    fn whole_item(n: u32) -> u32 {
        n
    },
    "mp"
);

macro_rules! workers {
    ($(
        $name:ident($($p:ident: $t:ty),*) -> $r:ty $body:block
        [$($flag:ident $(= $value:expr)?),*]
    )*) => {$(
        #[background_worker($($flag $(= $value)?),*)]
        fn $name($($p: $t),*) -> $r $body
    )*};
}
workers! {
    queue(ctx: &WorkerContext, item: u32, kept: &mut Vec<u32>, lent: &str) -> bool {
        kept.push(item + lent.len() as u32);
        !ctx.stopped()
    } [queue = "priority", queue_limit = 5]
    interval(lent: &str) -> () { assert!(!lent.is_empty()) }
        [interval = "1h", delay_before = Duration::from_micros(1), overrun = "burst"]
}

mod workers_of_macros {
    // `process` is a task defined above.
    use super::*;

    workers! {
        process(item: u32, lent: &[u32]) -> u32 { item + lent[0] }
            [queue, tt = "mp", process_result = |n| assert_eq!(*n, 3)]
    }

    #[test]
    fn macros_define_workers() {
        let (queue, process) = (queue(vec![], "x".to_owned()), process(vec![1]));
        let interval = interval("x".to_owned());
        for worker in [&*queue, &*process, &*interval] {
            worker.start();
        }
        queue.put(1).unwrap();
        process.put(2).unwrap();
        while queue.runs() == 0 || process.runs() == 0 || interval.runs() == 0 {
            std::thread::yield_now();
        }
        for worker in [&*queue, &*process, &*interval] {
            worker.stop();
        }
    }
}

#[test]
fn macros_define_tasks() {
    assert_eq!(thread(1, (2, 3)).join().unwrap(), 6);
    let task = process("ab", &[1]);
    assert_eq!((task.name(), task.wait().cloned().unwrap()), ("by a macro", Ok(3)));
    assert_eq!(owned(vec![1]).join().unwrap(), [1]);
    assert_eq!(Other::call(vec![1]), [1]);
    assert_eq!(whole_item(1).join().unwrap(), 1);
}

macro_rules! collections {
    ($($vis:vis $name:ident: $t:ty),*; $($f:ident in $c:path => $e:expr, $p:expr, $n:literal);*) => {
        collection!($($vis static $name: $t;)*);
        $(
            #[collect($c, priority = $p, name = $n)]
            fn $f() -> u32 { $e }
        )*
    };
}
collections! {
    pub FIRST: FunctionCollection<u32>, SECOND: FunctionCollection<u32>;
    one in FIRST => 1, "low", "one"; two in self::FIRST => 2, Priority::High, "two";
    three in crate::in_macros::SECOND => 3, -1, "three"
}

#[test]
fn macros_define_collections() {
    let names = |report: atasker::CollectionReport<u32>| {
        report.results.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert_eq!(names(FIRST.execute()), ["two", "one"]);
    assert_eq!(names(SECOND.execute()), ["three"]);
}

macro_rules! waits {
    ($wait:ident: $($task:expr),* $(; $key:ident = $value:expr)?) => {
        $wait!($($task),* $(, $key = $value)?)
    };
}

#[test]
fn macros_wait_for_tasks() {
    let task = || background!(double(1));
    let limit = Duration::from_secs(60);
    assert_eq!(waits!(wait_completed: task(), task()).unwrap(), (2, 2));
    assert_eq!(waits!(wait_completed: task(), &task(); timeout = limit).unwrap(), (2, &2));
    assert_eq!(waits!(wait_settled: task()).unwrap(), 2);
    let any: Result<(usize, u32), WaitError> = waits!(wait_any: [task()]; timeout = limit);
    assert_eq!(any.unwrap(), (0, 2));
}
