//! How many calls per second the door to the broker carries: append, pull, claim, outcome and
//! acknowledgment of each, while a watch reports all outcomes. Beside it, in turns, the same by the
//! client alone.
//!
//! `cargo run --release -p atasker-nats --example raw_loop -- 20000 5`

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use async_nats::{Client, HeaderMap};
use atasker_nats::Nats;
use atasker_runtime::__broker::{Broker, Delivery, EntryKey, Expect, Since};
use atasker_runtime::Priority;
use futures_util::{StreamExt, stream};
use tokio::sync::{mpsc, oneshot};

#[path = "../tests/support/mod.rs"]
mod support;

/// How many calls a launcher sends at a time, and how many a node takes at a time.
const WINDOW: usize = 1024;
const BATCH: usize = 256;

fn main() {
    let mut args = std::env::args().skip(1).map(|a| a.parse::<usize>().expect("a number"));
    let count = args.next().unwrap_or(20_000);
    let rounds = args.next().unwrap_or(3);
    for round in 0..rounds {
        let door = with_server(|url| door(url, count));
        let bare = with_server(|url| bare(url, count));
        let rate = |t: Duration| count as f64 / t.as_secs_f64();
        println!(
            "round {round}: door {:.0}/s, bare client {:.0}/s, ratio {:.2}",
            rate(door),
            rate(bare),
            rate(door) / rate(bare)
        );
    }
    let server = support::Server::start();
    support::run(latency(&server.url()));
}

fn with_server(run: impl FnOnce(&str) -> Duration) -> Duration {
    let server = support::Server::start();
    run(&server.url())
}

async fn member(url: &str) -> Arc<dyn Broker> {
    Nats::new(url).__broker().await.unwrap()
}

/// A node in a thread, a launcher in another one.
fn door(url: &str, count: usize) -> Duration {
    let (stop, stopped) = oneshot::channel::<()>();
    let node_url = url.to_owned();
    let node = std::thread::spawn(move || {
        support::run(async {
            let broker = member(&node_url).await;
            broker.open_queue("q").await.unwrap();
            let work = || async {
                let mut tasks = tokio::task::JoinSet::new();
                loop {
                    while tasks.try_join_next().is_some() {}
                    let mut got = broker.pull_now("q", Priority::Normal, BATCH).await.unwrap();
                    if got.is_empty() {
                        let next = broker.pull_next("q", Priority::Normal, Duration::from_secs(5));
                        got.extend(next.await.unwrap());
                    }
                    for delivery in got {
                        let broker = broker.clone();
                        tasks.spawn(async move { run_one(&*broker, delivery).await });
                    }
                    while tasks.len() > 2 * BATCH {
                        tasks.join_next().await;
                    }
                }
            };
            tokio::select! {
                _ = async { tokio::join!(work(), work()) } => {}
                _ = stopped => {}
            }
            broker.close().await;
        });
    });
    let taken = support::run(async {
        let broker = member(url).await;
        broker.open_queue("q").await.unwrap();
        let (done, mut outcomes) = mpsc::unbounded_channel();
        let sink = Box::new(move |record: atasker_runtime::__broker::Record| {
            if record.value.first() == Some(&2) {
                let _ = done.send(record.number);
            }
        });
        let _watch = broker.watch("c.00000000000000aa.*", Since::Now, sink).await.unwrap();
        let begin = Instant::now();
        let submit = stream::iter(0..count).for_each_concurrent(WINDOW, |i| {
            let broker = &broker;
            async move {
                let id = format!("00000000000000aa-{i:x}");
                let key = EntryKey { queue: "q".into(), priority: Priority::Normal, id };
                broker.enqueue(&key, vec![1; 120]).await.unwrap();
            }
        });
        let collect = async {
            for _ in 0..count {
                outcomes.recv().await.unwrap();
            }
        };
        tokio::join!(submit, collect);
        begin.elapsed()
    });
    let _ = stop.send(());
    node.join().unwrap();
    taken
}

async fn run_one(broker: &dyn Broker, delivery: Delivery) {
    let id = &delivery.entry.key.id;
    let (origin, number) = id.split_once('-').unwrap();
    let key = format!("c.{origin}.{number}");
    let claim = broker.write(&key, Expect::Absent, &format!("{id}c"), vec![1; 60]).await.unwrap();
    let outcome = Expect::Number(claim);
    broker.write(&key, outcome, &format!("{id}o"), vec![2; 60]).await.unwrap();
    broker.ack(&delivery.token);
}

/// One call at a time.
async fn latency(url: &str) {
    let (launcher, node) = (member(url).await, member(url).await);
    node.open_queue("q").await.unwrap();
    let (done, mut outcomes) = mpsc::unbounded_channel();
    let sink = Box::new(move |record: atasker_runtime::__broker::Record| {
        if record.value.first() == Some(&2) {
            let _ = done.send(());
        }
    });
    let _watch = launcher.watch("c.00000000000000aa.*", Since::Now, sink).await.unwrap();
    let serving = tokio::spawn(async move {
        loop {
            let next = node.pull_next("q", Priority::Normal, Duration::from_secs(5)).await;
            if let Some(delivery) = next.unwrap() {
                run_one(&*node, delivery).await;
            }
        }
    });
    let mut times = Vec::new();
    for i in 0..2000 {
        let begin = Instant::now();
        let id = format!("00000000000000aa-{i:x}");
        let key = EntryKey { queue: "q".into(), priority: Priority::Normal, id };
        launcher.enqueue(&key, vec![1; 120]).await.unwrap();
        outcomes.recv().await.unwrap();
        times.push(begin.elapsed());
    }
    serving.abort();
    times.sort();
    println!("one call: median {:?}, p99 {:?}", times[1000], times[1980]);
}

/// The same exchanges with nothing around the client.
struct Bare {
    client: Client,
    inbox: String,
    next: AtomicU64,
    waiting: Arc<parking_lot::Mutex<HashMap<u64, oneshot::Sender<async_nats::Message>>>>,
}

impl Bare {
    async fn new(url: &str) -> Arc<Bare> {
        let client = async_nats::connect(url).await.unwrap();
        let inbox = client.new_inbox();
        let waiting: Arc<parking_lot::Mutex<HashMap<u64, oneshot::Sender<_>>>> = Arc::default();
        let mut replies = client.subscribe(format!("{inbox}.*")).await.unwrap();
        let own = waiting.clone();
        tokio::spawn(async move {
            while let Some(message) = replies.next().await {
                let token = message.subject.rsplit('.').next().unwrap().parse::<u64>().unwrap();
                if let Some(sender) = own.lock().remove(&token) {
                    let _ = sender.send(message);
                }
            }
        });
        Arc::new(Bare { client, inbox, next: AtomicU64::new(1), waiting })
    }

    async fn ask(&self, subject: String, headers: HeaderMap, body: Vec<u8>) -> bytes::Bytes {
        let token = self.next.fetch_add(1, Relaxed);
        let (sender, reply) = oneshot::channel();
        self.waiting.lock().insert(token, sender);
        let inbox = format!("{}.{token}", self.inbox);
        let sent = self.client.publish_with_reply_and_headers(subject, inbox, headers, body.into());
        sent.await.unwrap();
        reply.await.unwrap().payload
    }
}

fn id_header(id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", id);
    headers
}

fn bare(url: &str, count: usize) -> Duration {
    let (ready, is_ready) = std::sync::mpsc::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let node_url = url.to_owned();
    let node = std::thread::spawn(move || {
        support::run(async {
            // The streams and consumers are those of the door.
            let broker = member(&node_url).await;
            broker.open_queue("q").await.unwrap();
            let bare = Bare::new(&node_url).await;
            let mut entries = bare.client.subscribe(format!("{}x", bare.inbox)).await.unwrap();
            ready.send(()).unwrap();
            let next = "$JS.API.CONSUMER.MSG.NEXT.atasker_default_Q.2_q";
            let request = || {
                let body = format!("{{\"batch\":{BATCH},\"expires\":30000000000}}");
                bare.client.publish_with_reply(next, format!("{}x", bare.inbox), body.into())
            };
            request().await.unwrap();
            request().await.unwrap();
            let work = async {
                let mut got = 0;
                while let Some(message) = entries.next().await {
                    got += 1;
                    if got % BATCH == 0 {
                        request().await.unwrap();
                    }
                    let bare = bare.clone();
                    tokio::spawn(async move {
                        let id = message.subject.rsplit('.').next().unwrap().to_owned();
                        let key = id.replace('-', ".");
                        let subject = format!("atasker.default.s.c.{key}");
                        let mut headers = id_header(&format!("{id}c"));
                        headers.insert("Nats-Expected-Last-Subject-Sequence", "0");
                        let ack = bare.ask(subject.clone(), headers, vec![1; 60]).await;
                        let text = std::str::from_utf8(&ack).unwrap();
                        let seq = text.split("\"seq\":").nth(1).unwrap();
                        let seq = seq.trim_start().split(['}', ',']).next().unwrap();
                        let mut headers = id_header(&format!("{id}o"));
                        headers.insert("Nats-Expected-Last-Subject-Sequence", seq);
                        bare.ask(subject, headers, vec![2; 60]).await;
                        let ack = message.reply.unwrap();
                        bare.client.publish(ack, "+ACK".into()).await.unwrap();
                    });
                }
            };
            tokio::select! {
                () = work => {}
                _ = stopped => {}
            }
            broker.close().await;
        });
    });
    is_ready.recv().unwrap();
    let taken = support::run(async {
        let broker = member(url).await;
        let bare = Bare::new(url).await;
        let (done, mut outcomes) = mpsc::unbounded_channel();
        let sink = Box::new(move |record: atasker_runtime::__broker::Record| {
            if record.value.first() == Some(&2) {
                let _ = done.send(record.number);
            }
        });
        let _watch = broker.watch("c.00000000000000aa.*", Since::Now, sink).await.unwrap();
        let begin = Instant::now();
        let submit = stream::iter(0..count).for_each_concurrent(WINDOW, |i| {
            let bare = &bare;
            async move {
                let id = format!("00000000000000aa-{i:x}");
                let subject = format!("atasker.default.q.q.2.{id}");
                bare.ask(subject, id_header(&id), vec![1; 120]).await;
            }
        });
        let collect = async {
            for _ in 0..count {
                outcomes.recv().await.unwrap();
            }
        };
        tokio::join!(submit, collect);
        begin.elapsed()
    });
    let _ = stop.send(());
    node.join().unwrap();
    taken
}
