//! Does an error of any type arrive from a worker process, with its message, its sources and its type?

use std::error::Error;
use std::ops::ControlFlow;
use std::sync::Mutex;

use anyhow::Context;
use atasker::{
    RemoteError, RemoteResult, TaskContext, TaskError, WorkerError, background, background_task,
    background_worker,
};
use atasker_tests::eventually;

/// The functions that fail, by the type of their error.
#[background_task(tt = "mp")]
fn fails(with: &str) -> RemoteResult<Vec<u8>> {
    match with {
        "io" => Ok(std::fs::read("/nonexistent")?),
        "anyhow" => {
            let bytes = std::fs::read("/nonexistent").context("no configuration");
            Ok(bytes.context("no start")?)
        }
        "String" => Err(String::from("out of paper"))?,
        "&str" => Err("out of ink")?,
        "TaskError" => Err(TaskError::Canceled)?,
        "Box" => {
            let error: Box<dyn Error + Send + Sync> = "a box".into();
            Err(error)?
        }
        "RemoteError" => Err(RemoteError::from(std::fmt::Error))?,
        _ => Ok(vec![1, 2, 3]),
    }
}

/// Returns the error of the task.
#[track_caller]
fn error(with: &str) -> RemoteError {
    fails(with).join().unwrap().unwrap_err()
}

#[test]
fn result_without_error_arrives() {
    assert_eq!(fails("nothing").join().unwrap().unwrap(), [1, 2, 3]);
}

#[test]
fn error_of_any_type_arrives() {
    let no_file = std::fs::read("/nonexistent").unwrap_err();
    let io = error("io");
    assert_eq!(io.message(), no_file.to_string());
    assert_eq!((io.chain().len(), io.type_name()), (1, std::any::type_name_of_val(&no_file)));

    for (with, message, type_name) in [
        ("String", "out of paper", "alloc::string::String"),
        ("&str", "out of ink", "&str"),
        ("RemoteError", &std::fmt::Error.to_string(), "core::fmt::Error"),
    ] {
        let error = error(with);
        assert_eq!((error.message(), error.type_name()), (message, type_name));
        assert_eq!(error.to_string(), message);
    }
    assert_eq!(error("TaskError").message(), TaskError::Canceled.to_string());
    assert!(error("TaskError").type_name().ends_with("TaskError"));
    assert_eq!(error("Box").message(), "a box");
    assert!(error("Box").type_name().contains("dyn core::error::Error"));
}

#[test]
fn sources_arrive() {
    let io = std::fs::read("/nonexistent").unwrap_err().to_string();
    let error = error("anyhow");
    assert_eq!(error.chain(), ["no start", "no configuration", &io]);
    assert_eq!(format!("{error}"), "no start");
    let chain = format!("no start: no configuration: {io}");
    assert_eq!((format!("{error:#}"), format!("{error:?}")), (chain.clone(), chain));
    assert_eq!(error.type_name(), "anyhow::Error");

    let error = error.into_error();
    assert_eq!(error.to_string(), "no start");
    let source = error.source().unwrap();
    assert_eq!(source.to_string(), "no configuration");
    let source = source.source().unwrap();
    assert_eq!(source.to_string(), io);
    assert!(source.source().is_none());
}

#[test]
fn error_converts_to_other_errors() {
    fn boxed() -> Result<(), Box<dyn Error>> {
        fails("anyhow").join()??;
        Ok(())
    }
    fn sendable() -> Result<(), Box<dyn Error + Send + Sync>> {
        fails("anyhow").join()?.map_err(RemoteError::into_error)?;
        Ok(())
    }
    fn again() -> RemoteResult<()> {
        fails("anyhow").join()??;
        Ok(())
    }
    assert_eq!(boxed().unwrap_err().source().unwrap().to_string(), "no configuration");
    assert_eq!(sendable().unwrap_err().source().unwrap().to_string(), "no configuration");
    assert_eq!(again().unwrap_err(), error("anyhow"));
}

#[background_task(tt = "mp", codec = "msgpack")]
fn by_msgpack(error: RemoteError) -> Vec<Result<u32, RemoteError>> {
    vec![Ok(1), Err(error), Err("another one".into())]
}

#[test]
fn errors_travel_as_values_with_msgpack() {
    let error = RemoteError::from(anyhow::anyhow!("the cause").context("the effect"));
    let received = by_msgpack(error.clone()).join().unwrap();
    assert_eq!(received, [Ok(1), Err(error), Err("another one".into())]);
}

#[background_task(tt = "mp")]
fn sends(ctx: &TaskContext<RemoteError, RemoteError>) -> RemoteResult<()> {
    let received = ctx.recv()?;
    ctx.send(received)?;
    Ok(())
}

#[test]
fn errors_travel_as_messages() {
    let task = sends();
    task.send("ping".into()).unwrap();
    assert_eq!(task.recv().unwrap(), RemoteError::from("ping"));
    assert!(task.join().unwrap().is_ok());

    let stopped = sends();
    stopped.stop();
    match stopped.join() {
        // Stopped while it waits for a message, or before it began.
        Ok(result) => assert!(result.unwrap_err().type_name().ends_with("RecvError")),
        Err(error) => assert!(error.is_canceled()),
    }
}

fn plain(text: &str) -> RemoteResult<u16> {
    Ok(text.parse::<u16>()?)
}

#[test]
fn function_without_attribute_returns_one() {
    for task in [background!(plain("x"), tt = "mp"), background!(plain("x"))] {
        let error = task.join().unwrap().unwrap_err();
        assert_eq!(error.type_name(), "core::num::error::ParseIntError");
    }
}

#[background_task(tt = "mp")]
fn panics() -> RemoteResult<u32> {
    #[derive(Debug)]
    struct NoText;
    impl std::fmt::Display for NoText {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("no text")
        }
    }
    impl Error for NoText {}
    Err(NoText)?
}

#[test]
fn panic_of_display_is_panic_of_task() {
    let error = panics().join().unwrap_err();
    assert!(error.is_panic() && error.to_string().contains("no text"), "{error}");
    assert_eq!(fails("nothing").join().unwrap().unwrap(), [1, 2, 3], "the worker process works");
}

#[background_worker(queue, tt = "mp", on_error = report)]
fn parses(item: String) -> RemoteResult<()> {
    item.parse::<u32>()?;
    Ok(())
}

static REPORTED: Mutex<Option<String>> = Mutex::new(None);

fn report(error: &WorkerError) -> ControlFlow<()> {
    *REPORTED.lock().unwrap() = Some(error.message());
    ControlFlow::Break(())
}

#[test]
fn background_worker_reports_one() {
    let worker = parses();
    worker.start();
    worker.put("1".to_owned()).unwrap();
    worker.put("x".to_owned()).unwrap();
    eventually(|| !worker.is_active());
    assert_eq!(REPORTED.lock().unwrap().as_deref(), Some("invalid digit found in string"));
}
