//! What does the attribute make of a function for other machines, apart from a cluster?

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

use atasker::__private::{FUNCTIONS, Function};
use atasker::{
    Cluster, ClusterError, Priority, Task, TaskBuilder, TaskContext, TaskError, TaskId, TaskType,
    background_task, testing,
};
use atasker_tests_remote::{Frame, transcode};
use serde::{Deserialize, Serialize};

/// Returns the entry of the function with this name.
fn function(name: &str) -> &'static Function {
    let mut found = FUNCTIONS.iter().filter(|function| function.name == name);
    let function = found.next().unwrap_or_else(|| panic!("no function `{name}`"));
    assert!(found.next().is_none(), "two functions `{name}`");
    function
}

/// Returns the canonical text of its types.
fn types(name: &str) -> &'static str {
    function(name).remote.as_ref().unwrap_or_else(|| panic!("`{name}` is not remote")).types
}

type Shared<T> = Result<T, String>;

#[rustfmt::skip]
#[allow(unused_parens, clippy::needless_lifetimes)]
mod formatted {
    use super::*;

    #[background_task(tt = "remote", name = "formatted one way")]
    pub fn one(text: &str, counts: HashMap<String, Vec<(u8, [u16; 2])>>) -> Shared<Option<u32>> {
        Ok(counts.get(text).map(|counts| counts.len() as u32))
    }

    #[background_task(retries=1,tt="remote",name="formatted another way")]
    pub async fn another<'a>(
        text : & 'a str ,
        mut counts : HashMap < String , Vec :: <( u8 , [ u16 ; 2 ] , ) > , > ,
    ) -> ( Shared<Option<u32>> )
    {
        counts.remove(text); Ok(None)
    }

    macro_rules! by_macro {
        ($name:literal, $text:ty, $count:expr, $result:ty) => {
            #[background_task(tt = "remote", name = $name)]
            pub fn of_macro(text: $text, counts: HashMap<String, Vec<(u8, [u16; $count])>>) -> $result {
                let _ = (text, counts);
                Ok(None)
            }
        };
    }
    by_macro!("formatted by a macro", &str, 2, Shared<Option<u32>>);
}

#[test]
fn formatting_does_not_change_the_signature() {
    let one = function("formatted one way");
    assert_eq!(
        types(one.name),
        "msgpack <(), ()> (&str, HashMap<String, Vec<(u8, [u16; 2])>>) -> Shared<Option<u32>>"
    );
    for name in ["formatted another way", "formatted by a macro"] {
        assert_eq!(types(name), types(one.name));
        assert_eq!(function(name).signature, one.signature);
    }
}

mod changed {
    use super::*;

    const NEXT: u32 = 1;

    #[background_task(tt = "remote", name = "plain")]
    pub fn plain(n: u32) -> u32 {
        n
    }
    #[background_task(tt = "remote", name = "version 0", version = 0, queue = "gpu", redeliver = 0)]
    pub fn version_0(n: u32) -> u32 {
        n
    }
    #[background_task(tt = "remote", name = "version 1", version = NEXT)]
    pub fn version_1(n: u32) -> u32 {
        n
    }
    #[background_task(tt = "remote", name = "bincode", codec = "bincode")]
    pub fn bincode(n: u32) -> u32 {
        n
    }
    #[background_task(tt = "remote", name = "parameter")]
    pub fn parameter(n: u64) -> u32 {
        n as u32
    }
    #[background_task(tt = "remote", name = "result")]
    pub fn result(n: u32) -> u64 {
        n.into()
    }
    #[background_task(tt = "remote", name = "messages")]
    pub fn messages(_: TaskContext<u8>, n: u32) -> u32 {
        n
    }
    #[background_task(tt = "remote", name = "context")]
    pub fn context(_: &TaskContext, n: u32) -> u32 {
        n
    }
}

#[test]
fn signature_depends_on_types_codec_and_version_only() {
    let plain = function("plain").signature;
    for same in ["version 0", "context"] {
        assert_eq!(function(same).signature, plain, "{same}");
    }
    let others = ["version 1", "bincode", "parameter", "result", "messages"];
    let mut signatures = others.map(|name| function(name).signature).to_vec();
    signatures.push(plain);
    signatures.sort_unstable();
    signatures.dedup();
    assert_eq!(signatures.len(), others.len() + 1);
    assert_eq!(function("version 1").remote.as_ref().unwrap().version, 1);
}

#[test]
fn name_is_the_path() {
    let transcode = function("atasker_tests_remote::transcode");
    assert_eq!(types(transcode.name), "msgpack <(), Frame> (&str) -> Result<usize, String>");
    assert!(transcode.file.ends_with("lib.rs"));
}

#[background_task(tt = "mp")]
fn local(n: u32) -> u32 {
    n
}

#[test]
fn functions_in_worker_processes_are_not_remote() {
    assert!(function("remote_functions::local").remote.is_none());
    assert_eq!(local(1).join().unwrap(), 1);
}

#[test]
fn call_runs_the_body_here() {
    let context = TaskContext::detached();
    assert_eq!(transcode::call(&context, ""), Err("nothing to do".to_owned()));
    assert_eq!(changed::plain::call(7), 7);
    let counts = HashMap::from([("a".to_owned(), vec![(1, [2, 3])])]);
    assert_eq!(formatted::one::call("a", counts), Ok(Some(1)));
}

#[test]
fn builder_and_task_have_the_types_of_the_function() {
    let builder: TaskBuilder<Result<usize, String>, (), Frame> = transcode::builder("a.mkv");
    let task: Task<Result<usize, String>, (), Frame> = builder.priority(Priority::Low).start();
    assert_eq!(task.name(), "atasker_tests_remote::transcode");
    assert_eq!((task.tt(), task.priority()), (TaskType::Remote, Priority::Low));
    // No cluster was joined.
    let error = task.join().unwrap_err();
    assert!(matches!(error, TaskError::Cluster(ClusterError::NotJoined)), "{error}");
}

#[test]
#[allow(clippy::type_complexity)]
fn attach_has_the_types_of_the_function() {
    let _: fn(&Cluster, TaskId) -> Result<Task<Result<usize, String>, (), Frame>, ClusterError> =
        transcode::attach;
    let _: fn(&Cluster, TaskId) -> Result<Task<u32>, ClusterError> = changed::plain::attach;
    let _: fn(&Cluster, TaskId) -> Result<Task<Shared<Option<u32>>>, ClusterError> =
        formatted::another::attach;
    let _: fn(&Cluster, TaskId) -> Result<Task<u32, u8>, ClusterError> = changed::messages::attach;
    let _: fn(&Cluster, TaskId) -> Result<Task<u8>, ClusterError> = Other::attach;
}

#[background_task(tt = "remote", companion = false)]
fn alone(n: u8) -> u8 {
    n
}

#[background_task(tt = "remote", companion = Other)]
fn other(n: u8) -> u8 {
    n
}

#[background_task(tt = "remote")]
fn attach(n: u8) -> u8 {
    n + 1
}

#[background_task(tt = "remote")]
fn builder(n: u8) -> u8 {
    n + 2
}

#[background_task(tt = "remote")]
fn call(n: u8) -> u8 {
    n + 3
}

#[test]
fn names_of_associated_functions_are_free() {
    let _guard = testing::inline();
    assert_eq!((attach::call(1), builder::call(1), call::call(1)), (2, 3, 4));
    assert_eq!(attach(1).join().unwrap(), 2);
    assert_eq!(attach::builder(1).start().join().unwrap(), 2);
    assert_eq!(builder(1).join().unwrap(), 3);
    assert_eq!(call(1).join().unwrap(), 4);
    assert_eq!((alone(1).join().unwrap(), other(1).join().unwrap()), (1, 1));
}

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct Blob {
    name: String,
    #[serde(flatten)]
    more: HashMap<String, u32>,
}

/// Needs MessagePack, which is the default here.
#[background_task(tt = "remote")]
fn blobs(blob: Blob, bytes: &[u8], numbers: &[u32], fail: bool) -> Result<(Blob, Vec<u8>), u32> {
    if fail { Err(numbers.iter().sum()) } else { Ok((blob, bytes.to_vec())) }
}

fn blob() -> Blob {
    Blob { name: "a".to_owned(), more: HashMap::from([("b".to_owned(), 1)]) }
}

#[test]
fn arguments_and_results_travel_under_inline() {
    let _guard = testing::inline();
    let task = transcode("abc");
    assert_eq!(task.messages().collect::<Vec<_>>(), [Frame(0), Frame(1), Frame(2)]);
    assert_eq!(task.join().unwrap(), Ok(3));
    assert_eq!(blobs(blob(), b"xyz", &[], false).join().unwrap(), Ok((blob(), b"xyz".to_vec())));
    assert_eq!(blobs(blob(), b"", &[1, 2], true).join().unwrap(), Err(3));
    let counts = HashMap::new();
    assert_eq!(formatted::another("x", counts).join().unwrap(), Ok(None));
}

#[background_task(tt = "remote")]
fn where_am_i() -> (u32, String) {
    let thread = std::thread::current();
    (std::process::id(), thread.name().unwrap_or_default().to_owned())
}

/// Launches a remote task inside a worker process.
#[allow(clippy::type_complexity)]
#[background_task(tt = "mp", codec = "msgpack")]
fn launches_remote() -> (bool, u32, u32, String, Result<(Blob, Vec<u8>), u32>) {
    let task = where_am_i();
    let on_thread = task.tt() == TaskType::Thread;
    let (pid, thread) = task.join().unwrap();
    let blobs = blobs(blob(), b"xyz", &[], false).join().unwrap();
    (on_thread, std::process::id(), pid, thread, blobs)
}

#[test]
fn launch_in_a_worker_process_runs_on_its_threads() {
    let (on_thread, worker, pid, thread, blobs) = launches_remote().join().unwrap();
    assert!(on_thread);
    assert_ne!(worker, std::process::id());
    assert_eq!(pid, worker);
    assert!(thread.contains("pool"), "{thread}");
    assert_eq!(blobs, Ok((blob(), b"xyz".to_vec())));
}

static JOINED: OnceLock<Cluster> = OnceLock::new();

fn queue_of(user: u32) -> &'static str {
    if user == 0 { "root" } else { "users" }
}

/// Every key, with values that are expressions.
#[background_task(
    tt = "remote",
    queue = queue_of(*user),
    redeliver = 1 + 1,
    version = 3,
    cluster = JOINED.get().expect("no cluster"),
    unique = (user, &folder[..], mode),
    unique_for = Duration::from_secs(60),
    expires = "1m",
    name = format!("sync {user}"),
)]
fn sync(user: &u32, folder: String, mode: Option<Mode>) {
    let _ = (user, folder, mode);
}

#[derive(Serialize, Deserialize)]
enum Mode {
    Fast,
}

#[test]
fn keys_are_expressions_over_the_parameters() {
    // The cluster is asked for at the launch.
    let panicked = std::panic::catch_unwind(|| sync(&1, "mail".to_owned(), Some(Mode::Fast)));
    assert!(panicked.is_err());
    // The name of one task is not that of the function.
    assert_eq!(
        types("remote_functions::sync"),
        "msgpack <(), ()> (&u32, String, Option<Mode>) -> ()"
    );
}

#[background_task(tt = "remote", unique = ())]
fn once() -> u32 {
    1
}

#[test]
fn unique_without_parts_is_a_key() {
    let _guard = testing::inline();
    assert_eq!(once().join().unwrap(), 1);
    assert_eq!(once::builder().start_unique().unwrap().join().unwrap(), 1);
}
