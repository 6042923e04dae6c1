//! What a real server does when it is killed, stopped or restarted, and what the door to the broker
//! makes of it.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use atasker_runtime::__broker::{
    Broker, BrokerError, Delivery, EntryKey, Expect, Kept, Record, Since,
};
use atasker_runtime::{Overflow, Priority};
use support::{LIMIT, Server, run, until};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

fn key(id: &str) -> EntryKey {
    EntryKey { queue: "q".into(), priority: Priority::Normal, id: id.into() }
}

fn id(delivery: &Delivery) -> &str {
    &delivery.entry.key.id
}

async fn pull(broker: &dyn Broker, count: usize) -> Vec<Delivery> {
    let end = Instant::now() + LIMIT;
    let mut all = Vec::new();
    while all.len() < count {
        assert!(Instant::now() < end, "only {} of {count} entries came", all.len());
        match broker.pull_now("q", Priority::Normal, count - all.len()).await {
            Ok(got) => all.extend(got),
            Err(error) => eprintln!("pull: {error}"),
        }
    }
    all
}

async fn connection(broker: &Arc<dyn Broker>, is_there: bool) {
    until("the connection", || async { broker.is_connected() == is_there }).await;
}

/// Writes until there is an answer, and compares what is there when a request is refused of which an
/// earlier one was not answered.
async fn write(
    broker: &dyn Broker,
    key: &str,
    expect: Expect,
    token: &str,
    value: &[u8],
) -> Result<u64, BrokerError> {
    let end = Instant::now() + LIMIT;
    let mut is_unsure = false;
    loop {
        let written = broker.write(key, expect, token, value.to_vec()).await;
        let error = match written {
            Err(BrokerError::Conflict) if is_unsure => match broker.read(key).await {
                Ok(Some(record)) if record.value == value => return Ok(record.number),
                Ok(_) => return Err(BrokerError::Conflict),
                Err(error) => error,
            },
            Err(error) => error,
            Ok(number) => return Ok(number),
        };
        match error {
            BrokerError::NoAnswer(_) | BrokerError::Unavailable(_) if Instant::now() < end => {
                is_unsure = true;
            }
            error => return Err(error),
        }
    }
}

async fn enqueue(broker: &dyn Broker, id: &str) {
    let end = Instant::now() + LIMIT;
    while let Err(error) = broker.enqueue(&key(id), id.into()).await {
        assert!(Instant::now() < end, "{error}");
    }
}

async fn watch(
    broker: &dyn Broker,
    filter: &str,
) -> (atasker_runtime::__broker::Guard, mpsc::UnboundedReceiver<Record>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let sink = Box::new(move |record| drop(sender.send(record)));
    (broker.watch(filter, Since::Now, sink).await.unwrap(), receiver)
}

/// Members that work while the server is killed again and again: every entry is taken and ends with
/// one outcome, and nothing is left.
#[test]
fn killed_servers_strand_nothing() {
    const CALLS: usize = 1500;
    let mut server = Server::start();
    run(async {
        let launcher = server.broker().await;
        let nodes = [server.broker().await, server.broker().await];
        let (_watch, mut seen) = watch(&*launcher, "c.*").await;
        let submit = async {
            let mut tasks = tokio::task::JoinSet::new();
            for i in 0..CALLS {
                let launcher = launcher.clone();
                tasks.spawn(async move { enqueue(&*launcher, &i.to_string()).await });
                if i % 8 == 7 {
                    sleep(Duration::from_millis(5)).await;
                }
            }
            while tasks.join_next().await.is_some() {}
        };
        let ended = AtomicBool::new(false);
        let serve = |node: Arc<dyn Broker>, name: &'static str| {
            let ended = &ended;
            async move {
                let mut tasks = tokio::task::JoinSet::new();
                while !ended.load(Relaxed) {
                    let wait = Duration::from_secs(2);
                    let Ok(Some(first)) = node.pull_next("q", Priority::Normal, wait).await else {
                        continue;
                    };
                    let mut got = vec![first];
                    got.extend(node.pull_now("q", Priority::Normal, 31).await.unwrap_or_default());
                    for delivery in got {
                        let node = node.clone();
                        tasks.spawn(async move { carry_out(&*node, name, delivery).await });
                    }
                }
                while tasks.join_next().await.is_some() {}
            }
        };
        let kill = async {
            for round in 0..4 {
                sleep(Duration::from_millis(300)).await;
                server.kill();
                sleep(Duration::from_millis(100 * round)).await;
                server.run();
            }
        };
        let collect = async {
            let mut outcomes = std::collections::HashMap::<String, u32>::new();
            while outcomes.len() < CALLS {
                let record = timeout(LIMIT, seen.recv()).await;
                let Ok(Some(record)) = record else {
                    let queues = launcher.queues().await;
                    panic!("{} of {CALLS} outcomes came, {queues:?}", outcomes.len());
                };
                if record.value.starts_with(b"end") {
                    *outcomes.entry(record.key).or_default() += 1;
                }
            }
            // What comes back is acknowledged once more, until nothing is left.
            until("an empty queue", || async {
                let Ok(queues) = launcher.queues().await else { return false };
                queues.iter().all(|q| q.waiting == [0; 4] && q.given_out == 0)
            })
            .await;
            ended.store(true, Relaxed);
            outcomes
        };
        let (outcomes, ..) = tokio::join!(
            collect,
            submit,
            kill,
            serve(nodes[0].clone(), "a"),
            serve(nodes[1].clone(), "b")
        );
        assert!(outcomes.values().all(|count| *count == 1), "a call has two outcomes");
    });
}

/// What a node does with an entry, in outline.
async fn carry_out(node: &dyn Broker, name: &str, delivery: Delivery) {
    let key = format!("c.{}", id(&delivery));
    let claim_token = format!("{name}-claim-{}-{}", id(&delivery), delivery.delivered);
    let mut expect = Expect::Absent;
    let claim = loop {
        match write(node, &key, expect, &claim_token, name.as_bytes()).await {
            Ok(number) => break number,
            Err(BrokerError::Conflict) => {}
            Err(_) => return,
        }
        match node.read(&key).await {
            Ok(Some(record)) if record.value.starts_with(b"end") => {
                return node.ack(&delivery.token);
            }
            // The claim of a run that has not ended: that of the other node counts while it lives,
            // as both do here.
            Ok(Some(record)) if record.value != name.as_bytes() => {
                return node.nak(&delivery.token, Duration::from_millis(100));
            }
            Ok(Some(record)) => expect = Expect::Number(record.number),
            Ok(None) => expect = Expect::Absent,
            Err(_) => {}
        }
    };
    let token = format!("{claim_token}-end");
    match write(node, &key, Expect::Number(claim), &token, b"end").await {
        Ok(_) => node.ack(&delivery.token),
        // It came to this node again meanwhile, which has claimed it anew.
        Err(_) => node.nak(&delivery.token, Duration::from_millis(100)),
    }
}

/// After SIGKILL, entries that were acknowledged are back in the stream. The consumers that are
/// created anew deliver them, so they can be acknowledged again, and don't count against the limit.
#[test]
fn acknowledged_entries_that_come_back_are_delivered() {
    let mut server = Server::start();
    run(async {
        let broker = server.broker().await;
        // Without new consumers, about every fourth round leaves entries that never come.
        for round in 0..6 {
            let mut tasks = tokio::task::JoinSet::new();
            for i in 0..5_000 {
                let broker = broker.clone();
                tasks.spawn(async move { enqueue(&*broker, &format!("{round}-{i}")).await });
                if tasks.len() >= 500 {
                    tasks.join_next().await;
                }
            }
            tasks.join_all().await;
            for delivery in pull(&*broker, 5_000).await {
                broker.ack(&delivery.token);
            }
            // The server has taken the acknowledgments, and writes down what they mean.
            broker.time().await.unwrap();
            server.kill();
            connection(&broker, false).await;
            server.run();
            connection(&broker, true).await;
            // However many are back: all are delivered.
            until("an empty stream", || async {
                let got = broker.pull_now("q", Priority::Normal, 500).await.unwrap_or_default();
                for delivery in &got {
                    broker.ack(&delivery.token);
                }
                messages_of_queues(&server).await == 0
            })
            .await;
        }
    });
}

/// The number of messages in stream Q, by the server's own count.
async fn messages_of_queues(server: &Server) -> u64 {
    let client = async_nats::connect(server.url()).await.unwrap();
    let reply = client.request("$JS.API.STREAM.INFO.atasker_default_Q", "".into()).await;
    let Ok(reply) = reply else { return u64::MAX };
    let info: serde_json::Value = serde_json::from_slice(&reply.payload).unwrap();
    info["state"]["messages"].as_u64().unwrap_or(u64::MAX)
}

/// An acknowledgment that comes after the entry was given to another member removes it, and one that
/// gives it back leads to a third delivery: neither says anything about the call.
#[test]
fn late_acknowledgments_are_not_fenced() {
    let server = Server::start();
    run(async {
        let (zombie, other) = (server.broker().await, server.broker().await);
        enqueue(&*zombie, "1").await;
        let first = pull(&*zombie, 1).await.remove(0);
        let second = other.pull_next("q", Priority::Normal, LIMIT).await.unwrap().unwrap();
        assert_eq!((id(&second), second.delivered), ("1", 2));
        zombie.nak(&first.token, Duration::ZERO);
        let third = other.pull_next("q", Priority::Normal, LIMIT).await.unwrap().unwrap();
        assert_eq!(third.delivered, 3);
        zombie.ack(&first.token);
        until("removal", || async { other.find_entry("1").await.unwrap().is_none() }).await;
        let wait = other.limits().redeliver_after * 2;
        assert_eq!(other.pull_next("q", Priority::Normal, wait).await.unwrap(), None);
    });
}

/// A write that is sent again over a new connection, also to a server that was killed meanwhile, changes
/// nothing, and an entry that is appended again is one.
#[test]
fn writes_are_refused_again_after_a_crash() {
    let mut server = Server::start();
    run(async {
        let broker = server.broker().await;
        let first = broker.write("k", Expect::Absent, "t1", vec![1]).await.unwrap();
        enqueue(&*broker, "1").await;
        server.kill();
        connection(&broker, false).await;
        // Begun while there is no server.
        let again = write(&*broker, "k", Expect::Absent, "t1", &[1]);
        let second = write(&*broker, "l", Expect::Absent, "t2", &[2]);
        let start = async {
            sleep(Duration::from_millis(700)).await;
            server.run();
        };
        let (again, second, ()) = tokio::join!(again, second, start);
        assert_eq!(again, Err(BrokerError::Conflict));
        assert_eq!(broker.read("k").await.unwrap().unwrap().number, first);
        let conflict = Err(BrokerError::Conflict);
        assert_eq!(write(&*broker, "l", Expect::Absent, "t2", &[2]).await, conflict);
        let second = second.unwrap();
        assert!(second > first);
        assert_eq!(broker.read("l").await.unwrap().unwrap().number, second);
        enqueue(&*broker, "1").await;
        // It may be given out twice, because its consumer is made anew, but it is one entry.
        assert_eq!(pull(&*broker, 1).await.len(), 1);
        assert_eq!(messages_of_queues(&server).await, 1);
    });
}

/// Requests for entries die with the server; they are made again.
#[test]
fn pulls_go_on_after_a_restart() {
    let mut server = Server::start();
    run(async {
        let broker = server.broker().await;
        broker.open_queue("q").await.unwrap();
        for round in 0..4 {
            let own = broker.clone();
            let waiting =
                tokio::spawn(async move { own.pull_next("q", Priority::Normal, LIMIT).await });
            sleep(Duration::from_millis(200)).await;
            if round % 2 == 0 {
                server.kill()
            } else {
                server.stop()
            };
            connection(&broker, false).await;
            server.run();
            let name = round.to_string();
            enqueue(&*broker, &name).await;
            let begin = Instant::now();
            let got = waiting.await.unwrap().unwrap().expect("no entry came");
            assert_eq!(id(&got), name);
            eprintln!("an entry came {:?} after it was appended", begin.elapsed());
            broker.ack(&got.token);
        }
    });
}

/// A server that is not there for some time: what was asked meanwhile ends in a bounded time, and
/// all goes on afterwards.
#[test]
fn nothing_hangs_without_a_server() {
    let mut server = Server::start();
    run(async {
        let broker = server.broker().await;
        let (told, mut changes) = mpsc::unbounded_channel();
        broker.on_connection(Box::new(move |there| told.send(there).unwrap_or(())));
        broker.open_queue("q").await.unwrap();
        server.kill();
        assert_eq!(timeout(LIMIT, changes.recv()).await.unwrap(), Some(false));
        let limit = Duration::from_secs(9);
        let no_answer = |e: BrokerError| assert!(matches!(e, BrokerError::NoAnswer(_)), "{e:?}");
        let write = async {
            let written = broker.write("k", Expect::Absent, "t", vec![]);
            no_answer(timeout(limit, written).await.unwrap().unwrap_err());
        };
        let append = async {
            let key = key("1");
            let appended = broker.enqueue(&key, vec![]);
            no_answer(timeout(limit, appended).await.unwrap().unwrap_err());
        };
        let now = async {
            let pulled = broker.pull_now("q", Priority::Normal, 1);
            no_answer(timeout(limit, pulled).await.unwrap().unwrap_err());
        };
        let next = async {
            let pulled = broker.pull_next("q", Priority::Normal, Duration::from_secs(1));
            assert_eq!(timeout(limit, pulled).await.unwrap(), Ok(None));
        };
        let ask = async {
            let asked = broker.request("m.x", vec![], Duration::from_secs(1));
            no_answer(timeout(limit, asked).await.unwrap().unwrap_err());
        };
        tokio::join!(write, append, now, next, ask);
        assert!(!broker.is_connected());
        server.run();
        assert_eq!(timeout(LIMIT, changes.recv()).await.unwrap(), Some(true));
        enqueue(&*broker, "1").await;
        assert_eq!(pull(&*broker, 1).await.len(), 1);
    });
}

/// A watch reports every key once more or less, in order, over several connections.
#[test]
fn watches_have_no_gaps_over_a_restart() {
    let mut server = Server::start();
    run(async {
        let (watching, writing) = (server.broker().await, server.broker().await);
        let (_watch, mut seen) = watch(&*watching, "c.*").await;
        let write_all = async {
            for i in 0..600 {
                let (key, token) = (format!("c.{i}"), format!("t{i}"));
                write(&*writing, &key, Expect::Absent, &token, &[]).await.unwrap();
                if i % 4 == 0 {
                    sleep(Duration::from_millis(5)).await;
                }
            }
        };
        let restart = async {
            for round in 0..3 {
                sleep(Duration::from_millis(250)).await;
                if round == 1 {
                    server.stop()
                } else {
                    server.kill()
                };
                server.run();
            }
        };
        let collect = async {
            let mut last = 0;
            for i in 0..600 {
                let record = timeout(LIMIT, seen.recv()).await.expect("a gap").unwrap();
                assert_eq!(record.key, format!("c.{i}"));
                assert!(record.number > last);
                last = record.number;
            }
        };
        tokio::join!(write_all, restart, collect);
        assert!(seen.try_recv().is_err());
    });
}

/// Subscriptions and replies work over a new connection.
#[test]
fn messages_arrive_after_a_restart() {
    let mut server = Server::start();
    run(async {
        let (a, b) = (server.broker().await, server.broker().await);
        let answering = a.clone();
        let _guard = a
            .subscribe(
                "m.x",
                Box::new(move |message| {
                    if let Some(reply) = &message.reply {
                        answering.reply(reply, message.value);
                    }
                }),
            )
            .await
            .unwrap();
        let within = Duration::from_secs(2);
        assert_eq!(b.request("m.x", vec![1], within).await, Ok(vec![1]));
        server.kill();
        connection(&a, false).await;
        connection(&b, false).await;
        server.run();
        connection(&a, true).await;
        connection(&b, true).await;
        until("a reply", || async { b.request("m.x", vec![2], within).await == Ok(vec![2]) }).await;
    });
}

/// The queues are full: a clear answer, and room again as soon as an entry is given out.
#[test]
fn full_queues_refuse_entries() {
    let server = Server::start();
    run(async {
        let nats = server.nats().queue_limit(3, Overflow::Block);
        let broker = nats.__broker().await.unwrap();
        assert!(broker.limits().blocks_when_full);
        for i in 0..3 {
            broker.enqueue(&key(&i.to_string()), vec![]).await.unwrap();
        }
        assert_eq!(broker.enqueue(&key("3"), vec![]).await, Err(BrokerError::Full));
        let got = pull(&*broker, 1).await;
        until("room", || async { broker.enqueue(&key("3"), vec![]).await.is_ok() }).await;
        assert_eq!(broker.enqueue(&key("4"), vec![]).await, Err(BrokerError::Full));
        // What is acknowledged makes no room, because it was given out.
        broker.ack(&got[0].token);
        let other = server.nats().queue_limit(3, Overflow::Reject).__broker().await.unwrap();
        assert_eq!(other.enqueue(&key("4"), vec![]).await, Err(BrokerError::Full));
    });
}

/// A server that takes nothing in: the bytes that are handed over are bounded.
#[test]
fn a_stopped_server_takes_no_memory() {
    let server = Server::start();
    run(async {
        let broker = server.nats().pending_bytes(8 << 20).__broker().await.unwrap();
        broker.put_block(Kept::AsRecords, "k", 0, vec![0; 1000]).await.unwrap();
        let before = resident();
        server.signal(libc::SIGSTOP);
        let begin = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        // 200 MiB in pieces, of which each exists only while it is being sent.
        for index in 0..400_u32 {
            let broker = broker.clone();
            let part = std::sync::Arc::new(());
            tasks.spawn(async move {
                let _part = part;
                broker.put_block(Kept::AsRecords, "k", index, vec![index as u8; 512 << 10]).await
            });
            if tasks.len() >= 16 {
                let _ = tasks.join_next().await;
            }
            if begin.elapsed() > Duration::from_secs(20) {
                break;
            }
        }
        while tasks.join_next().await.is_some() {}
        let grown = resident().saturating_sub(before);
        server.signal(libc::SIGCONT);
        assert!(grown < 64 << 20, "{grown} bytes more");
        until("blocks", || async {
            broker.put_block(Kept::AsRecords, "k", 0, vec![1; 512 << 10]).await.is_ok()
        })
        .await;
    });
}

/// Memory of this process, in bytes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// The heartbeats of a request that waits for long do not cost it an entry.
#[test]
fn long_waits_outlive_heartbeats() {
    let server = Server::start();
    run(async {
        let broker = server.broker().await;
        let own = broker.clone();
        let waiting =
            tokio::spawn(async move { own.pull_next("q", Priority::Normal, LIMIT).await });
        // Three heartbeats.
        sleep(Duration::from_secs(7)).await;
        let begin = Instant::now();
        enqueue(&*broker, "1").await;
        let got = waiting.await.unwrap().unwrap().unwrap();
        assert_eq!((id(&got), got.delivered), ("1", 1));
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    });
}

/// A consumer that someone deletes is created again.
#[test]
fn deleted_consumers_come_back() {
    let server = Server::start();
    run(async {
        let broker = server.broker().await;
        broker.open_queue("q").await.unwrap();
        let own = broker.clone();
        let waiting =
            tokio::spawn(async move { own.pull_next("q", Priority::Normal, LIMIT).await });
        sleep(Duration::from_millis(100)).await;
        let client = async_nats::connect(server.url()).await.unwrap();
        let delete = "$JS.API.CONSUMER.DELETE.atasker_default_Q.2_q";
        client.request(delete, "".into()).await.unwrap();
        enqueue(&*broker, "1").await;
        assert_eq!(id(&waiting.await.unwrap().unwrap().unwrap()), "1");
        client.request(delete, "".into()).await.unwrap();
        enqueue(&*broker, "2").await;
        let all = pull(&*broker, 2).await;
        assert_eq!(all.len(), 2);
    });
}

/// Storage in memory: a restart loses everything, and the namespace is made anew.
#[test]
fn memory_is_lost_with_the_server() {
    let mut server = Server::start();
    run(async {
        let nats = server.nats().storage(atasker_nats::Storage::Memory);
        let broker = nats.__broker().await.unwrap();
        let (_watch, mut seen) = watch(&*broker, "k.*").await;
        broker.write("k.1", Expect::Absent, "t1", vec![1]).await.unwrap();
        broker.write("k.2", Expect::Absent, "t2", vec![1]).await.unwrap();
        enqueue(&*broker, "1").await;
        for _ in 0..2 {
            timeout(LIMIT, seen.recv()).await.unwrap().unwrap();
        }
        server.stop();
        connection(&broker, false).await;
        server.run();
        connection(&broker, true).await;
        until("reads", || async { broker.read("k.1").await == Ok(None) }).await;
        write(&*broker, "k.3", Expect::Absent, "t3", &[3]).await.unwrap();
        // Its number is lower than those before.
        let record = timeout(LIMIT, seen.recv()).await.unwrap().unwrap();
        assert_eq!(record.key, "k.3");
        enqueue(&*broker, "2").await;
        assert_eq!(id(&pull(&*broker, 1).await[0]), "2");
    });
}

/// Canceling many calls of a long queue takes a time that doesn't grow with the queue.
#[test]
fn removals_of_a_long_queue_are_quick() {
    let server = Server::start();
    run(async {
        let broker = server.broker().await;
        let mut tasks = tokio::task::JoinSet::new();
        for i in 0..20_000 {
            let broker = broker.clone();
            tasks.spawn(async move { enqueue(&*broker, &i.to_string()).await });
            if tasks.len() >= 500 {
                tasks.join_next().await;
            }
        }
        tasks.join_all().await;
        // With a wildcard in the subject, each would take the server 5 ms.
        let begin = Instant::now();
        for i in 0..2_000 {
            broker.remove_entry(&key(&i.to_string())).await.unwrap();
        }
        assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
        let waiting: u64 = broker.queues().await.unwrap()[0].waiting.iter().sum();
        assert_eq!(waiting, 18_000);
        assert_eq!(id(&pull(&*broker, 1).await[0]), "2000");
    });
}
