//! The same exchanges with nothing around the client of NATS: what this project could be at best.
//!
//! Streams and consumers are those that `atasker-nats` has made. Per call: append the entry, take it,
//! claim it, write the outcome, acknowledge the entry; the launcher hears of the outcomes by a watch.
//!
//! Claims and outcomes have no message ids, like those of this project, or have them, like those of the
//! prototype that the targets are from.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID};
use async_nats::{Client, HeaderMap, HeaderValue, Message};
use atasker_nats::Nats;
use atasker_runtime::__broker::{Broker, Guard, Record, Since};
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::figures::{Latencies, cpu_time, tell};

/// How many calls a launcher sends at a time, and how many a node takes at a time.
const WINDOW: usize = 1024;
const BATCH: usize = 256;

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

type Replies = Arc<Mutex<HashMap<u64, oneshot::Sender<Message>>>>;

struct Bare {
    client: Client,
    inbox: String,
    next: AtomicU64,
    waiting: Replies,
    /// What has made the streams and consumers, and watches outcomes.
    door: Arc<dyn Broker>,
}

impl Bare {
    async fn new(url: &str) -> Arc<Bare> {
        let door = Nats::new(url).__broker().await.expect("the server is there");
        door.open_queue("q").await.expect("there is a queue");
        let client = async_nats::connect(url).await.expect("the server is there");
        let inbox = client.new_inbox();
        let waiting = Replies::default();
        let mut replies = client.subscribe(format!("{inbox}.*")).await.expect("it is connected");
        let own = waiting.clone();
        tokio::spawn(async move {
            while let Some(message) = replies.next().await {
                let token = message.subject.rsplit('.').next().and_then(|t| t.parse().ok());
                if let Some(sender) = token.and_then(|token: u64| own.lock().remove(&token)) {
                    let _ = sender.send(message);
                }
            }
        });
        Arc::new(Bare { client, inbox, next: AtomicU64::new(1), waiting, door })
    }

    async fn ask(&self, subject: String, headers: HeaderMap, body: Vec<u8>) -> bytes::Bytes {
        let token = self.next.fetch_add(1, Relaxed);
        let (sender, reply) = oneshot::channel();
        self.waiting.lock().insert(token, sender);
        let inbox = format!("{}.{token}", self.inbox);
        let sent = self.client.publish_with_reply_and_headers(subject, inbox, headers, body.into());
        sent.await.expect("it is connected");
        reply.await.expect("it is connected").payload
    }

    async fn enqueue(&self, number: u64) {
        let id = format!("00000000000000aa-{number:x}");
        self.ask(format!("atasker.default.q.q.2.{id}"), with_id(&id), vec![1; 120]).await;
    }

    async fn outcomes(&self) -> (Guard, mpsc::UnboundedReceiver<u64>) {
        let (done, outcomes) = mpsc::unbounded_channel();
        let sink = Box::new(move |record: Record| {
            if record.value.first() == Some(&2) {
                let _ = done.send(record.number);
            }
        });
        let watch = self.door.watch("c.00000000000000aa.*", Since::Now, sink).await;
        (watch.expect("it is connected"), outcomes)
    }

    /// Claims a call, writes its outcome and acknowledges it.
    async fn carry(&self, message: Message, with_ids: bool) {
        let id = message.subject.rsplit('.').next().expect("a subject").to_owned();
        let subject = format!("atasker.default.s.c.{}", id.replace('-', "."));
        let headers = |end: &str, last: u64| {
            let mut headers = HeaderMap::new();
            if with_ids {
                headers.insert(NATS_MESSAGE_ID, format!("{id}{end}"));
            }
            headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, HeaderValue::from(last));
            headers
        };
        let ack = self.ask(subject.clone(), headers("c", 0), vec![1; 60]).await;
        let ack: serde_json::Value = serde_json::from_slice(&ack).expect("an acknowledgment");
        let seq = ack["seq"].as_u64().expect("it is stored");
        self.ask(subject, headers("o", seq), vec![2; 60]).await;
        let ack = message.reply.expect("an entry has one");
        self.client.publish(ack, "+ACK".into()).await.expect("it is connected");
    }
}

fn with_id(id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, id);
    headers
}

/// Serves until the process is killed.
pub fn node(url: &str, with_ids: bool) {
    run(async {
        let bare = Bare::new(url).await;
        let inbox = bare.client.new_inbox();
        let mut entries = bare.client.subscribe(inbox.clone()).await.expect("it is connected");
        let request = || async {
            let next = "$JS.API.CONSUMER.MSG.NEXT.atasker_default_Q.2_q";
            let body = format!("{{\"batch\":{BATCH},\"expires\":3600000000000}}");
            let sent = bare.client.publish_with_reply(next, inbox.clone(), body.into()).await;
            sent.expect("it is connected");
        };
        request().await;
        request().await;
        println!("ready");
        let mut got = 0;
        while let Some(message) = entries.next().await {
            if message.status.is_some() {
                continue;
            }
            got += 1;
            if got % BATCH == 0 {
                request().await;
            }
            let bare = bare.clone();
            tokio::spawn(async move { bare.carry(message, with_ids).await });
        }
    });
}

/// Launches all calls, then waits for all results.
pub fn rate(url: &str, count: u64) {
    run(async {
        let bare = Bare::new(url).await;
        let (_watch, mut outcomes) = bare.outcomes().await;
        println!("begin");
        let (begin, cpu) = (Instant::now(), cpu_time());
        let submit = stream::iter(0..count).for_each_concurrent(WINDOW, |n| bare.enqueue(n));
        let collect = async {
            for _ in 0..count {
                outcomes.recv().await.expect("an outcome");
            }
        };
        tokio::join!(submit, collect);
        let rate = count as f64 / begin.elapsed().as_secs_f64();
        tell(&[rate, (cpu_time() - cpu) * 1e6 / count as f64]);
    });
}

/// One call at a time.
pub fn round_trips(url: &str, count: u64) {
    run(async {
        let bare = Bare::new(url).await;
        let (_watch, mut outcomes) = bare.outcomes().await;
        let mut times = Latencies::new();
        for n in 0..count + 200 {
            let begin = Instant::now();
            bare.enqueue(n).await;
            outcomes.recv().await.expect("an outcome");
            if n >= 200 {
                times.push(begin.elapsed());
            }
        }
        tell(&[times.share(0.5), times.share(0.99), f64::NAN, f64::NAN]);
    });
}
