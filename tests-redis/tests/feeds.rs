//! Do tasks receive elements from Redis, whatever happens to the server?

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::thread::{self, JoinHandle};

use atasker::compat::{redis_brpop, redis_pubsub};
use atasker::{Supervisor, Task, TaskBuilder, TaskContext, TaskError, TaskRef};
use atasker_tests::{FAR, Gate, Watchdog, eventually, pool};
use atasker_tests_redis::{Server, free_port};
use redis::{FromRedisValue, ParsingError, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

const KEY: &str = "jobs";

/// Collects messages until one is "end", or until a stop is requested.
fn gathers<I>(sup: &Supervisor) -> Task<Vec<I>, I, usize>
where
    I: FromRedisValue + AsRef<[u8]> + Send + 'static,
{
    TaskBuilder::with_context(|ctx: &TaskContext<I, usize>| {
        let mut all = Vec::new();
        while let Ok(message) = ctx.recv() {
            if message.as_ref() == b"end" {
                break;
            }
            all.push(message);
        }
        all
    })
    .supervisor(sup)
    .start()
}

type Feeder<R, I, O> = fn(Task<R, I, O>, &str, &str) -> Result<R, TaskError>;
type Texts = Vec<String>;

/// Runs the controller on another thread, with a reference to the task.
fn feed<R, I, O>(
    feeder: Feeder<R, I, O>,
    task: Task<R, I, O>,
    url: String,
) -> (JoinHandle<Result<R, TaskError>>, TaskRef)
where
    R: Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    let found = task.to_ref();
    (thread::spawn(move || feeder(task, &url, KEY)), found)
}

/// The events at INFO and above that the closure's thread logs.
fn logged<T>(f: impl FnOnce() -> T) -> (T, Vec<(Level, String)>) {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<(Level, String)>>>);
    struct Text(String);
    impl Visit for Text {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            write!(self.0, "{}={value:?} ", field.name()).unwrap();
        }
    }
    impl<S: Subscriber> Layer<S> for Lines {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            if event.metadata().target() == "atasker" {
                let mut text = Text(String::new());
                event.record(&mut text);
                self.0.lock().unwrap().push((*event.metadata().level(), text.0));
            }
        }
    }
    let lines = Lines::default();
    let subscriber = tracing_subscriber::registry().with(lines.clone());
    let result = tracing::subscriber::with_default(subscriber, f);
    let lines = std::mem::take(&mut *lines.0.lock().unwrap());
    (result, lines)
}

/// The only line at ERROR.
fn error(lines: &[(Level, String)]) -> &str {
    let errors: Vec<&String> =
        lines.iter().filter(|(level, _)| *level == Level::ERROR).map(|(_, text)| text).collect();
    assert_eq!(errors.len(), 1, "{lines:?}");
    errors[0]
}

#[test]
fn list_elements_arrive_in_order() {
    let _dog = Watchdog::new("a list", FAR);
    let server = Server::start();
    // Existing elements, elements pushed during the wait, and one that is not UTF-8.
    server.ask::<()>(&["LPUSH", KEY, "a", "b"]);
    let (feeder, _) = feed(redis_brpop, gathers::<Vec<u8>>(&pool(1)), server.url());
    eventually(|| server.blocked() == 1);
    server.ask::<()>(&["LPUSH", KEY, "c"]);
    let bytes = redis::cmd("LPUSH").arg(KEY).arg(&[0_u8, 255]).arg("end").clone();
    bytes.exec(&mut redis::Client::open(server.url()).unwrap().get_connection().unwrap()).unwrap();
    let wanted = [&b"a"[..], b"b", b"c", &[0, 255]];
    assert_eq!(feeder.join().unwrap().unwrap(), wanted);
}

#[test]
fn channel_messages_arrive_in_order() {
    let _dog = Watchdog::new("a channel", FAR);
    let server = Server::start();
    let (feeder, _) = feed(redis_pubsub, gathers::<String>(&pool(1)), server.url());
    eventually(|| server.listeners(KEY) == 1);
    for n in 0..1000 {
        server.ask::<()>(&["PUBLISH", KEY, &n.to_string()]);
    }
    server.ask::<()>(&["PUBLISH", KEY, "end"]);
    let wanted: Texts = (0..1000).map(|n| n.to_string()).collect();
    assert_eq!(feeder.join().unwrap().unwrap(), wanted);
}

#[test]
fn invalid_numbers_are_skipped() {
    let _dog = Watchdog::new("numbers", FAR);
    let server = Server::start();
    server.ask::<()>(&["LPUSH", KEY, "1", "two", "3"]);
    let sup = pool(1);
    let adds = TaskBuilder::<i64>::with_context(|ctx: &TaskContext<i64>| {
        ctx.recv().unwrap() * 10 + ctx.recv().unwrap()
    });
    let task = adds.supervisor(&sup).start();
    let (sum, lines) = logged(|| redis_brpop(task, &server.url(), KEY));
    assert_eq!(sum.unwrap(), 13);
    assert_eq!(lines.len(), 1, "{lines:?}");
    let (level, text) = &lines[0];
    assert_eq!(*level, Level::WARN);
    assert!(text.contains("skipped: it can't be converted to `i64`"), "{text}");
}

#[test]
fn task_ends_while_no_element_arrives() {
    for (feeder, channel) in [(redis_brpop as Feeder<u32, String, ()>, false), (redis_pubsub, true)]
    {
        let _dog = Watchdog::new("an end while no element arrives", FAR);
        let server = Server::start();
        let (go, gate) = mpsc::channel();
        let task =
            TaskBuilder::<u32>::with_context(move |_: &TaskContext<String>| gate.recv().unwrap());
        let (feeder, _) = feed(feeder, task.supervisor(&pool(1)).start(), server.url());
        eventually(|| if channel { server.listeners(KEY) == 1 } else { server.blocked() == 1 });
        go.send(7).unwrap();
        assert_eq!(feeder.join().unwrap(), Ok(7));
        eventually(|| server.blocked() + server.listeners(KEY) == 0);
    }
}

#[test]
fn task_is_stopped_from_outside() {
    for feeder in [redis_brpop as Feeder<Texts, String, usize>, redis_pubsub] {
        let _dog = Watchdog::new("a stop from outside", FAR);
        let server = Server::start();
        let (feeder, task) = feed(feeder, gathers(&pool(1)), server.url());
        eventually(|| server.blocked() + server.listeners(KEY) == 1);
        task.stop();
        assert_eq!(feeder.join().unwrap(), Ok(Vec::new()));
    }
}

#[test]
fn task_has_ended_or_fails() {
    let _dog = Watchdog::new("tasks that end", FAR);
    let server = Server::start();
    let sup = pool(1);
    server.ask::<()>(&["LPUSH", KEY, "boom", "next"]);
    let task = gathers::<String>(&sup);
    task.stop();
    let ended = task.to_ref();
    eventually(|| ended.is_completed());
    assert!(redis_brpop(task, &server.url(), KEY).is_ok_and(|all| all.is_empty()));
    assert_eq!(server.ask::<u32>(&["LLEN", KEY]), 2);
    // A panic is its outcome.
    let panics = TaskBuilder::<()>::with_context(|ctx: &TaskContext<String>| {
        panic!("{}", ctx.recv().unwrap())
    });
    let error = redis_brpop(panics.supervisor(&sup).start(), &server.url(), KEY).unwrap_err();
    assert!(error.to_string().contains("boom"), "{error}");
}

/// Each element was passed to a task or is still in the list, in any interleaving of ends and
/// pushes.
#[test]
fn task_end_loses_no_element() {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    struct Counted;
    impl FromRedisValue for Counted {
        fn from_redis_value(_: Value) -> Result<Self, ParsingError> {
            GIVEN.fetch_add(1, Ordering::Relaxed);
            Ok(Counted)
        }
    }
    let _dog = Watchdog::new("ends while elements arrive", FAR);
    let server = Server::start();
    let sup = pool(2);
    let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    for round in 0..30 {
        let (go, gate) = mpsc::channel::<()>();
        let task = TaskBuilder::<()>::with_context(move |_: &TaskContext<Counted>| {
            gate.recv().unwrap();
        });
        let (feeder, _) = feed(redis_brpop, task.supervisor(&sup).start(), server.url());
        eventually(|| server.blocked() == 1);
        let ends = thread::spawn(move || go.send(()).unwrap());
        // A little later each time.
        for _ in 0..round * 500 {
            std::hint::spin_loop();
        }
        redis::cmd("LPUSH").arg(KEY).arg(round).exec(&mut connection).unwrap();
        ends.join().unwrap();
        feeder.join().unwrap().unwrap();
        let left: u32 = redis::cmd("DEL").arg(KEY).query(&mut connection).unwrap();
        // An element that was delivered but not received is back in the list.
        let given = GIVEN.swap(0, Ordering::Relaxed);
        assert!(given <= 1 && left <= 1 && given + left >= 1, "{round}: {given} {left}");
    }
}

#[test]
fn element_taken_at_task_end_is_put_back() {
    let _dog = Watchdog::new("an element at the end", FAR);
    let server = Server::start();
    let (go, gate) = mpsc::channel();
    let task =
        TaskBuilder::<u32>::with_context(move |_: &TaskContext<String>| gate.recv().unwrap());
    let (feeder, task) = feed(redis_brpop, task.supervisor(&pool(1)).start(), server.url());
    eventually(|| server.blocked() == 1);
    let mut pusher = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    // The server processes the push before the request to end the wait.
    server.freeze();
    pusher.write_all(b"LPUSH jobs late\r\n").unwrap();
    go.send(7).unwrap();
    eventually(|| task.is_completed());
    server.thaw();
    assert_eq!(feeder.join().unwrap(), Ok(7));
    assert_eq!(server.ask::<Texts>(&["LRANGE", KEY, "0", "-1"]), ["late"]);
}

#[test]
fn element_in_transit_at_task_end_is_put_back() {
    static HELD: LazyLock<(Gate, Gate)> = LazyLock::new(Default::default);
    struct Slow;
    impl FromRedisValue for Slow {
        fn from_redis_value(_: Value) -> Result<Self, ParsingError> {
            HELD.0.open();
            HELD.1.wait();
            Ok(Slow)
        }
    }
    let _dog = Watchdog::new("an element in hand", FAR);
    let server = Server::start();
    server.ask::<()>(&["LPUSH", KEY, "old", "new"]);
    let task = TaskBuilder::<u32>::with_context(|_: &TaskContext<Slow>| {
        HELD.0.wait();
        7
    });
    let (feeder, task) = feed(redis_brpop, task.supervisor(&pool(1)).start(), server.url());
    eventually(|| task.is_completed());
    HELD.1.open();
    assert_eq!(feeder.join().unwrap(), Ok(7));
    assert_eq!(server.ask::<Texts>(&["LRANGE", KEY, "0", "-1"]), ["new", "old"]);
}

#[test]
fn unreceived_element_is_put_back() {
    let _dog = Watchdog::new("a task without messages", FAR);
    let server = Server::start();
    server.ask::<()>(&["LPUSH", KEY, "first", "second"]);
    let sup = pool(1);
    let task: Task<bool> = TaskBuilder::new(|| true).supervisor(&sup).start();
    let (gate, waits) = mpsc::channel::<()>();
    let holds = sup.spawn(move || waits.recv().is_err());
    let silent: Task<bool> = sup.spawn(|| true);
    assert_eq!(task.join(), Ok(true));
    // Stopped before it has begun: canceled.
    let (outcome, lines) = logged(|| redis_brpop(silent, &server.url(), KEY));
    assert_eq!(outcome, Err(TaskError::Canceled));
    assert!(error(&lines).contains("the task doesn't accept messages"), "{lines:?}");
    assert_eq!(server.ask::<Texts>(&["LRANGE", KEY, "0", "-1"]), ["second", "first"]);
    drop(gate);
    assert_eq!(holds.join(), Ok(true));
}

#[test]
fn lost_connection_is_reestablished() {
    for (feeder, give) in
        [(redis_brpop as Feeder<Texts, String, usize>, "LPUSH"), (redis_pubsub, "PUBLISH")]
    {
        let _dog = Watchdog::new("a connection lost and back", FAR);
        let mut server = Server::start();
        let (feeder, _) = feed(feeder, gathers(&pool(1)), server.url());
        let ready = |server: &Server| server.blocked() + server.listeners(KEY) == 1;
        for round in ["one", "two", "three"] {
            eventually(|| ready(&server));
            server.ask::<()>(&[give, KEY, round]);
            // Wait until the controller blocks again. A list is empty then; for a channel this
            // cannot be observed.
            eventually(|| server.ask::<u32>(&["EXISTS", KEY]) == 0 && ready(&server));
            server.restart();
        }
        eventually(|| ready(&server));
        server.ask::<()>(&[give, KEY, "end"]);
        let got = feeder.join().unwrap().unwrap();
        assert_eq!(got, ["one", "two", "three"], "{give}");
    }
}

#[test]
fn task_ends_while_server_is_down() {
    let _dog = Watchdog::new("an end while the server is down", FAR);
    let mut server = Server::start();
    let (feeder, task) = feed(redis_brpop, gathers::<String>(&pool(1)), server.url());
    eventually(|| server.blocked() == 1);
    server.kill();
    task.stop();
    assert_eq!(feeder.join().unwrap(), Ok(Vec::new()));
}

#[test]
fn missing_server_is_an_error() {
    let sup = pool(1);
    for feeder in [redis_brpop as Feeder<Texts, String, usize>, redis_pubsub] {
        let port = free_port();
        let url = format!("redis://me:secret@127.0.0.1:{port}/1");
        let task = gathers(&sup);
        let begun = task.to_ref();
        eventually(|| begun.info().time_started.is_some());
        let (result, lines) = logged(|| feeder(task, &url, KEY));
        // The task was stopped and returns its result.
        assert_eq!(result, Ok(Vec::new()));
        let text = error(&lines);
        assert!(text.contains(&format!("redis://***@127.0.0.1:{port}/1")), "{text}");
        assert!(!format!("{lines:?}").contains("secret"), "{lines:?}");
    }
}

#[test]
fn invalid_urls_are_errors() {
    let sup = pool(1);
    for (url, shown) in [
        ("http://me:secret@localhost/", "http://***@localhost/"),
        ("me:secret@localhost", "***@localhost"),
        ("redis://:secret@127.0.0.1/no-number", "redis://***@127.0.0.1/no-number"),
        ("", "from  and"),
    ] {
        let task = gathers::<String>(&sup);
        let begun = task.to_ref();
        eventually(|| begun.info().time_started.is_some());
        let (result, lines) = logged(|| redis_brpop(task, url, KEY));
        assert_eq!(result, Ok(Vec::new()));
        assert!(error(&lines).contains(shown), "{url}: {lines:?}");
        assert!(!format!("{lines:?}").contains("secret"), "{lines:?}");
    }
}

#[test]
fn passwords_are_checked() {
    let _dog = Watchdog::new("passwords", FAR);
    let server = Server::with_password(Some("secret"));
    server.ask::<()>(&["LPUSH", KEY, "a", "end"]);
    let sup = pool(1);
    assert_eq!(redis_brpop(gathers::<String>(&sup), &server.url(), KEY), Ok(vec!["a".into()]));
    for url in [server.url().replace("secret", "guess"), server.url().replace(":secret@", "")] {
        let task = gathers::<String>(&sup);
        let begun = task.to_ref();
        eventually(|| begun.info().time_started.is_some());
        let (result, lines) = logged(|| redis_pubsub(task, &url, KEY));
        assert_eq!(result, Ok(Vec::new()));
        assert!(error(&lines).contains(&server.port().to_string()), "{lines:?}");
        assert!(!format!("{lines:?}").contains("guess"), "{lines:?}");
    }
}

#[test]
fn key_of_wrong_type_is_an_error() {
    let _dog = Watchdog::new("a wrong type", FAR);
    let server = Server::start();
    server.ask::<()>(&["SET", KEY, "text"]);
    let task = gathers::<String>(&pool(1));
    let begun = task.to_ref();
    eventually(|| begun.info().time_started.is_some());
    let (result, lines) = logged(|| redis_brpop(task, &server.url(), KEY));
    assert_eq!(result, Ok(Vec::new()));
    assert!(error(&lines).contains("WRONGTYPE"), "{lines:?}");
}

#[test]
fn controller_runs_inside_task_in_pool_of_one() {
    let _dog = Watchdog::new("a controller within a task", FAR);
    let server = Server::start();
    server.ask::<()>(&["LPUSH", KEY, "a", "end"]);
    let sup = pool(1);
    let (inner, url) = (sup.clone(), server.url());
    let outer = sup.spawn(move || redis_brpop(gathers::<String>(&inner), &url, KEY));
    assert_eq!(outer.join().unwrap(), Ok(vec!["a".to_owned()]));
}

#[test]
fn async_task_is_fed() {
    let _dog = Watchdog::new("a task on an aloop", FAR);
    let server = Server::start();
    server.ask::<()>(&["LPUSH", KEY, "1", "2"]);
    #[atasker::background_task]
    async fn adds(ctx: TaskContext<u32>) -> u32 {
        ctx.recv_async().await.unwrap() + ctx.recv_async().await.unwrap()
    }
    assert_eq!(redis_brpop(adds(), &server.url(), KEY), Ok(3));
    // A blocking controller panics there.
    let url = server.url();
    let sup = pool(1);
    let task = gathers::<String>(&sup);
    let misplaced = sup.spawn_async(async move { redis_brpop(task, &url, KEY) });
    let error = misplaced.join().unwrap_err().to_string();
    assert!(error.contains("use `.await` instead"), "{error}");
}

#[test]
fn slow_task_applies_backpressure() {
    const MANY: usize = 5000;
    let _dog = Watchdog::new("a slow task", FAR);
    let server = Server::start();
    let values: Texts = (0..MANY).map(|n| n.to_string()).collect();
    let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    redis::cmd("LPUSH").arg(KEY).arg(&values).exec(&mut connection).unwrap();
    let (go, gate) = mpsc::channel::<()>();
    let task = TaskBuilder::<Texts>::with_context(move |ctx: &TaskContext<String>| {
        gate.recv().unwrap();
        (0..MANY).map(|_| ctx.recv().unwrap()).collect()
    });
    let (feeder, _) = feed(redis_brpop, task.supervisor(&pool(1)).start(), server.url());
    // As many as the channel holds, and the one in transit.
    eventually(|| server.ask::<usize>(&["LLEN", KEY]) == MANY - 1025);
    go.send(()).unwrap();
    assert_eq!(feeder.join().unwrap().unwrap(), values);
}
