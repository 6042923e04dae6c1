//! What the attribute makes of async functions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use atasker::{Outcome, TaskContext, TaskType, background_task};

/// A page.
#[background_task]
pub async fn fetch(id: u32) -> Result<String, std::io::Error> {
    tokio::time::sleep(Duration::from_millis(1)).await;
    if id == 0 { Err(std::io::Error::other("no page")) } else { Ok(format!("page {id}")) }
}

#[test]
fn an_async_fn_runs_on_an_aloop() {
    let task = fetch(7);
    assert_eq!(task.tt(), TaskType::Async);
    assert_eq!(task.name(), "macros_async::fetch");
    assert_eq!(task.join().unwrap().unwrap(), "page 7");
    let task = fetch(0);
    assert!(task.wait().unwrap().is_err());
    assert_eq!(task.info().outcome, Some(Outcome::ReturnedErr));
}

#[test]
fn a_call_gives_the_future_and_a_task_can_be_awaited() {
    let page = futures_lite::future::block_on(async { fetch(3).await.unwrap().unwrap() });
    assert_eq!(page, "page 3");
    async fn plain(n: u32) -> u32 {
        n
    }
    let _ = plain;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(runtime.block_on(fetch::call(4)).unwrap(), "page 4");
}

#[background_task(aloop = "macros", tt = "async")]
async fn thread_name() -> String {
    std::thread::current().name().unwrap_or_default().to_owned()
}

#[test]
fn an_aloop_is_named() {
    let name = thread_name().join().unwrap();
    assert!(name.contains("macros") || "supervisor_default_aloop_macros".starts_with(&name));
}

#[background_task]
async fn echo(ctx: &TaskContext<String, usize>, mut total: usize) -> usize {
    while let Ok(text) = ctx.recv_async().await {
        total += text.len();
        ctx.send_async(total).await.unwrap();
    }
    total
}

#[background_task]
async fn owned_context(ctx: TaskContext<u8>) -> u8 {
    ctx.recv_async().await.unwrap()
}

#[test]
fn a_context_by_reference_and_by_value() {
    let task = echo(10);
    task.send("abc".into()).unwrap();
    assert_eq!(task.recv().unwrap(), 13);
    task.stop();
    assert_eq!(task.join().unwrap(), 13);
    let task = owned_context();
    task.send(9).unwrap();
    assert_eq!(task.join().unwrap(), 9);
}

#[background_task(retries = 2)]
async fn flaky(tries: Arc<AtomicU32>) -> Result<u32, String> {
    match tries.fetch_add(1, Ordering::SeqCst) {
        2 => Ok(2),
        n => Err(format!("attempt {n}")),
    }
}

#[background_task(retries = 2)]
async fn flaky_with_context(ctx: &TaskContext, tries: Arc<AtomicU32>) -> u32 {
    assert!(tries.fetch_add(1, Ordering::SeqCst) > 1, "not yet");
    ctx.attempt()
}

#[test]
fn retries_make_a_new_future_each_time() {
    assert_eq!(flaky(Arc::default()).join().unwrap(), Ok(2));
    assert_eq!(flaky_with_context(Arc::default()).join().unwrap(), 3);
}

#[background_task]
async fn generic<T: Send + 'static>(value: T, twice: impl Fn(T) -> T + Send + 'static) -> T {
    twice(twice(value))
}

#[test]
fn generics() {
    assert_eq!(generic(3, |n| n * 2).join().unwrap(), 12);
}
