//! Does the runner of a node run calls as the protocol expects it: in real worker processes, which
//! are copies of this test program, and on threads?

use std::fmt;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::commands::Commands;
use super::ended::Ended;
use super::runner::NodeRunner;
use crate::cluster::door::{
    CallHead, FunctionKey, NewRun, RetryPause, RunEnd, RunEvents, RunHandle, Runner,
};
use crate::error::TaskError;
use crate::id::TaskId;
use crate::info::TaskType;
use crate::remote::functions::{Call, FUNCTIONS, Function, RemoteFunction};
use crate::remote::returned::add_is_err;
use crate::task::endpoint::Codec;
use crate::{MpPoolConfig, PoolConfig, Priority, StopOptions, Supervisor, TaskContext};

/// Longer than the system may delay a process that starts or ends.
const LONG: Duration = Duration::from_secs(120);

type Bytes = Vec<u8>;

fn bytes() -> Codec<Bytes> {
    Codec { encode: |bytes| Ok(bytes.clone()), decode: |bytes| Ok(bytes.to_vec()) }
}

/// A remote function of arguments, messages and results that are bytes, as the attribute would expand
/// it.
macro_rules! function {
    ($name:ident, |$ctx:ident, $args:ident| $body:expr) => {
        #[linkme::distributed_slice(FUNCTIONS)]
        static $name: Function = Function {
            name: stringify!($name),
            file: file!(),
            line: line!(),
            column: column!(),
            signature: 7,
            remote: Some(RemoteFunction { types: "", version: 0 }),
            call: |call: &mut Call<'_>| {
                #[allow(unused_variables)]
                let $ctx: TaskContext<Bytes, Bytes> = call.context((bytes(), bytes()));
                #[allow(unused_variables)]
                let $args: &[u8] = call.args();
                let run = || -> Result<Bytes, Bytes> { $body };
                let result = run();
                let is_err = result.is_err();
                let (Ok(result) | Err(result)) = result;
                call.reply_mut().rest_mut().extend_from_slice(&result);
                add_is_err(is_err, call.reply_mut());
                Ok(())
            },
        };
    };
}

function!(ECHO, |_ctx, args| Ok(args.to_vec()));
function!(FAILS, |_ctx, args| Err(args.to_vec()));
function!(PANICS, |_ctx, args| panic!("{}", String::from_utf8_lossy(args)));
function!(ABORTS, |_ctx, _args| std::process::abort());
function!(SPINS, |ctx, _args| {
    ctx.send(b"begun".to_vec()).unwrap();
    loop {
        std::thread::sleep(Duration::from_millis(1));
    }
});
function!(UNTIL_STOP, |ctx, _args| {
    ctx.send(b"begun".to_vec()).unwrap();
    while !ctx.wait_stop(LONG) {}
    Ok(b"stopped".to_vec())
});
// Receives as many messages as the argument says, answers each, and then waits for a stop.
function!(RECEIVES, |ctx, args| {
    for _ in 0..args[0] {
        let message = ctx.recv().unwrap();
        ctx.send(message).unwrap();
    }
    if args[1] == 1 {
        std::process::abort();
    }
    while !ctx.wait_stop(LONG) {}
    Ok(vec![])
});
function!(FLOODS, |ctx, args| {
    for n in 0..2_000u32 {
        if ctx.send(n.to_le_bytes().to_vec()).is_err() {
            return Ok(format!("refused after {n}").into());
        }
    }
    Ok(b"all sent".to_vec())
});
function!(PROGRESSES, |ctx, _args| {
    ctx.progress(3, 10);
    ctx.message("three");
    ctx.recv().unwrap();
    ctx.progress(10, 10);
    Ok(vec![])
});
function!(IDENTITY, |ctx, _args| {
    let current = crate::current().map(|task| task.id());
    let text =
        format!("{} {:?} {} {}", ctx.id(), current == Some(ctx.id()), ctx.attempt(), ctx.name());
    Ok(text.into())
});

/// What a run has told, and a way to wait for it.
#[derive(Default)]
struct Told {
    events: Mutex<Vec<Event>>,
    changed: Condvar,
}

#[derive(Clone, Debug)]
enum Event {
    Begun(u32),
    Progress(u64, u64),
    Text(String),
    Message(Bytes),
    Taken(usize),
    Ended(RunEnd, Option<Duration>),
    Room,
}

impl Told {
    fn push(&self, event: Event) {
        self.events.lock().unwrap().push(event);
        self.changed.notify_all();
    }

    /// Waits until `found` returns something.
    fn wait<T>(&self, mut found: impl FnMut(&[Event]) -> Option<T>) -> T {
        let until = Instant::now() + LONG;
        let mut events = self.events.lock().unwrap();
        loop {
            if let Some(found) = found(&events) {
                return found;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "this has not happened in {LONG:?}: {events:?}");
            events = self.changed.wait_timeout(events, left).unwrap().0;
        }
    }

    fn end(&self) -> RunEnd {
        self.wait(|events| {
            events.iter().find_map(|event| match event {
                Event::Ended(end, _) => Some(end.clone()),
                _ => None,
            })
        })
    }

    fn error(&self) -> TaskError {
        match self.end() {
            RunEnd::Failed(error) => error,
            other => panic!("{other:?}"),
        }
    }

    fn result(&self) -> Bytes {
        match self.end() {
            RunEnd::Returned { result, is_err: false } => result,
            other => panic!("{other:?}"),
        }
    }

    fn messages(&self) -> Vec<Bytes> {
        let message = |event: &Event| match event {
            Event::Message(message) => Some(message.clone()),
            _ => None,
        };
        self.events.lock().unwrap().iter().filter_map(message).collect()
    }

    fn wait_for_messages(&self, count: usize) {
        self.wait(|events| {
            let messages = events.iter().filter(|event| matches!(event, Event::Message(_)));
            (messages.count() >= count).then_some(())
        });
    }

    fn taken(&self) -> usize {
        let taken = |event: &Event| match event {
            Event::Taken(count) => *count,
            _ => 0,
        };
        self.events.lock().unwrap().iter().map(taken).sum()
    }

    fn wait_for_room(&self) {
        self.wait(|events| events.iter().any(|event| matches!(event, Event::Room)).then_some(()));
    }

    fn has_ended(&self) -> bool {
        self.events.lock().unwrap().iter().any(|event| matches!(event, Event::Ended(..)))
    }
}

impl RunEvents for Told {
    fn begun(&self, pid: u32) {
        self.push(Event::Begun(pid));
    }

    fn progress(&self, done: u64, total: u64) {
        self.push(Event::Progress(done, total));
    }

    fn text(&self, text: String) {
        self.push(Event::Text(text));
    }

    fn message(&self, message: Arc<[u8]>) {
        self.push(Event::Message(message.to_vec()));
    }

    fn taken(&self, count: usize) {
        self.push(Event::Taken(count));
    }

    fn ended(&self, end: RunEnd, ran_for: Option<Duration>) {
        self.push(Event::Ended(end, ran_for));
    }

    fn room_changed(&self) {
        self.push(Event::Room);
    }
}

struct Node {
    sup: Supervisor,
    runner: Arc<NodeRunner>,
    tt: TaskType,
}

impl Node {
    fn new(tt: TaskType, sup: Supervisor) -> Node {
        let commands = Commands::start("test").unwrap();
        let runner = NodeRunner::new(sup.clone(), tt, commands, Ended::new().1);
        Node { sup, runner, tt }
    }

    fn processes(config: MpPoolConfig) -> Node {
        Node::new(TaskType::Mp, Supervisor::builder().id("node").mp_pool(config).build())
    }

    fn threads(config: PoolConfig) -> Node {
        Node::new(TaskType::Thread, Supervisor::builder().id("node").thread_pool(config).build())
    }

    /// One with processes and one with threads.
    fn both() -> [Node; 2] {
        [Node::processes(MpPoolConfig::new(1)), Node::threads(PoolConfig::new(1))]
    }

    fn run(&self, new: NewRun) -> (Arc<Told>, Box<dyn RunHandle>) {
        let told = Arc::<Told>::default();
        let handle = self.runner.run(new, told.clone());
        (told, handle)
    }

    fn rooms(&self) -> [usize; 4] {
        [Priority::Low, Priority::Normal, Priority::High, Priority::Critical]
            .map(|priority| self.runner.room(priority).min(99))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.sup.stop(StopOptions::new().wait(Duration::ZERO));
    }
}

fn call(function: &Function, args: &[u8]) -> NewRun {
    let (origin, number) = TaskId::next().to_parts();
    let head = CallHead {
        id: TaskId::from_parts(!origin, number),
        name: function.name.to_owned(),
        function: FunctionKey { name: function.name.to_owned(), signature: function.signature },
        queue: "default".into(),
        priority: Priority::Normal,
        timeout: None,
        retries: 9,
        retry: RetryPause::Fixed(Duration::ZERO),
        redeliver: 2,
        expires: None,
        unique: None,
        types: String::new(),
        has_channels: true,
        trace: None,
    };
    NewRun { head: Arc::new(head), args: args.to_vec(), attempt: 1 }
}

fn with(mut new: NewRun, change: impl FnOnce(&mut CallHead)) -> NewRun {
    change(Arc::make_mut(&mut new.head));
    new
}

fn message(text: &str) -> Arc<[u8]> {
    text.as_bytes().into()
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a node with {:?}", self.tt)
    }
}

#[test]
fn result_is_told_without_its_flag() {
    for node in Node::both() {
        for args in [&b""[..], b"short", &vec![7; 3 << 20]] {
            let (told, _) = node.run(call(&ECHO, args));
            assert_eq!(told.result(), args, "{node:?}");
            let (told, _) = node.run(with(call(&FAILS, args), |head| head.has_channels = false));
            let RunEnd::Returned { result, is_err: true } = told.end() else { panic!() };
            assert_eq!(result, args, "{node:?}");
        }
    }
}

#[test]
fn end_says_how_long_the_function_ran() {
    let ran_for = |told: &Told| {
        told.wait(|events| {
            events.iter().find_map(|event| match event {
                Event::Ended(_, ran_for) => Some(*ran_for),
                _ => None,
            })
        })
    };
    for node in Node::both() {
        let began = Instant::now();
        let (first, first_handle) = node.run(call(&UNTIL_STOP, b""));
        first.wait_for_messages(1);
        let (waiting, handle) = node.run(call(&ECHO, b""));
        handle.stop();
        assert_eq!(ran_for(&waiting), None, "{node:?}");
        assert!(waiting.error().is_canceled());
        first_handle.stop();
        let took = ran_for(&first).unwrap();
        assert!(!took.is_zero() && took <= began.elapsed(), "{node:?}");
    }
}

#[test]
fn panic_is_an_error_and_is_not_repeated() {
    for node in Node::both() {
        let (told, _) = node.run(call(&PANICS, b"oh no"));
        assert!(told.error().to_string().contains("oh no"), "{node:?}");
        assert_eq!(node.sup.tasks().len(), 0);
    }
}

#[test]
fn crash_costs_one_call() {
    let node = Node::processes(MpPoolConfig::new(1));
    let (crashed, _) = node.run(call(&ABORTS, b""));
    let (next, _) = node.run(call(&ECHO, b"x"));
    assert!(crashed.error().is_worker_died());
    assert_eq!(next.result(), b"x");
}

#[test]
fn missing_function_is_an_error() {
    let node = Node::threads(PoolConfig::new(1));
    let unknown = with(call(&ECHO, b""), |head| head.function.signature = 8);
    assert!(node.runner.has(&call(&ECHO, b"").head.function));
    assert!(!node.runner.has(&unknown.head.function));
    let (told, handle) = node.run(unknown);
    assert!(told.error().to_string().contains("`ECHO`"));
    assert!(!handle.revoke());
}

#[test]
fn run_has_the_identity_of_its_call() {
    for node in Node::both() {
        let mut new = with(call(&IDENTITY, b""), |head| head.name = "my own name".into());
        new.attempt = 3;
        let id = new.head.id;
        let (told, _) = node.run(new);
        let expected = format!("{id} true 3 my own name");
        assert_eq!(String::from_utf8(told.result()).unwrap(), expected, "{node:?}");

        let new = with(call(&UNTIL_STOP, b""), |head| head.priority = Priority::High);
        let id = new.head.id;
        let (told, handle) = node.run(new);
        told.wait_for_messages(1);
        let info = node.sup.task(id).unwrap().info();
        assert_eq!((info.id, &*info.name, info.priority), (id, "UNTIL_STOP", Priority::High));
        assert_eq!(info.tt, node.tt);
        assert_eq!(node.sup.tasks().iter().map(|info| info.id).collect::<Vec<_>>(), [id]);
        handle.stop();
        assert_eq!(told.result(), b"stopped");
        assert!(node.sup.task(id).is_none());
    }
}

#[test]
fn begin_is_told_with_the_process() {
    for node in Node::both() {
        let (told, handle) = node.run(call(&UNTIL_STOP, b""));
        let pid = told.wait(|events| {
            events.iter().find_map(|event| match event {
                Event::Begun(pid) => Some(*pid),
                _ => None,
            })
        });
        match node.tt {
            TaskType::Thread => assert_eq!(pid, std::process::id()),
            _ => assert_eq!(pid, node.sup.info().mp_pool.unwrap().workers[0].pid),
        }
        handle.stop();
        told.result();
    }
}

#[test]
fn kill_ends_the_worker_process_and_is_refused_for_threads() {
    let node = Node::processes(MpPoolConfig::new(1));
    let (told, handle) = node.run(call(&SPINS, b""));
    told.wait_for_messages(1);
    assert!(handle.kill());
    assert!(told.error().is_canceled());
    let node = Node::threads(PoolConfig::new(1));
    let (told, handle) = node.run(call(&UNTIL_STOP, b""));
    told.wait_for_messages(1);
    assert!(!handle.kill());
    // One that has not begun can be ended.
    let (waiting, waits) = node.run(call(&ECHO, b""));
    assert!(waits.kill());
    assert!(waiting.error().is_canceled());
    handle.stop();
    told.result();
}

#[test]
fn time_limit_is_that_of_the_call() {
    for node in Node::both() {
        let limit = Duration::from_millis(300);
        let new = with(call(&UNTIL_STOP, b""), |head| head.timeout = Some(limit));
        let (told, _) = node.run(new);
        assert_eq!(told.error(), TaskError::TimedOut { limit }, "{node:?}");
    }
}

#[test]
fn a_thread_keeps_its_slot_until_the_function_returns() {
    let node = Node::threads(PoolConfig::new(1));
    let limit = Duration::from_millis(50);
    let new = with(call(&RECEIVES, &[1, 0]), |head| head.timeout = Some(limit));
    let (told, _) = node.run(new);
    // A time limit ends a `recv`, and the function panics then.
    told.wait_for_room();
    assert!(told.error().is_timeout());
    assert_eq!(node.rooms()[1], 1);
    let (release, stuck) = std::sync::mpsc::channel::<()>();
    *STUCK.lock().unwrap() = Some(stuck);
    let (told, _) = node.run(with(call(&STICKS, b""), |head| head.timeout = Some(limit)));
    assert!(told.error().is_timeout());
    assert_eq!(node.rooms()[1], 0);
    release.send(()).unwrap();
    told.wait_for_room();
    assert_eq!(node.rooms()[1], 1);
}

static STUCK: Mutex<Option<std::sync::mpsc::Receiver<()>>> = Mutex::new(None);
function!(STICKS, |_ctx, _args| {
    let stuck = STUCK.lock().unwrap().take().unwrap();
    stuck.recv().unwrap();
    Ok(vec![])
});

#[test]
fn room_follows_the_rule_of_the_pool() {
    let node = Node::threads(PoolConfig::new(1).reserve_normal(1).reserve_high(1));
    assert_eq!(node.rooms(), [1, 2, 3, 99]);
    let (low, low_handle) = node.run(with(call(&UNTIL_STOP, b""), |h| h.priority = Priority::Low));
    assert_eq!(node.rooms(), [0, 1, 2, 99]);
    let critical = with(call(&UNTIL_STOP, b""), |head| head.priority = Priority::Critical);
    let (critical, critical_handle) = node.run(critical);
    assert_eq!(node.rooms(), [0, 1, 2, 99]);
    node.sup.set_thread_pool(PoolConfig::new(5));
    assert_eq!(node.rooms(), [4, 4, 4, 99]);
    [&low, &critical].iter().for_each(|told| told.wait_for_messages(1));
    low_handle.stop();
    critical_handle.stop();
    [&low, &critical].iter().for_each(|told| told.wait_for_room());
    assert_eq!(node.rooms(), [5, 5, 5, 99]);
    node.sup.stop(StopOptions::new());
    assert_eq!(node.rooms(), [0; 4]);

    let node = Node::processes(MpPoolConfig::new(1).reserve_high(1).critical_extra(2));
    assert_eq!(node.rooms(), [1, 1, 2, 4]);
    let node = Node::processes(MpPoolConfig::unlimited());
    assert_eq!(node.rooms(), [99; 4]);
}

#[test]
fn revoked_run_never_begins_and_is_not_told_of() {
    for node in Node::both() {
        let (first, first_handle) = node.run(call(&UNTIL_STOP, b""));
        first.wait_for_messages(1);
        assert!(!first_handle.revoke());
        let (waiting, handle) = node.run(call(&ABORTS, b""));
        assert_eq!(node.rooms()[1], 0);
        assert!(handle.revoke());
        assert!(!handle.revoke(), "only once");
        first_handle.stop();
        assert_eq!(first.result(), b"stopped");
        assert!(!first_handle.revoke());
        first.wait_for_room();
        assert_eq!(node.rooms()[1], 1);
        let (next, _) = node.run(call(&ECHO, b"y"));
        assert_eq!(next.result(), b"y");
        assert!(!waiting.has_ended(), "{node:?}");
    }
}

#[test]
fn revocation_meets_the_begin() {
    let node = Node::threads(PoolConfig::new(2));
    let mut revoked = 0;
    for _ in 0..500 {
        let (told, handle) = node.run(call(&ECHO, b"z"));
        if handle.revoke() {
            revoked += 1;
            assert!(!told.has_ended());
        } else {
            assert_eq!(told.result(), b"z");
        }
    }
    assert_eq!(node.sup.info().thread_pool.tasks_run, 500 - revoked);
}

#[test]
fn messages_pass_in_order_and_are_acknowledged() {
    for node in Node::both() {
        let (told, handle) = node.run(call(&RECEIVES, &[3, 0]));
        for text in ["a", "b", "c", "left"] {
            handle.message(message(text));
        }
        told.wait_for_messages(3);
        handle.stop();
        told.result();
        assert_eq!(told.messages(), [b"a", b"b", b"c"], "{node:?}");
        assert_eq!(told.taken(), 3, "{node:?}");
    }
}

#[test]
fn messages_that_a_crashed_run_has_taken_are_known() {
    let node = Node::processes(MpPoolConfig::new(1));
    let (told, handle) = node.run(call(&RECEIVES, &[2, 1]));
    ["a", "b", "c"].iter().for_each(|text| handle.message(message(text)));
    assert!(told.error().is_worker_died());
    assert_eq!(told.taken(), 2);
    assert_eq!(told.messages(), [b"a", b"b"]);
}

#[test]
fn at_most_a_channel_of_messages_is_under_way() {
    for node in Node::both() {
        let (told, handle) = node.run(call(&FLOODS, b""));
        told.wait_for_messages(1024);
        assert!(!told.has_ended() && told.messages().len() == 1024, "{node:?}");
        handle.taken(1024);
        assert_eq!(told.result(), b"all sent");
        let numbers: Vec<Bytes> = (0..2_000u32).map(|n| n.to_le_bytes().to_vec()).collect();
        assert!(told.messages() == numbers, "{node:?}");
    }
}

#[test]
fn messages_without_a_receiver_are_refused() {
    for node in Node::both() {
        let (told, handle) = node.run(call(&FLOODS, b""));
        told.wait_for_messages(1024);
        handle.has_receiver(false);
        let result = String::from_utf8(told.result()).unwrap();
        assert!(result.starts_with("refused after 102"), "{result}: {node:?}");
    }
}

#[test]
fn progress_is_told_while_the_run_lasts_and_at_its_end() {
    for node in Node::both() {
        let (told, handle) = node.run(call(&PROGRESSES, b""));
        told.wait(|events| {
            let numbers = events.iter().any(|event| matches!(event, Event::Progress(3, 10)));
            let text = events.iter().any(|event| matches!(event, Event::Text(t) if t == "three"));
            (numbers && text).then_some(())
        });
        handle.message(message("go on"));
        told.result();
        let events = told.events.lock().unwrap();
        assert!(events.iter().any(|event| matches!(event, Event::Progress(10, 10))), "{node:?}");
    }
}

#[test]
fn runs_of_a_stopped_supervisor_end_with_its_stop() {
    for node in Node::both() {
        // It doesn't look at the request to stop: one that did could still return before the stop ends it.
        let (told, _) = node.run(call(&SPINS, b""));
        told.wait_for_messages(1);
        node.sup.stop(StopOptions::new().wait(Duration::ZERO));
        assert_eq!(told.error(), TaskError::SupervisorStopped);
        let (told, _) = node.run(call(&ECHO, b""));
        assert_eq!(told.error(), TaskError::SupervisorStopped);
    }
}

#[test]
fn observed_launches_are_left_to_the_thread_of_the_node() {
    struct Nothing(std::sync::mpsc::Sender<String>);
    impl crate::Observer for Nothing {
        fn launched(&self, _: &crate::TaskEvent<'_>) {
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            self.0.send(name).unwrap();
        }
    }
    for node in Node::both() {
        let (sender, threads) = std::sync::mpsc::channel();
        let _guard = node.sup.observe(Nothing(sender));
        let (told, _) = node.run(call(&ECHO, b"seen"));
        assert_eq!(told.result(), b"seen");
        assert_eq!(threads.recv().unwrap(), "atasker node test");
    }
}

#[test]
fn nothing_is_left_of_a_run_that_is_over() {
    for node in Node::both() {
        let (told, handle) = node.run(call(&RECEIVES, &[1, 0]));
        handle.message(message("a"));
        told.wait_for_messages(1);
        handle.stop();
        told.result();
        told.wait_for_room();
        drop(handle);
        let until = Instant::now() + LONG;
        // The thread that has told it drops what it holds a moment later.
        while Arc::strong_count(&told) > 1 && Instant::now() < until {
            std::thread::yield_now();
        }
        assert_eq!(Arc::strong_count(&told), 1, "{node:?}");
    }
}
