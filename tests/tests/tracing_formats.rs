//! Do spans and events of a worker process look like those of this process, as text and as JSON?
//! This test has its own program because it sets the global subscriber.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use atasker::{MpPoolConfig, background_task};
use atasker_tests::mp::supervisor;
use serde_json::{Value, json};
use tracing::{info, info_span, instrument, warn};
use tracing_subscriber::Layer as _;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Lines;
    fn make_writer(&'a self) -> Lines {
        self.clone()
    }
}

impl Lines {
    /// The lines since the last call.
    fn take(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        String::from_utf8(bytes).unwrap().lines().map(ToOwned::to_owned).collect()
    }
}

#[instrument(skip(text))]
fn works(text: &str, numbers: (i32, u128)) {
    let error: Box<dyn std::error::Error> = "not a number".parse::<u32>().unwrap_err().into();
    let span = info_span!("step", count = 3, ratio = 0.5, kind = "a \"kind\"", shown = %"plain");
    span.in_scope(|| {
        warn!(text, ?numbers, error = &*error, big = numbers.1, yes = true, "in the step {}", 1);
        info!(target: "elsewhere", "only a message");
    });
}

#[background_task(tt = "mp")]
fn works_there(text: &str) {
    works(text, (-5, u128::MAX));
}

#[test]
fn remote_output_is_that_of_this_process() {
    let (texts, jsons) = (Lines::default(), Lines::default());
    let text = tracing_subscriber::fmt::layer()
        .with_writer(texts.clone())
        .without_time()
        .with_ansi(false)
        .with_file(true)
        .with_line_number(true)
        .with_span_events(FmtSpan::NEW);
    let json = tracing_subscriber::fmt::layer()
        .json()
        .with_writer(jsons.clone())
        .without_time()
        .with_current_span(true);
    // Not the events of the library. A filter that wants none of its spans would get no parents.
    let only_tests = tracing_subscriber::filter::filter_fn(|metadata| {
        metadata.is_span() || metadata.target() != "atasker"
    });
    let subscriber = tracing_subscriber::registry()
        .with(text.with_filter(only_tests.clone()))
        .with(json.with_filter(only_tests));
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let sup = supervisor(MpPoolConfig::new(1));

    let request = info_span!("request", id = 12);
    texts.take();
    request.in_scope(|| works("hello", (-5, u128::MAX)));
    let (text_here, json_here) = (texts.take(), jsons.take());
    let task = request.in_scope(|| works_there::builder("hello").supervisor(&sup).start());
    let (id, worker) = (task.id(), sup.clone());
    task.join().unwrap();
    let worker = worker.info().mp_pool.unwrap().workers[0].pid;
    let (text_there, json_there) = (texts.take(), jsons.take());

    assert_eq!((text_here.len(), text_there.len()), (4, 4), "{text_there:#?}");
    assert_eq!(text_here[..2], text_there[..2]);
    assert!(text_here[2].contains("kind=\"a \\\"kind\\\"\" shown=plain"), "{}", text_here[2]);
    for (here, there) in text_here[2..].iter().zip(&text_there[2..]) {
        assert_eq!(format!("{here} task={id} worker={worker}"), *there);
    }

    assert_eq!((json_here.len(), json_there.len()), (2, 2));
    for (here, there) in json_here.iter().zip(&json_there) {
        let mut here: Value = serde_json::from_str(here).unwrap();
        let mut there: Value = serde_json::from_str(there).unwrap();
        let fields = there["fields"].as_object_mut().unwrap();
        assert_eq!(fields.remove("task"), Some(json!(id.to_string())));
        assert_eq!(fields.remove("worker"), Some(json!(worker)));
        // `spans` lists those that the emitting thread has entered, and remote spans are not entered.
        assert_eq!(here["spans"].as_array().unwrap().len(), 3);
        assert_eq!(there["spans"], json!([]));
        here["spans"].take();
        there["spans"].take();
        assert_eq!(here, there);
    }
}
