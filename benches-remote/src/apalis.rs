//! apalis on Redis: a worker, and a launcher.
//!
//! Results of many tasks are looked up one after the other, so the burst waits until as many are done
//! as were pushed, and does not fetch the results. That makes it the easier task.

use std::time::{Duration, Instant};

use ::apalis::prelude::*;
use apalis_redis::{Config, ConnectionManager, RedisStorage};
use futures_util::{StreamExt, stream};

use crate::figures::{Latencies, cpu_time, tell};
use crate::stage::{Process, Server, Stage};

const QUEUE: &str = "benches";

async fn add((a, b): (u64, u64)) -> Result<u64, BoxDynError> {
    Ok(a + b)
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

type Storage = RedisStorage<(u64, u64), ConnectionManager>;

async fn storage(url: &str, kind: &str) -> Storage {
    let connection = apalis_redis::connect(url).await.expect("the server is there");
    let config = Config::default().queue(QUEUE);
    let config = if kind == "plain" { config } else { config.batch_size(100) };
    RedisStorage::new(connection).with_config(config)
}

/// Works until the process is killed.
pub fn worker(url: &str, kind: &str) {
    block_on(async {
        let builder = WorkerBuilder::new("worker").backend(storage(url, kind).await);
        println!("ready");
        let ended = match kind {
            "plain" => builder.build(add).run().await,
            _ => builder.parallelize(tokio::spawn).build(add).run().await,
        };
        ended.expect("the worker runs");
    });
}

async fn done(storage: &mut Storage) -> u64 {
    let key = storage.get_config().done_jobs_set();
    let mut command = redis::cmd("SCARD");
    let count = command.arg(key).query_async(storage.get_connection()).await;
    count.expect("the server is there")
}

/// Pushes all tasks, then waits until all are done.
pub fn rate(url: &str, count: u64) {
    block_on(async {
        let mut storage = storage(url, "quick").await;
        println!("begin");
        let (begin, cpu) = (Instant::now(), cpu_time());
        storage.push_stream(stream::iter((0..count).map(|n| (n, 1)))).await.expect("it is stored");
        while done(&mut storage).await < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let rate = count as f64 / begin.elapsed().as_secs_f64();
        tell(&[rate, (cpu_time() - cpu) * 1e6 / count as f64]);
    });
}

/// One task at a time, with its result.
pub fn round_trips(url: &str, count: u64) {
    block_on(async {
        let mut storage = storage(url, "quick").await;
        let (mut times, mut launches) = (Latencies::new(), Latencies::new());
        for n in 0..count {
            let begin = Instant::now();
            let id = TaskId::from_string(format!("task-{n}"));
            let task = TaskBuilder::new((n, 1)).task_id(id.clone()).build();
            storage.push_task(task).await.expect("it is stored");
            launches.push(begin.elapsed());
            let mut results = WaitForCompletion::<u64>::wait_for_single(&mut storage, id);
            let result = results.next().await.expect("a result").expect("it runs");
            assert_eq!(result.take().expect("it runs"), n + 1);
            times.push(begin.elapsed());
        }
        tell(&[times.share(0.5), times.share(0.99), launches.share(0.5), f64::NAN]);
    });
}

/// A repetition.
pub fn run(what: &str, kind: &str, count: u64) -> Vec<f64> {
    let server = Server::redis();
    let url = server.url();
    let mut worker = Process::role(&["apalis-worker", &url, kind]);
    worker.until("ready");
    let stage = Stage { server, workers: vec![worker] };
    let role = format!("apalis-{what}");
    let mut launcher = Process::role(&[&role, &url, &count.to_string()]);
    match what {
        "rate" => stage.rate(launcher, count),
        _ => launcher.figures(),
    }
}
