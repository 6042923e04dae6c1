//! What does the code that the attribute generates tell a node?

use std::io;

use atasker_macros::background_task;
use serde::{Deserialize, Serialize};

use super::by_name::{Found, remote, remote_duplicates, remote_functions};
use super::functions::{Call, Function};
use super::returned::split_is_err;
use crate::launch::TaskBuilder;
use crate::task::context::TaskContext;
use crate::wire::codec::{Format, Msgpack};

/// Known as a `Result` by its name only.
type QueryResult = Result<u32, String>;

/// Another type with that name.
mod other {
    use super::*;

    #[derive(Serialize, Deserialize)]
    pub(super) enum Result {
        Err(u32),
    }
}

#[background_task(tt = "remote", crate = crate)]
fn written(n: u32) -> Result<u32, String> {
    if n == 0 { Err("zero".to_owned()) } else { Ok(n) }
}

#[background_task(tt = "remote", crate = crate)]
async fn alias(_: &TaskContext, n: u32) -> QueryResult {
    if n == 0 { Err("zero".to_owned()) } else { Ok(n) }
}

/// The result is one block of bytes.
#[background_task(tt = "remote", crate = crate)]
fn block(n: u32) -> Vec<u8> {
    vec![1; n as usize]
}

#[background_task(tt = "remote", crate = crate)]
fn unit(_: u32) {}

#[background_task(tt = "remote", crate = crate)]
fn of_own_type(n: u32) -> other::Result {
    other::Result::Err(n)
}

#[background_task(tt = "remote", crate = crate)]
fn inside(n: u32) -> Option<Result<u32, String>> {
    (n > 0).then(|| Err("inside".to_owned()))
}

#[background_task(tt = "remote", crate = crate, codec = "bincode")]
fn remote_result(n: u32) -> crate::RemoteResult<u32> {
    if n == 0 {
        Err(io::Error::other("zero"))?
    }
    Ok(n)
}

/// Returns the remote function of this module.
fn function(name: &str) -> &'static Function {
    let name = format!("{}::{name}", module_path!());
    let mut functions = remote_functions().into_iter();
    let function = functions.find(|function| function.name == name).expect("it is in the table");
    match remote(&name, function.signature) {
        Found::One(found) => assert!(std::ptr::eq(found, function)),
        found => panic!("{found:?}"),
    }
    function
}

/// Calls the function as a node does. Returns the encoded result, and whether it is an `Err`.
fn called(name: &str, args: &[u8]) -> (Vec<u8>, bool) {
    let task = TaskBuilder::new(|| ()).start();
    let task = task.erased().clone();
    let mut call = Call::new(args, &task);
    (function(name).call)(&mut call).unwrap();
    split_is_err(call.into_reply().into_bytes()).unwrap()
}

fn encoded(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    Msgpack::write(value, &mut bytes).unwrap();
    bytes
}

#[test]
fn node_learns_whether_an_err_was_returned() {
    for name in ["written", "alias"] {
        let ok = encoded(&QueryResult::Ok(7));
        assert_eq!(called(name, &encoded(&7)), (ok, false), "{name}");
        let err = encoded(&QueryResult::Err("zero".to_owned()));
        assert_eq!(called(name, &encoded(&0)), (err, true), "{name}");
    }
    // bincode encodes small integers as one byte.
    assert!(!called("remote_result", &[7]).1);
    assert!(called("remote_result", &[0]).1);
}

#[test]
fn other_results_are_no_errors() {
    for name in ["block", "unit", "of_own_type", "inside"] {
        for n in [0, 7] {
            assert!(!called(name, &encoded(&n)).1, "{name}({n})");
        }
    }
    assert_eq!(called("inside", &encoded(&1)).0, encoded(&Some(QueryResult::Err("inside".into()))));
}

#[test]
fn launcher_reads_the_result_without_the_flag() {
    let _guard = crate::testing::inline();
    assert_eq!(written(0).join().unwrap(), Err("zero".to_owned()));
    assert_eq!(alias(7).join().unwrap(), Ok(7));
    assert_eq!(block(300).join().unwrap(), [1; 300]);
    unit(0).join().unwrap();
    assert_eq!(remote_result(7).join().unwrap().unwrap(), 7);
}

#[test]
fn functions_of_this_program_are_unique() {
    assert!(remote_duplicates().is_empty(), "{:?}", remote_duplicates());
}
