//! Tests of the broker in memory.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;
use super::{Faults, Hub, MemoryOptions};
use crate::cluster::broker::{Broker, BrokerError, EntryKey, Expect, Kept, Message, Record, Since};
use crate::priority::Priority;
use crate::sync::lock::Mutex;

const MS: Duration = Duration::from_millis(1);

fn simulate<T>(test: impl AsyncFnOnce(Arc<Hub>, Faults) -> T) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let hub = Hub::new(MemoryOptions::default());
        let faults = Faults::new(hub.clone());
        test(hub, faults).await
    })
}

fn entry(id: &str) -> EntryKey {
    EntryKey { queue: "q".to_owned(), priority: Priority::Normal, id: id.to_owned() }
}

async fn pull(member: &Connection) -> Vec<(String, u64)> {
    let taken = member.pull_now("q", Priority::Normal, 10).await.unwrap();
    taken.into_iter().map(|delivery| (delivery.entry.key.id, delivery.delivered)).collect()
}

fn given(id: &str, delivered: u64) -> (String, u64) {
    (id.to_owned(), delivered)
}

#[test]
fn records_are_compared_before_they_are_set() {
    simulate(async |hub, _| {
        let member = hub.connect("member");
        let write = async |expect, token: &str, value: &[u8]| {
            member.write("c.a.1", expect, token, value.to_vec()).await
        };
        let first = write(Expect::Absent, "1", b"one").await.unwrap();
        assert_eq!(write(Expect::Absent, "2", b"two").await, Err(BrokerError::Conflict));
        // The same write again is refused as well: what is read shows that it was carried out.
        assert_eq!(write(Expect::Absent, "1", b"one").await, Err(BrokerError::Conflict));
        let second = write(Expect::Number(first), "3", b"two").await.unwrap();
        assert!(second > first);
        assert_eq!(write(Expect::Number(first), "4", b"three").await, Err(BrokerError::Conflict));
        let third = write(Expect::Anything, "5", b"three").await.unwrap();
        let record = member.read("c.a.1").await.unwrap().unwrap();
        assert_eq!((record.number, &record.value[..]), (third, &b"three"[..]));
        member.remove("c.a.1").await.unwrap();
        assert_eq!(member.read("c.a.1").await, Ok(None));
        assert!(write(Expect::Absent, "1", b"one").await.unwrap() > third);
        // And records after a day.
        tokio::time::sleep(Duration::from_secs(24 * 3_600 + 1)).await;
        assert_eq!(member.read("c.a.1").await, Ok(None));
    });
}

#[test]
fn entries_come_back_unless_they_are_kept() {
    simulate(async |hub, _| {
        let member = hub.connect("member");
        for id in ["a", "b", "a"] {
            member.enqueue(&entry(id), vec![]).await.unwrap();
        }
        let taken = member.pull_now("q", Priority::Normal, 10).await.unwrap();
        assert_eq!(taken.len(), 2);
        tokio::time::sleep(1_000 * MS).await;
        member.touch(&taken[0].token);
        tokio::time::sleep(1_000 * MS).await;
        assert_eq!(pull(&member).await, [given("b", 2)]);
        tokio::time::sleep(600 * MS).await;
        assert_eq!(pull(&member).await, [given("a", 2)]);
        // Those that come back are first.
        member.enqueue(&entry("c"), vec![]).await.unwrap();
        member.nak(&taken[0].token, Duration::ZERO);
        member.nak(&taken[1].token, 500 * MS);
        assert_eq!(pull(&member).await, [given("a", 3), given("c", 1)]);
        member.ack(&taken[0].token);
        let found = member.find_entry("a").await.unwrap();
        assert!(found.is_none());
        tokio::time::sleep(500 * MS).await;
        assert_eq!(pull(&member).await, [given("b", 3)]);
        member.remove_entry(&entry("b")).await.unwrap();
        let counts = member.queues().await.unwrap();
        assert_eq!((counts[0].waiting, counts[0].given_out), ([0; 4], 1));
    });
}

#[test]
fn a_pull_waits_for_an_entry_or_for_one_to_come_back() {
    simulate(async |hub, _| {
        let (member, other) = (hub.connect("member"), hub.connect("other"));
        let begun = Instant::now();
        let next = |wait| member.pull_next("q", Priority::Normal, wait);
        assert_eq!(next(700 * MS).await, Ok(None));
        assert_eq!(begun.elapsed(), 700 * MS);
        let appends = async {
            tokio::time::sleep(100 * MS).await;
            other.enqueue(&entry("a"), vec![]).await.unwrap();
            std::future::pending::<()>().await;
        };
        let pulled = async { next(700 * MS).await.unwrap().unwrap() };
        let mut appends = std::pin::pin!(appends);
        let mut pulled = std::pin::pin!(pulled);
        let delivery = std::future::poll_fn(|cx| {
            assert!(appends.as_mut().poll(cx).is_pending());
            pulled.as_mut().poll(cx)
        });
        assert_eq!(delivery.await.entry.key.id, "a");
        assert_eq!(begun.elapsed(), 800 * MS);
        // The member has not answered.
        let again = other.pull_next("q", Priority::Normal, 60_000 * MS).await.unwrap().unwrap();
        assert_eq!((again.delivered, begun.elapsed()), (2, 2_300 * MS));
    });
}

#[test]
fn watches_report_writes_in_order_and_go_on_after_a_stop() {
    simulate(async |hub, faults| {
        let (member, other) = (hub.connect("member"), hub.connect("other"));
        let write = async |key: &'static str, value: u8| {
            other
                .write(key, Expect::Anything, &format!("{key}{value}"), vec![value])
                .await
                .unwrap();
        };
        write("c.a.1", 1).await;
        write("c.b.1", 1).await;
        let watch = async |filter, since| {
            let seen = Arc::new(Mutex::new(Vec::new()));
            let of = seen.clone();
            let sink = move |record: Record| of.lock().push((record.key, record.value[0]));
            (member.watch(filter, since, Box::new(sink)).await.unwrap(), seen)
        };
        let (_all, all) = watch("c.a.*", Since::LastOfEach).await;
        let (guard, one) = watch("c.a.2", Since::Now).await;
        write("c.a.2", 2).await;
        tokio::time::sleep(MS).await;
        faults.reorder(true);
        faults.delay(50 * MS);
        write("c.a.3", 3).await;
        write("c.a.1", 4).await;
        tokio::time::sleep(100 * MS).await;
        drop(guard);
        write("c.a.2", 5).await;
        tokio::time::sleep(100 * MS).await;
        let expected = [("c.a.1", 1), ("c.a.2", 2), ("c.a.3", 3), ("c.a.1", 4), ("c.a.2", 5)];
        assert_eq!(*all.lock(), expected.map(|(key, value)| (key.to_owned(), value)));
        assert_eq!(*one.lock(), [("c.a.2".to_owned(), 2)]);
    });
}

#[test]
fn requests_are_answered_or_have_no_responders() {
    simulate(async |hub, faults| {
        let (asks, answers) = (hub.connect("asks"), hub.connect("answers"));
        let ask = async || asks.request("m.1", vec![1], 1_000 * MS).await;
        assert_eq!(ask().await, Err(BrokerError::NoResponders));
        let of = answers.clone();
        let sink = move |message: Message| of.reply(&message.reply.unwrap(), vec![2]);
        let guard = answers.subscribe("m.1", Box::new(sink)).await.unwrap();
        assert_eq!(ask().await, Ok(vec![2]));
        faults.freeze_node("1");
        assert!(matches!(ask().await, Err(BrokerError::NoAnswer(_))));
        faults.thaw_node("1");
        assert_eq!(ask().await, Ok(vec![2]));
        faults.stop_broker();
        assert!(!asks.is_connected());
        assert!(matches!(ask().await, Err(BrokerError::NoAnswer(_))));
        faults.start_broker();
        tokio::time::sleep(300 * MS).await;
        assert_eq!(ask().await, Ok(vec![2]));
        drop(guard);
        assert_eq!(ask().await, Err(BrokerError::NoResponders));
    });
}

#[test]
fn a_write_whose_answer_is_lost_may_have_happened() {
    simulate(async |hub, faults| {
        let member = hub.connect("member");
        faults.lose(0.5);
        let mut unanswered = 0;
        let mut happened = 0;
        for number in 0..200 {
            let key = format!("k.{number}");
            if member.write(&key, Expect::Absent, &key, vec![]).await.is_err() {
                unanswered += 1;
                happened += usize::from(hub.state().records.get(&key).is_some());
            }
        }
        assert!(unanswered > 100 && happened > 20 && happened < unanswered - 20);
    });
}

#[test]
fn a_frozen_member_sends_when_it_is_thawed() {
    simulate(async |hub, faults| {
        let member = hub.connect("member");
        faults.freeze_node("member");
        let written = member.write("k", Expect::Absent, "k", vec![]).await;
        assert!(matches!(written, Err(BrokerError::NoAnswer(_))));
        tokio::time::sleep(10_000 * MS).await;
        assert!(member.is_connected() && hub.state().records.get("k").is_none());
        faults.thaw_node("member");
        tokio::time::sleep(MS).await;
        assert!(hub.state().records.get("k").is_some());
    });
}

#[test]
fn a_crash_brings_acknowledged_entries_back() {
    simulate(async |hub, faults| {
        let member = hub.connect("member");
        faults.repeat(1.0);
        member.enqueue(&entry("a"), vec![]).await.unwrap();
        let taken = member.pull_now("q", Priority::Normal, 1).await.unwrap();
        member.ack(&taken[0].token);
        tokio::time::sleep(MS).await;
        assert_eq!(hub.entries().len(), 0);
        faults.stop_broker();
        faults.start_broker();
        assert_eq!(hub.entries().len(), 1);
    });
}

#[test]
fn blocks_and_logs_are_kept() {
    simulate(async |hub, _| {
        let member = hub.connect("member");
        for (index, block) in [[1], [2]].iter().enumerate() {
            member.put_block(Kept::AsRecords, "a", index as u32, block.to_vec()).await.unwrap();
        }
        member.put_block(Kept::AsRecords, "ab", 0, vec![3]).await.unwrap();
        assert_eq!(member.get_blocks(Kept::AsRecords, "a", 2).await, Ok(vec![1, 2]));
        let missing = member.get_blocks(Kept::AsRecords, "a", 3).await;
        assert!(matches!(missing, Err(BrokerError::NotFound(_))));
        member.remove_blocks(Kept::AsRecords, "a").await.unwrap();
        assert_eq!(hub.block_keys(), ["ab"]);
        for number in 0..10_005u32 {
            member.append("dead", &format!("{number}"), vec![]).await.unwrap();
        }
        let log = member.log("dead").await.unwrap();
        assert_eq!((log.len(), log[0].key.as_str()), (10_000, "5"));
        assert_eq!(member.remove_logged("dead", "7").await, Ok(true));
        assert_eq!(member.remove_logged("dead", "7").await, Ok(false));
        tokio::time::sleep(Duration::from_secs(7 * 24 * 3_600 + 1)).await;
        assert_eq!(member.log("dead").await, Ok(vec![]));
    });
}
