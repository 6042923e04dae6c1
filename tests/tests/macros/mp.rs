//! Which functions run in worker processes, and how are their values transferred?

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc;

use atasker::{
    CodecStage, Outcome, Priority, Task, TaskBuilder, TaskContext, TaskError, background,
    background_task,
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
struct Point {
    x: i32,
    y: i32,
}

/// Sums a range.
#[background_task(tt = "mp", priority = "low")]
fn count(upto: u64, step: u8) -> u64 {
    (0..upto).step_by(step.into()).sum()
}

#[test]
fn owned_values_cross() {
    let task: Task<u64> = count(10, 2);
    assert_eq!(task.name(), "macros::mp::count");
    assert_eq!(task.priority(), Priority::Low);
    assert_eq!(task.join().unwrap(), 20);
    let builder: TaskBuilder<u64> = count::builder(4, 1);
    assert_eq!(builder.start().join().unwrap(), 6);
    assert_eq!(count::call(4, 1), 6);
}

#[background_task(tt = "mp")]
fn lengths(text: &str, bytes: &[u8], points: &[Point], point: &Point, path: &Path) -> Vec<usize> {
    vec![text.len(), bytes.len(), points.len(), point.x as usize, path.as_os_str().len()]
}

#[background_task(tt = "mp", name = "named lifetimes")]
fn named<'a, 'b>(text: &'a str, more: &'b [u32]) -> String
where
    'a: 'b,
{
    let _ = more;
    text.to_owned()
}

#[test]
fn borrowed_values_cross() {
    let text = String::from("abc");
    let points = vec![Point { x: 1, y: 2 }, Point { x: 3, y: 4 }];
    let task = lengths(&text, b"12345", &points, &points[1], Path::new("/tmp"));
    drop(points);
    assert_eq!(task.join().unwrap(), [3, 5, 2, 3, 4]);
    assert_eq!(lengths("", &[], &[], &Point { x: 0, y: 0 }, "".as_ref()).join().unwrap(), [0; 5]);
}

type Blob = Vec<u8>;

#[background_task(tt = "mp")]
fn reverse(mut bytes: Blob) -> Blob {
    bytes.reverse();
    bytes
}

#[background_task(tt = "mp")]
#[allow(clippy::ptr_arg)]
fn maybe(bytes: &Vec<u8>, fail: bool) -> Result<Vec<u8>, String> {
    if fail { Err("asked to".into()) } else { Ok(bytes.clone()) }
}

#[test]
fn bytes_are_encoded_as_one_block() {
    let long: Vec<u8> = (0..3_000_000u32).map(|n| n as u8).collect();
    let mut expected = long.clone();
    expected.reverse();
    assert_eq!(reverse(long.clone()).join().unwrap(), expected);
    assert_eq!(maybe(&long, false).join().unwrap(), Ok(long));
    let task = maybe(&vec![], true);
    assert_eq!(task.wait().unwrap(), &Err("asked to".to_owned()));
    assert_eq!(task.info().outcome, Some(Outcome::ReturnedErr));
}

#[background_task(tt = "mp")]
fn patterns((a, mut b): (u32, u32), _: String, Point { x, .. }: Point) -> i64 {
    b += 1;
    i64::from(a) + i64::from(b) + i64::from(x)
}

#[background_task(tt = "mp")]
fn nothing() {}

#[background_task(tt = "mp", companion = false)]
fn alone(n: u32) -> u32 {
    n + 1
}

#[background_task(tt = "mp", companion = Other)]
fn other(r#type: u32) -> u32 {
    r#type + 1
}

#[test]
fn patterns_companions_and_empty_parameters() {
    assert_eq!(patterns((1, 2), "x".into(), Point { x: 3, y: 0 }).join().unwrap(), 7);
    nothing().join().unwrap();
    assert_eq!(alone(1).join().unwrap(), 2);
    assert_eq!(other(1).join().unwrap(), 2);
    assert_eq!(Other::builder(2).start().join().unwrap(), 3);
}

#[test]
fn fn_in_body_uses_local_types() {
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    enum Local {
        A(u8),
        B,
    }
    #[background_task(tt = "mp")]
    fn flip(local: Local) -> Option<Local> {
        match local {
            Local::A(_) => Some(Local::B),
            Local::B => None,
        }
    }
    assert_eq!(flip(Local::A(1)).join().unwrap(), Some(Local::B));
    // A second function with the same path and name is a separate function.
    let inner = {
        #[background_task(tt = "mp")]
        fn flip(local: Local) -> u8 {
            match local {
                Local::A(n) => n,
                Local::B => 0,
            }
        }
        flip(Local::A(5))
    };
    assert_eq!(inner.join().unwrap(), 5);
}

#[background_task(tt = "mp")]
fn talk(ctx: &TaskContext<Point, String>, times: usize) -> i32 {
    let mut sum = 0;
    for _ in 0..times {
        let point = ctx.recv().unwrap();
        sum += point.x;
        ctx.send(format!("{point:?}")).unwrap();
    }
    sum
}

#[background_task(tt = "mp")]
fn until_stopped(ctx: TaskContext, greeting: String) -> String {
    assert_eq!(greeting, "hello");
    while !ctx.wait_stop(std::time::Duration::from_secs(5)) {}
    "done.".into()
}

#[test]
fn context_works_in_process() {
    let task: Task<i32, Point, String> = talk(2);
    task.send(Point { x: 1, y: 2 }).unwrap();
    assert_eq!(task.recv().unwrap(), "Point { x: 1, y: 2 }");
    task.send(Point { x: 2, y: 2 }).unwrap();
    assert_eq!(task.join().unwrap(), 3);
    let task = until_stopped("hello".into());
    task.stop();
    match task.join() {
        Ok(text) => assert_eq!(text, "done."),
        Err(error) => assert!(error.is_canceled(), "stopped before it began: {error}"),
    }
}

#[background_task(tt = "mp")]
async fn asynchronous(n: u64) -> Result<u64, String> {
    tokio::time::sleep(std::time::Duration::from_millis(n)).await;
    Ok(n)
}

#[background_task(tt = "mp")]
async fn asynchronous_with_context(ctx: &TaskContext<u8>, text: &str) -> (u8, usize) {
    (ctx.recv_async().await.unwrap(), text.len())
}

#[test]
fn async_fn_runs_to_completion() {
    assert_eq!(asynchronous(2).join().unwrap(), Ok(2));
    let task = asynchronous_with_context("four");
    task.send(3).unwrap();
    assert_eq!(task.join().unwrap(), (3, 4));
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
struct Flat {
    name: String,
    #[serde(flatten)]
    rest: BTreeMap<String, u32>,
}

fn flat() -> Flat {
    Flat { name: "n".into(), rest: BTreeMap::from([("a".into(), 1)]) }
}

#[background_task(tt = "mp", codec = "msgpack")]
fn packed(flat: &Flat, json: serde_json::Value, text: &str) -> (Flat, serde_json::Value, String) {
    (flat.clone(), json, text.into())
}

#[background_task(tt = "mp")]
fn unpacked(flat: Flat) -> String {
    flat.name
}

#[background_task(tt = "mp")]
fn json(n: u32) -> serde_json::Value {
    n.into()
}

#[test]
fn msgpack_handles_types_bincode_rejects() {
    let value = serde_json::json!({"list": [1, null, "x"]});
    let result = packed(&flat(), value.clone(), "t").join().unwrap();
    assert_eq!(result, (flat(), value, "t".into()));

    let Err(TaskError::Codec { stage, type_name, detail, .. }) = unpacked(flat()).join() else {
        panic!("bincode can't carry it");
    };
    assert_eq!(stage, CodecStage::EncodeArguments);
    assert!(type_name.ends_with("Flat"), "{type_name}");
    assert!(detail.contains("codec = \"msgpack\""), "{detail}");

    let Err(TaskError::Codec { stage, type_name, detail, .. }) = json(1).join() else {
        panic!("bincode can't carry it");
    };
    assert_eq!(stage, CodecStage::DecodeResult);
    assert!(type_name.contains("Value"), "{type_name}");
    assert!(detail.contains("codec = \"msgpack\""), "{detail}");
}

#[derive(Debug, PartialEq)]
struct Fussy;

impl Serialize for Fussy {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("cannot be encoded here"))
    }
}
impl<'de> Deserialize<'de> for Fussy {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("cannot be decoded here"))
    }
}

#[background_task(tt = "mp")]
fn returns_fussy() -> Fussy {
    Fussy
}

#[background_task(tt = "mp")]
fn takes_fussy(_: Mute, fussy: &Fussy) -> bool {
    *fussy == Fussy
}

/// Ends before the launch, because its argument cannot be encoded.
#[background_task(tt = "mp", supervisor = FUSSY.get().unwrap())]
fn never_launched(_fussy: &Fussy) {}

static FUSSY: std::sync::OnceLock<atasker::Supervisor> = std::sync::OnceLock::new();

#[test]
fn failed_launch_is_not_counted_by_stop() {
    let sup = FUSSY.get_or_init(|| atasker::Supervisor::builder().id("fussy").build());
    let failed: Vec<_> = (0..3).map(|_| never_launched(&Fussy)).collect();
    for task in failed {
        assert!(matches!(task.join(), Err(TaskError::Codec { .. })));
    }
    let (go, gate) = std::sync::mpsc::channel();
    let running = sup.spawn(move || gate.recv().unwrap());
    let stopper = std::thread::spawn(|| FUSSY.get().unwrap().stop(atasker::StopOptions::new()));
    while sup.is_active() {
        std::thread::yield_now();
    }
    go.send(7).unwrap();
    let report = stopper.join().unwrap();
    assert_eq!((report.completed, report.abandoned), (1, 0));
    assert_eq!(running.join().unwrap(), 7);
}

#[derive(Serialize)]
struct Mute;
impl<'de> Deserialize<'de> for Mute {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("cannot be decoded here"))
    }
}

#[background_task(tt = "mp")]
fn takes_mute(mute: Mute) -> bool {
    matches!(mute, Mute)
}

#[test]
fn codec_error_names_stage_and_type() {
    let codec = |error: TaskError| match error {
        TaskError::Codec { stage, type_name, detail, .. } => {
            assert!(detail.contains("coded here"), "{detail}");
            (stage, type_name.rsplit("::").next().unwrap().to_owned())
        }
        error => panic!("{error}"),
    };
    let error = codec(returns_fussy().join().unwrap_err());
    assert_eq!(error, (CodecStage::EncodeResult, "Fussy".into()));
    let error = codec(takes_fussy(Mute, &Fussy).join().unwrap_err());
    assert_eq!(error, (CodecStage::EncodeArguments, "Fussy".into()));
    let error = codec(takes_mute(Mute).join().unwrap_err());
    assert_eq!(error, (CodecStage::DecodeArguments, "Mute".into()));
}

mod geometry {
    use super::*;
    pub fn area(a: u32, b: u32) -> u32 {
        a * b
    }
    pub fn total(points: &[Point], text: &str, scale: &i32) -> i32 {
        points.iter().map(|p| p.x * p.y).sum::<i32>() * *scale + text.len() as i32
    }
    pub fn blob(bytes: &[u8], _: Vec<u8>) -> Vec<u8> {
        bytes.to_vec()
    }
    pub async fn later(text: &str) -> usize {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        text.len()
    }
    pub fn halve(n: u64) -> Result<u64, String> {
        if n.is_multiple_of(2) { Ok(n / 2) } else { Err(format!("{n} is odd")) }
    }
}

#[test]
fn any_free_function_can_be_launched() {
    let (sender, receiver) = mpsc::channel();
    let task = background!(
        geometry::area(3, 4),
        tt = "mp",
        callback = move |r| sender.send(*r.as_ref().unwrap()).unwrap()
    );
    assert_eq!(task.name(), "macros::mp::geometry::area");
    assert_eq!(task.join().unwrap(), 12);
    assert_eq!(receiver.recv().unwrap(), 12);

    let points = vec![Point { x: 2, y: 3 }; 2];
    // `&vec` as a slice, temporaries, literals.
    let task = background!(
        geometry::total(&points, &format!("{}", 10), &7),
        tt = "mp",
        priority = "high",
        name = "total"
    );
    assert_eq!((task.name(), task.priority()), ("total", Priority::High));
    assert_eq!(task.join().unwrap(), 86);
    assert_eq!(background!(geometry::blob(b"abc", vec![]), tt = "mp").join().unwrap(), b"abc");
    assert_eq!(background!(std::cmp::max::<u8>(3, 4), tt = "mp").join().unwrap(), 4);
    let task = background!(geometry::halve(3), tt = "mp");
    assert_eq!(task.wait().unwrap(), &Err("3 is odd".into()));
    assert_eq!(task.info().outcome, Some(Outcome::ReturnedErr));
    assert_eq!(background!(geometry::later("four"), tt = "mp").join().unwrap(), 4);
    let area = futures_lite::future::block_on(async {
        background!(geometry::area(3, 5), tt = "mp", codec = "msgpack").await
    });
    assert_eq!(area.unwrap(), 15);

    fn local(n: u8) -> u8 {
        n + 1
    }
    assert_eq!(background!(local(1), tt = "mp").join().unwrap(), 2);
}

#[test]
fn noncapturing_closures_run() {
    const N: u32 = 5;
    let task = background!(|| (1..=N).map(|n| n * 2).sum::<u32>(), tt = "mp", timeout = "10s");
    assert_eq!(task.join().unwrap(), 30);
    let task = background!(
        || -> Vec<String> { ["a", "b"].iter().map(ToString::to_string).collect() },
        tt = "mp"
    );
    assert_eq!(task.join().unwrap(), ["a", "b"]);
}

static RUNS: Mutex<u32> = Mutex::new(0);

#[background_task(tt = "mp", retries = 3)]
fn flaky(ctx: &TaskContext, text: &str) -> Result<String, u32> {
    *RUNS.lock().unwrap() += 1;
    if ctx.attempt() < 3 { Err(ctx.attempt()) } else { Ok(text.to_owned()) }
}

#[test]
fn retry_resends_encoded_arguments() {
    assert_eq!(flaky(&String::from("x")).join().unwrap(), Ok("x".to_owned()));
}

#[test]
fn named_lifetimes_compile() {
    let task = named(&String::from("text"), &[1, 2]);
    assert_eq!(task.name(), "named lifetimes");
    assert_eq!(task.join().unwrap(), "text");
}

#[background_task(tt = "mp")]
fn pid() -> u32 {
    std::process::id()
}

#[test]
fn every_form_runs_in_another_process() {
    fn plain() -> u32 {
        std::process::id()
    }
    async fn later() -> u32 {
        std::process::id()
    }
    let pids = [
        pid(),
        background!(plain(), tt = "mp"),
        background!(later(), tt = "mp"),
        background!(|| std::process::id(), tt = "mp"),
    ];
    for pid in pids {
        assert_ne!(pid.join().unwrap(), std::process::id());
    }
}
