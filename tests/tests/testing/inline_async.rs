//! How do async tasks run under `testing::inline`?

use std::future::pending;
use std::time::Duration;

use atasker::{
    RecvError, Supervisor, TaskBuilder, TaskContext, TaskError, background_task, testing,
};
use atasker_tests::{FAR, Watchdog, pool};

#[background_task]
async fn relays(ctx: TaskContext<u8, u8>, n: u8) -> Result<u8, RecvError> {
    ctx.send_async(n).await.unwrap();
    ctx.recv_async().await
}

#[test]
fn context_works() {
    let _watchdog = Watchdog::new("inline", FAR);
    let _guard = testing::inline();
    let task = relays(7);
    assert_eq!(task.recv(), Ok(7));
    assert_eq!(task.join().unwrap(), Err(RecvError::Closed));
}

#[test]
fn sockets_timers_and_tokio_tasks_work() {
    let sup = pool(1);
    let _guard = testing::inline();
    let serve = |sup: &Supervisor| {
        sup.spawn_async(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = tokio::spawn(async move {
                let (socket, _) = listener.accept().await.unwrap();
                let mut text = [0; 5];
                // It may be reported as readable too early.
                while socket.try_read(&mut text).is_err() {
                    socket.readable().await.unwrap();
                }
                text
            });
            let socket = tokio::net::TcpStream::connect(address).await.unwrap();
            socket.writable().await.unwrap();
            assert_eq!(socket.try_write(b"hello").unwrap(), 5);
            tokio::time::timeout(FAR, server).await.unwrap().unwrap()
        })
    };
    assert_eq!(&serve(&sup).join().unwrap(), b"hello");
    // Inside of another task as well.
    let ours = sup.clone();
    let nested = sup.spawn_async(async move { serve(&ours).await.unwrap() });
    assert_eq!(&nested.join().unwrap(), b"hello");
    assert_eq!(
        sup.spawn_async(async { tokio::task::spawn_blocking(|| 42).await.unwrap() })
            .join()
            .unwrap(),
        42
    );
}

#[test]
fn what_one_task_leaves_serves_the_next() {
    let sup = pool(1);
    let _guard = testing::inline();
    let (tx, mut rx) = tokio::sync::mpsc::unbounded_channel();
    sup.spawn_async(async move {
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            tx.send(42).unwrap();
        });
    })
    .join()
    .unwrap();
    assert_eq!(sup.spawn_async(async move { rx.recv().await }).join().unwrap(), Some(42));
}

#[background_task(retries = 3)]
async fn never() -> Result<(), String> {
    pending().await
}

async fn refused_inside_a_runtime(sup: Supervisor) {
    let task = {
        let _guard = testing::inline();
        // Tasks of other kinds run.
        assert_eq!(sup.spawn(|| 1).result(), Some(&1));
        never::builder().supervisor(&sup).start()
    };
    assert!(task.is_completed() && task.info().attempt == 0);
    let error = task.await.unwrap_err();
    assert!(matches!(&error, TaskError::NotStarted { .. }), "{error:?}");
    assert!(error.to_string().contains("tokio runtime"), "{error}");
}

#[test]
fn inside_a_tokio_runtime_an_async_task_does_not_start() {
    let sup = pool(1);
    let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime().block_on(refused_inside_a_runtime(sup.clone()));
    // An aloop is one as well.
    sup.create_aloop("a").run(refused_inside_a_runtime(sup.clone()));
    // A thread that a runtime lends out may block.
    let lent = runtime().block_on(async move {
        tokio::task::spawn_blocking(move || {
            let _guard = testing::inline();
            sup.spawn_async(async { 42 }).join().unwrap()
        })
        .await
    });
    assert_eq!(lent.unwrap(), 42);
}

#[tokio::test]
async fn guard_in_an_async_test_serves_tasks_of_other_kinds() {
    let sup = pool(1);
    let _guard = testing::inline();
    let task = TaskBuilder::with_context(|ctx: &TaskContext<u8, u8>| ctx.send(1));
    let task = task.delay(FAR).supervisor(&sup).start();
    assert_eq!(task.recv_async().await, Ok(1));
    assert!(task.await.unwrap().is_ok());
}

#[test]
fn guard_may_be_dropped_inside_a_runtime() {
    let sup = pool(1);
    let guard = testing::inline();
    assert_eq!(sup.spawn_async(async { 1 }).join().unwrap(), 1);
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(async move { drop(guard) });
}
