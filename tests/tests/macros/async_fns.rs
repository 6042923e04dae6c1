//! What does the attribute generate for async functions?

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use atasker::{Outcome, TaskContext, TaskType, background_task};

/// Fetches a page.
#[background_task]
pub async fn fetch(id: u32) -> Result<String, std::io::Error> {
    tokio::time::sleep(Duration::from_millis(1)).await;
    if id == 0 { Err(std::io::Error::other("no page")) } else { Ok(format!("page {id}")) }
}

#[test]
fn async_fn_runs_on_aloop() {
    let task = fetch(7);
    assert_eq!(task.tt(), TaskType::Async);
    assert_eq!(task.name(), "macros::async_fns::fetch");
    assert_eq!(task.join().unwrap().unwrap(), "page 7");
    let task = fetch(0);
    assert!(task.wait().unwrap().is_err());
    assert_eq!(task.info().outcome, Some(Outcome::ReturnedErr));
}

#[test]
fn call_returns_future_and_task_is_awaitable() {
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
fn aloop_key_selects_loop() {
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
fn context_is_passed_by_reference_or_value() {
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
fn retry_creates_new_future() {
    assert_eq!(flaky(Arc::default()).join().unwrap(), Ok(2));
    assert_eq!(flaky_with_context(Arc::default()).join().unwrap(), 3);
}

#[background_task]
async fn generic<T: Send + 'static>(value: T, twice: impl Fn(T) -> T + Send + 'static) -> T {
    twice(twice(value))
}

#[test]
fn generic_async_fns_compile() {
    assert_eq!(generic(3, |n| n * 2).join().unwrap(), 12);
}
