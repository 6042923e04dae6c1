//! Does `map!` in worker processes return the result of each item, in order, and which items fit
//! which functions?

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use atasker::{CodecStage, Overflow, Priority, StopOptions, TaskError, TaskType, background, map};
use atasker_tests::forks::fork;
use atasker_tests::mp::{self, occupy, pool_of, supervisor};
use atasker_tests::scratch::{Scratch, append_line};
use atasker_tests::{FAR, Watchdog, eventually};
use serde::{Deserialize, Serialize};

fn square(n: u64) -> u64 {
    n * n
}

fn length(text: &str) -> usize {
    text.len()
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte)).sum()
}

fn total(numbers: &[u32]) -> u32 {
    numbers.iter().sum()
}

fn parts(path: &Path) -> usize {
    path.components().count()
}

fn double(n: &u32) -> u32 {
    2 * n
}

fn repeat((text, count): (String, usize)) -> Vec<u8> {
    text.repeat(count).into_bytes()
}

async fn later(n: u32) -> u32 {
    tokio::task::yield_now().await;
    n + 1
}

#[track_caller]
fn values<R: std::fmt::Debug>(results: Vec<Result<R, TaskError>>) -> Vec<R> {
    results.into_iter().map(Result::unwrap).collect()
}

#[test]
fn results_are_in_order() {
    for count in [0, 1, 2, 7, 1000, 50_000] {
        let squares = values(map!(0..count, square, tt = "mp"));
        assert!(squares.into_iter().eq((0..count).map(|n| n * n)));
    }
}

#[test]
fn items_fit_by_value_or_by_reference() {
    let words = ["a", "bb"].map(String::from);
    assert_eq!(values(map!(words.iter().map(|word| &word[..]), length, tt = "mp")), [1, 2]);
    assert_eq!(values(map!(&words, length, tt = "mp")), [1, 2]);
    assert_eq!(values(map!(words.clone(), length, tt = "mp")), [1, 2]);
    assert_eq!(values(map!([vec![1, 2], vec![]], sum, tt = "mp")), [3, 0]);
    assert_eq!(values(map!([[1, 2], [3, 4]], sum, tt = "mp")), [3, 7]);
    assert_eq!(values(map!([vec![1, 2], vec![]], total, tt = "mp")), [3, 0]);
    assert_eq!(values(map!(["/a/b", "c"].map(PathBuf::from), parts, tt = "mp")), [3, 1]);
    assert_eq!(values(map!(["/a/b"], parts, tt = "mp")), [3]);
    assert_eq!(values(map!(0..3, double, tt = "mp")), [0, 2, 4]);
    assert_eq!(values(map!(&[1, 2], double, tt = "mp")), [2, 4]);
    let items = [("ab".to_owned(), 2), (String::new(), 9)];
    assert_eq!(values(map!(items, repeat, tt = "mp")), [b"abab".to_vec(), vec![]]);
    assert_eq!(values(map!([1, 2], later, tt = "mp")), [2, 3]);
    assert_eq!(words.concat(), "abb", "they were only borrowed");
}

#[test]
fn items_fit_on_threads_as_well() {
    let words = ["a", "bb"];
    assert_eq!(values(map!(words, length)), [1, 2]);
    assert_eq!(values(map!(words.map(String::from), length, tt = "thread")), [1, 2]);
    assert_eq!(values(map!([vec![1, 2], vec![]], sum)), [3, 0]);
    assert_eq!(values(map!(["/a/b"].map(PathBuf::from), parts)), [3]);
    assert_eq!(values(map!(0..3, double)), [0, 2, 4]);
    assert_eq!(values(map!(0..3, square)), [0, 1, 4]);
    let factor = 10;
    let times = move |n: i32| n * factor;
    assert_eq!(values(map!(0..3, |n| n * factor)), [0, 10, 20]);
    assert_eq!(values(map!(vec![1], times, priority = "high")), [10]);
    assert_eq!(values(map!(["1", "2"], str::parse::<u8>)), [Ok(1), Ok(2)]);
}

fn fails(n: u32) -> Result<u32, String> {
    match n % 4 {
        0 => Ok(n),
        1 => Err(format!("no {n}")),
        _ => panic!("item {n}"),
    }
}

#[test]
fn panic_costs_its_item() {
    for (n, result) in (0..).zip(map!(0..200_u32, fails, tt = "mp")) {
        match (n % 4, result) {
            (0, result) => assert_eq!(result, Ok(Ok(n))),
            (1, result) => assert_eq!(result, Ok(Err(format!("no {n}")))),
            (_, Err(TaskError::Panicked { message, location, .. })) => {
                assert_eq!(message, format!("item {n}"));
                assert!(location.unwrap().contains("map_processes.rs"));
            }
            (_, other) => panic!("{other:?}"),
        }
    }
}

/// Can be encoded, or decoded, as its fields say.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Picky {
    encodes: bool,
    decodes: bool,
}

impl Serialize for Picky {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.encodes {
            true => self.decodes.serialize(to),
            false => Err(serde::ser::Error::custom("it does not encode")),
        }
    }
}

impl<'de> Deserialize<'de> for Picky {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match bool::deserialize(from)? {
            true => Ok(Picky { encodes: true, decodes: true }),
            false => Err(serde::de::Error::custom("it does not decode")),
        }
    }
}

fn accept(_: Picky) -> u32 {
    1
}

fn produce(n: u32) -> Picky {
    Picky { encodes: !n.is_multiple_of(3), decodes: n % 3 != 1 }
}

#[test]
fn codec_error_costs_its_item() {
    let items = (0..30).map(produce);
    for (n, result) in map!(items, accept, tt = "mp").into_iter().enumerate() {
        match (n % 3, result) {
            (0, Err(TaskError::Codec { stage: CodecStage::EncodeArguments, detail, .. })) => {
                assert!(detail.contains("it does not encode"), "{detail}");
            }
            (1, Err(TaskError::Codec { stage: CodecStage::DecodeArguments, detail, .. })) => {
                assert!(detail.contains("it does not decode"), "{detail}");
            }
            (_, result) => assert_eq!((n % 3, result), (2, Ok(1))),
        }
    }
    for (n, result) in map!(0..30, produce, tt = "mp").into_iter().enumerate() {
        match (n % 3, result) {
            (0, Err(TaskError::Codec { stage: CodecStage::EncodeResult, .. })) => {}
            (1, Err(TaskError::Codec { stage: CodecStage::DecodeResult, .. })) => {}
            (_, result) => assert!(n % 3 == 2 && result.is_ok(), "{result:?}"),
        }
    }
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Open {
    name: String,
    #[serde(flatten)]
    rest: HashMap<String, u32>,
}

fn rename(open: Open) -> Open {
    Open { name: open.name + "!", ..open }
}

#[test]
fn codec_is_selected() {
    let open = Open { name: "x".into(), rest: HashMap::from([("a".into(), 1)]) };
    let renamed = map!([open.clone()], rename, tt = "mp", codec = "msgpack");
    assert_eq!(values(renamed), [Open { name: "x!".into(), ..open.clone() }]);
    let refused = map!([open], rename, tt = "mp");
    assert!(refused[0].as_ref().unwrap_err().to_string().contains("msgpack"), "{refused:?}");
}

fn about_task(_: u32) -> (String, String, u8) {
    let task = atasker::current().unwrap();
    let info = format!("{task:?}");
    (task.name().to_owned(), info, 0)
}

#[test]
fn keys_configure_the_tasks() {
    let sup = supervisor(pool_of(1));
    let which = 7;
    let name = format!("number {which}");
    let names = map!([1], about_task, tt = "mp", name = name, supervisor = &sup);
    assert_eq!(values(names)[0].0, "number 7");
    assert_eq!(values(map!([1], about_task, tt = "mp", name = "fixed"))[0].0, "fixed");
    assert!(values(map!([1], about_task, tt = "mp"))[0].0.contains("about_task"));
    let pool = sup.info().mp_pool.unwrap();
    assert_eq!((pool.tasks_run, pool.workers.len()), (1, 1));
    // A critical map does not wait for a worker process that is taken.
    let (task, _) = occupy(&sup);
    let ran = map!([1, 2], square, tt = "mp", priority = "critical", supervisor = &sup);
    assert_eq!(values(ran), [1, 4]);
    let ran = map!([1, 2], square, tt = "mp", priority = Priority::Critical, supervisor = &sup);
    assert_eq!(values(ran), [1, 4]);
    task.stop();
    task.join().unwrap();
}

#[test]
fn large_items_and_results_pass() {
    let items = (0..40_usize).map(|n| ("x".to_owned(), n * 10_000));
    let results = values(map!(items, repeat, tt = "mp"));
    assert!(results.iter().enumerate().all(|(n, text)| text.len() == n * 10_000));
    let items = (0..40_usize).map(|n| vec![1; n * 10_000]);
    let sums = values(map!(items, sum, tt = "mp"));
    assert!(sums.iter().enumerate().all(|(n, sum)| *sum == n as u64 * 10_000));
}

fn nested(n: u64) -> u64 {
    let inner = map!(0..n, square, tt = "mp");
    inner.into_iter().map(Result::unwrap).sum()
}

#[test]
fn maps_are_nested() {
    let _watchdog = Watchdog::new("nested maps", FAR);
    assert_eq!(values(map!(0..5, nested, tt = "mp")), [0, 0, 1, 5, 14]);
    assert_eq!(values(map!(0..5, nested)), [0, 0, 1, 5, 14]);
    assert_eq!(background!(nested(4), tt = "mp").join().unwrap(), 14);
}

#[test]
fn stopped_supervisor_fails_all_items() {
    let sup = supervisor(pool_of(1));
    sup.stop(StopOptions::new());
    let results = map!(0..50, square, tt = "mp", supervisor = &sup);
    assert_eq!(results, vec![Err(TaskError::SupervisorStopped); 50]);
}

#[test]
fn full_queue_delays_the_map() {
    let config = pool_of(1).queue_limit(0, Overflow::Reject);
    let sup = supervisor(config);
    let results = map!(0..5000, square, tt = "mp", supervisor = &sup);
    assert!(values(results).into_iter().eq((0..5000).map(|n| n * n)));
    let (task, _) = occupy(&sup);
    let results = map!(0..10, square, tt = "mp", supervisor = &sup);
    assert_eq!(results, vec![Err(TaskError::QueueFull); 10]);
    task.stop();
    task.join().unwrap();
}

fn record(file: &str) -> u32 {
    append_line(file, "ran");
    1
}

#[test]
fn panic_of_iterator_is_passed_on() {
    let sup = supervisor(pool_of(1));
    let scratch = Scratch::new("map-iterator");
    let result = catch_unwind(AssertUnwindSafe(|| {
        let items = (0..1000).map(|n| {
            assert!(n < 5, "no item 5");
            scratch.name()
        });
        map!(items, record, tt = "mp", supervisor = &sup)
    }));
    let payload = result.unwrap_err();
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"no item 5"));
    eventually(|| sup.tasks().is_empty());
    assert!(scratch.lines().len() <= 5);
    assert_eq!(values(map!([1], square, tt = "mp", supervisor = &sup)), [1]);
}

fn stopped_at(n: u32) -> u32 {
    while n > 0 && !atasker::current().unwrap().stopped() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    n
}

#[test]
fn stop_ends_the_map_with_the_items_in_progress() {
    let _watchdog = Watchdog::new("a map that is stopped", FAR);
    let sup = supervisor(pool_of(2));
    let results = std::thread::scope(|s| {
        let map = s.spawn(|| map!(0..100, stopped_at, tt = "mp", supervisor = &sup));
        let running = || sup.tasks_of(TaskType::Mp).iter().any(|task| task.time_started.is_some());
        eventually(|| running() || map.is_finished());
        sup.stop(StopOptions::new().cancel_tasks(true));
        map.join().unwrap()
    });
    assert!(results.iter().filter(|result| result.is_ok()).count() < 100);
    let errors = results.into_iter().filter_map(Result::err);
    assert!({ errors }.all(|e| matches!(e, TaskError::Canceled | TaskError::SupervisorStopped)));
}

#[test]
fn fork_fails_all_items() {
    let _watchdog = Watchdog::new("a map in a fork", FAR);
    mp::run_pid(atasker::supervisor());
    let code = fork(false, || {
        let results = map!(0..100, square, tt = "mp");
        let threads = map!(0..100, square);
        let refused = |result: &Result<u64, TaskError>| matches!(result, Err(TaskError::NotStarted { detail, .. }) if detail.contains("fork"));
        if results.len() + threads.len() == 200 && results.iter().chain(&threads).all(refused) {
            0
        } else {
            line!() as i32
        }
    });
    assert_eq!(code, 0);
}
