//! Do the checks of types accept all types that can be sent, whatever their names and parts are?
#![deny(warnings)]

use std::collections::HashMap;
use std::error::Error;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use atasker::{TaskContext, background, background_task, background_worker};
use atasker_tests::eventually;
use serde::{Deserialize, Serialize};

/// Can't be sent to a process, and is part of types that can.
#[derive(Clone, PartialEq, Debug)]
struct NotSerde;

/// Has a parameter that need not be sent.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(bound = "")]
struct Id<T>(u32, #[serde(skip)] PhantomData<fn() -> T>);

impl<T> Id<T> {
    fn new(id: u32) -> Self {
        Id(id, PhantomData)
    }
}

/// Types with the names of others that can't be sent.
mod named {
    use super::*;

    #[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
    pub struct Rc<T>(pub T);
    #[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
    pub struct Arc<T>(pub T);
    #[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
    pub struct MutexGuard(pub u32);
    #[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
    pub struct ParseError(pub u32);
    /// The second parameter is no error.
    #[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
    #[serde(bound = "T: Serialize + for<'a> Deserialize<'a>")]
    pub struct Result<T, E>(pub T, #[serde(skip)] pub PhantomData<fn() -> E>);
    /// The parameter is not sent.
    pub type IdResult<T> = std::result::Result<Id<T>, ParseError>;
}

#[background_task(tt = "mp")]
fn parts<'a>(
    phantom: PhantomData<NotSerde>,
    ids: &HashMap<String, [Option<Id<NotSerde>>; 2]>,
    slice: &'a [Id<NotSerde>],
    text: &'a str,
    bytes: &[u8],
    path: &Path,
    (boxed, count): (Vec<Box<str>>, u32),
) -> named::IdResult<NotSerde> {
    let PhantomData = phantom;
    let sum = ids["a"].iter().flatten().map(|id| id.0).sum::<u32>() + slice[0].0;
    let bytes = text.len() + bytes.len() + path.as_os_str().len() + boxed[0].len();
    Ok(Id::new(sum + bytes as u32 + count))
}

#[test]
fn parts_that_are_not_sent_are_not_checked() {
    let ids = HashMap::from([("a".to_owned(), [Some(Id::new(1)), Some(Id::new(2))])]);
    let path = Path::new("abc");
    let texts = (vec!["abcd".into()], 5);
    let task = parts(PhantomData, &ids, &[Id::new(3)], "a", b"ab", path, texts);
    assert_eq!(task.join().unwrap(), Ok(Id::new(6 + 10 + 5)));
}

#[background_task(tt = "mp")]
fn names(
    ctx: &TaskContext<named::Rc<u32>, named::ParseError>,
    arc: named::Arc<u32>,
    guard: &named::MutexGuard,
) -> named::Result<u32, NotSerde> {
    let rc = ctx.recv().unwrap();
    ctx.send(named::ParseError(rc.0)).unwrap();
    named::Result(arc.0 + guard.0, PhantomData)
}

#[background_task(retries = 1)]
fn names_on_thread(
    rc: named::Rc<u32>,
    guard: named::MutexGuard,
    id: Id<std::rc::Rc<u32>>,
) -> Id<Box<dyn Error>> {
    Id::new(rc.0 + guard.0 + id.0)
}

#[test]
fn names_of_other_types_are_no_errors() {
    let task = names(named::Arc(1), &named::MutexGuard(2));
    task.send(named::Rc(3)).unwrap();
    assert_eq!(task.recv().unwrap(), named::ParseError(3));
    assert_eq!(task.join().unwrap().0, 3);
    let task = names_on_thread(named::Rc(1), named::MutexGuard(2), Id::new(3));
    assert_eq!(task.join().unwrap().0, 6);
}

fn plain<T: Into<u32>>(id: &Id<NotSerde>, n: T) -> Result<Id<NotSerde>, named::ParseError> {
    Ok(Id::new(id.0 + n.into()))
}

#[test]
fn inferred_types_are_accepted() {
    let task = background!(plain::<u8>(&Id::new(1), 2), tt = "mp");
    assert_eq!(task.join().unwrap(), Ok(Id::new(3)));
    let sum = background!(|| 1 + 2, tt = "mp");
    assert_eq!(sum.join().unwrap(), 3);
}

static PROCESSED: AtomicU32 = AtomicU32::new(0);

#[background_worker(
    queue,
    tt = "mp",
    process_result = |id: &Id<NotSerde>| PROCESSED.store(id.0, Ordering::SeqCst),
)]
fn worker_in_process(item: Id<NotSerde>, own: &Id<NotSerde>) -> Id<NotSerde> {
    Id::new(item.0 + own.0)
}

#[background_worker(queue)]
fn worker_on_thread(item: Id<std::rc::Rc<u32>>, own: named::Rc<u32>, sum: &mut u32) -> bool {
    *sum += item.0 + own.0;
    *sum < 5
}

#[test]
fn workers_accept_them_too() {
    let worker = worker_in_process(Id::new(1));
    worker.start();
    worker.put(Id::new(2)).unwrap();
    eventually(|| PROCESSED.load(Ordering::SeqCst) == 3);
    worker.stop();
    let worker = worker_on_thread(named::Rc(1), 0);
    worker.start();
    worker.put(Id::new(1)).unwrap();
    worker.put(Id::new(2)).unwrap();
    eventually(|| !worker.is_active());
    assert_eq!(worker.runs(), 2);
}
