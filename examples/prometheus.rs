//! Metrics for Prometheus.
//!
//! ```text
//! cargo run --release --example prometheus -- 127.0.0.1:9000
//! curl http://127.0.0.1:9000/metrics
//! ```
//!
//! The program analyzes made-up documents until SIGTERM or SIGINT (Ctrl-C): each one is fetched by
//! an async task, counted in a worker process, stored by a task on a thread, and archived by a node
//! of a cluster. A worker process crashes now and then, and a background worker reports the totals.
//!
//! Any exporter for the crate `metrics` works in the same way. `docs/grafana.json` is a dashboard
//! for Grafana that shows these metrics.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use atasker::{
    Cluster, IntervalWorker, NodeConfig, PoolConfig, StopOptions, Supervisor, TaskContext,
    TaskError, WorkerContext, background_task, supervisor,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Upper bounds of the buckets of all histograms, in seconds.
const BUCKETS: [f64; 14] =
    [1e-5, 1e-4, 1e-3, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 10.0, 60.0];

static WORDS: AtomicU64 = AtomicU64::new(0);

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9000".into());
    let address: SocketAddr = address.parse()?;
    // With buckets, histograms can be aggregated over programs. Without, the exporter computes
    // quantiles.
    PrometheusBuilder::new()
        .with_http_listener(address)
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS)?
        .install()?;
    let sup = supervisor();
    sup.set_thread_pool(PoolConfig::new(4).reserve_high(1));
    sup.export_metrics().keep();
    // Within this process, in place of a cluster with a broker: the metrics are the same.
    let cluster = Cluster::in_memory();
    sup.join_cluster(&cluster);
    let node = cluster.serve(NodeConfig::threads(PoolConfig::new(1)).name("archive"))?;

    let report = IntervalWorker::builder(Duration::from_secs(1)).name("report");
    let report = report.run(|_: &WorkerContext| {
        eprintln!("prometheus: {} words", WORDS.load(Ordering::Relaxed));
    });
    report.start();
    let analysis = analyze();
    eprintln!("prometheus: serving http://{address}/metrics, process {}", std::process::id());

    wait_for_signal(sup)?;
    analysis.join()?;
    node.drain(Duration::from_secs(1));
    Ok(())
}

/// Waits for SIGTERM or SIGINT, and stops the supervisor.
fn wait_for_signal(sup: &Supervisor) -> Result<(), Box<dyn Error>> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    signals.forever().next();
    sup.stop(StopOptions::new().wait(Duration::from_secs(10)).cancel_tasks(true));
    Ok(())
}

/// Analyses one document after the other, until a stop is requested.
#[background_task(name = "analyze", priority = "high")]
fn analyze(ctx: &TaskContext) {
    for number in 0.. {
        if ctx.wait_stop(Duration::from_millis(20)) {
            return;
        }
        let Ok(Ok(text)) = fetch(number).join() else { continue };
        match count_words(text).join() {
            Ok(words) => {
                drop(store(words));
                drop(archive(number, words));
            }
            // The worker process has crashed twice; the next document has another one.
            Err(TaskError::WorkerDied(_)) => {}
            Err(_) => return,
        }
    }
}

/// Returns the text of a document.
#[background_task(name = "fetch")]
async fn fetch(number: u64) -> Result<String, String> {
    match number % 7 {
        0 => Err(format!("document {number} does not exist")),
        // Crashes its worker process.
        5 if number < 20 => Ok(String::new()),
        _ => Ok("to be or not to be ".repeat(1_000)),
    }
}

#[background_task(tt = "mp", name = "count_words", timeout = "5s", retries = 1)]
fn count_words(text: String) -> u64 {
    if text.is_empty() {
        std::process::abort();
    }
    text.split_whitespace().count() as u64
}

#[background_task(name = "store", priority = "low")]
fn store(words: u64) {
    WORDS.fetch_add(words, Ordering::Relaxed);
}

#[background_task(tt = "remote", name = "archive", priority = "low")]
fn archive(number: u64, words: u64) -> Result<(), String> {
    if words == 0 { Err(format!("document {number} is empty")) } else { Ok(()) }
}
