//! Does the code of a remote function trigger no lints, and is it independent of its surroundings?

#![forbid(unsafe_code)]
#![deny(
    warnings,
    missing_docs,
    missing_debug_implementations,
    rust_2018_idioms,
    unreachable_pub,
    unused_qualifications,
    single_use_lifetimes,
    clippy::all,
    clippy::pedantic
)]

extern crate atasker as renamed;

use std::time::Duration;

use atasker::{TaskContext, background_task, testing};

/// Every kind of parameter.
#[background_task(tt = "remote", retries = 1)]
fn parameters(text: &str, _: Vec<u8>, (a, b): (u8, u8)) -> Result<usize, String> {
    if text.is_empty() { Err(format!("{a}{b}")) } else { Ok(text.len()) }
}

/// Asynchronous, with lifetimes and every key.
#[background_task(
    tt = "remote",
    queue = "gpu",
    redeliver = 0,
    version = 7,
    unique = (text, more.len()),
    unique_for = Duration::ZERO,
    priority = "high",
    retries = 1,
    backoff = "1ms..2ms",
    callback = |_| (),
    span = false,
    codec = "bincode",
)]
async fn keys<'a>(ctx: &TaskContext<u8, u16>, text: &'a str, more: &'a [u64]) -> u64 {
    let _ = ctx.send_async(1).await;
    text.len() as u64 + more.iter().sum::<u64>()
}

/// Without a companion type.
#[background_task(tt = "remote", companion = false)]
fn alone(n: u8) -> u8 {
    n
}

/// Names that generated code uses, or might use.
#[background_task(tt = "remote", unique = (__unique, id), crate = renamed)]
#[allow(clippy::too_many_arguments, clippy::unnecessary_wraps, reason = "it is about names")]
fn names(
    __context: &TaskContext<u8>,
    cluster: u8,
    id: u8,
    __unique: u8,
    __args: u8,
    __builder: u8,
    __is_err: u8,
    __result: u8,
) -> Result<u8, String> {
    Ok(cluster + id + __unique + __args + __builder + __is_err + __result)
}

#[test]
fn lints_are_quiet_and_names_are_free() {
    let _guard = testing::inline();
    assert_eq!(parameters("", vec![], (1, 2)).join().unwrap(), Err("12".to_owned()));
    let task = keys("ab", &[1, 2]);
    assert_eq!(task.recv(), Ok(1));
    assert_eq!(task.join().unwrap(), 5);
    assert_eq!(alone(1).join().unwrap(), 1);
    assert_eq!(names(1, 2, 3, 4, 5, 6, 7).join().unwrap(), Ok(28));
}

/// Traits that are implemented for all types, with methods that generated code might call.
#[allow(clippy::wrong_self_convention)]
mod traits {
    use atasker::{TaskContext, background_task, testing};

    // One trait per kind of `self`, because together they would be ambiguous.
    macro_rules! by {
        ($module:ident, $($this:tt)*) => {
            mod $module {
                use super::*;

                #[allow(dead_code)]
                trait Everywhere {
                    by!(@ [part unique is_some_and read write lend is_err reader call reply_mut
                        queue redeliver cluster unique_for name start into_encoded] $($this)*);
                }
                impl<T: Sized> Everywhere for T {}

                #[background_task(
                    tt = "remote", queue = "gpu", redeliver = 1, unique = (&text, list), unique_for = "1s"
                )]
                fn work(_: &TaskContext<u8>, text: &str, list: &[u64]) -> Result<usize, String> {
                    if list.len() == 0 { Err(text.to_string()) } else { Ok(text.len()) }
                }

                #[test]
                fn methods_of_traits_are_not_called() {
                    let _guard = testing::inline();
                    assert_eq!(atasker::Task::join(work("ab", &[1])).unwrap(), Ok(2));
                    assert_eq!(atasker::Task::join(work("ab", &[])).unwrap(), Err("ab".into()));
                }
            }
        };
        (@ [$($name:ident)*] self) => { $(fn $name(self) -> ! where Self: Sized { panic!() })* };
        (@ [$($name:ident)*] &self) => { $(fn $name(&self) -> ! { panic!() })* };
        (@ [$($name:ident)*] &mut self) => { $(fn $name(&mut self) -> ! { panic!() })* };
    }
    by!(by_value, self);
    by!(by_ref, &self);
    by!(by_mut, &mut self);
}

/// Items that shadow the prelude, in a module without any.
#[allow(clippy::unnecessary_wraps)]
mod shadows {
    #![no_implicit_prelude]

    use ::atasker::{TaskContext, background_task};

    #[allow(dead_code)]
    struct Result;
    #[allow(dead_code)]
    struct Option;
    #[allow(dead_code)]
    struct Some;
    #[allow(dead_code)]
    struct Cluster;
    #[allow(dead_code)]
    struct TaskId;
    #[allow(dead_code)]
    mod std {}
    #[allow(dead_code)]
    mod core {}
    #[allow(dead_code)]
    mod linkme {}
    #[allow(dead_code, non_camel_case_types)]
    struct u32;
    #[allow(dead_code, non_camel_case_types)]
    struct bool;

    #[background_task(tt = "remote", unique = (n), version = 2)]
    pub(super) fn work(_: &TaskContext<(), u8>, n: u8) -> ::std::result::Result<u8, u8> {
        ::std::result::Result::Ok(n)
    }
}

#[test]
fn prelude_can_be_shadowed() {
    let _guard = testing::inline();
    assert_eq!(shadows::work(3).join().unwrap(), Ok(3));
}
