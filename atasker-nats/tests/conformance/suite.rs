//! The cases. Each gets a function that makes a further member of a namespace that no other case
//! uses, with `lost_after` of 2 seconds.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atasker_runtime::__broker::{
    Broker, BrokerError, Delivery, EntryKey, Expect, Kept, Message, Record, Since,
};
use atasker_runtime::Priority;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

pub type Make<'a> = &'a dyn Fn() -> Pin<Box<dyn Future<Output = Arc<dyn Broker>>>>;

/// Calls a macro with the names of all cases.
macro_rules! cases {
    ($then:ident) => {
        $then! {
            records_are_compared_and_set
            writes_that_come_again_change_nothing
            removed_records_are_absent
            one_of_many_writers_wins
            watches_report_writes_in_order
            watches_report_the_last_of_each
            dropped_watches_report_nothing
            entries_come_in_order_of_priority_lanes
            entries_with_the_same_id_are_one
            entries_come_back_unless_acknowledged
            touched_entries_stay
            entries_that_are_given_back_come_first
            entries_come_back_after_a_delay
            pulls_wait_for_entries
            dropped_pulls_lose_nothing
            two_members_share_a_queue
            entries_are_found_and_removed
            removals_leave_the_rest
            queues_are_counted
            logs_keep_entries_in_order
            blocks_are_put_together
            entries_are_renewed
            large_values_travel
            messages_reach_those_that_listen
            requests_are_answered
            times_are_by_one_clock
            closed_brokers_say_so
        }
    };
}
pub(crate) use cases;

const LIMIT: Duration = Duration::from_secs(20);

fn key(queue: &str, priority: Priority, id: &str) -> EntryKey {
    EntryKey { queue: queue.into(), priority, id: id.into() }
}

async fn next<T>(from: &mut mpsc::UnboundedReceiver<T>) -> T {
    timeout(LIMIT, from.recv()).await.expect("nothing came").expect("the sink was dropped")
}

fn ids(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(|d| d.entry.key.id.as_str()).collect()
}

/// Pulls, without leaving a request at the broker, until there are `count` entries.
async fn pull(broker: &dyn Broker, queue: &str, priority: Priority, count: usize) -> Vec<Delivery> {
    let end = Instant::now() + LIMIT;
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(broker.pull_now(queue, priority, count - all.len()).await.unwrap());
        assert!(Instant::now() < end, "only {} of {count} entries came", all.len());
    }
    all
}

async fn watch(
    broker: &dyn Broker,
    filter: &str,
    since: Since,
) -> (atasker_runtime::__broker::Guard, mpsc::UnboundedReceiver<Record>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let sink = Box::new(move |record| drop(sender.send(record)));
    (broker.watch(filter, since, sink).await.unwrap(), receiver)
}

pub async fn records_are_compared_and_set(make: Make<'_>) {
    let (a, b) = (make().await, make().await);
    assert_eq!(a.read("c.1.1").await, Ok(None));
    let conflict = Err(BrokerError::Conflict);
    assert_eq!(a.write("c.1.1", Expect::Number(7), "t0", vec![0]).await, conflict);
    let first = a.write("c.1.1", Expect::Absent, "t1", b"one".to_vec()).await.unwrap();
    assert_eq!(b.write("c.1.1", Expect::Absent, "t2", b"two".to_vec()).await, conflict);
    let other = b.write("c.1.2", Expect::Absent, "t3", vec![]).await.unwrap();
    assert!(other > first);
    let second = b.write("c.1.1", Expect::Number(first), "t4", b"two".to_vec()).await.unwrap();
    assert!(second > other);
    assert_eq!(a.write("c.1.1", Expect::Number(first), "t5", vec![9]).await, conflict);
    let record = a.read("c.1.1").await.unwrap().unwrap();
    assert_eq!((record.key.as_str(), record.number), ("c.1.1", second));
    assert_eq!(record.value, b"two");
    let third = a.write("c.1.1", Expect::Anything, "t6", b"three".to_vec()).await.unwrap();
    assert!(third > second);
    assert_eq!(b.read("c.1.1").await.unwrap().unwrap().value, b"three");
    assert_eq!(b.read("c.1.2").await.unwrap().unwrap().value, b"");
    assert_eq!(a.read("c.1").await, Ok(None));
}

/// With the number of the first request as the answer, or a refusal.
pub async fn writes_that_come_again_change_nothing(make: Make<'_>) {
    let (a, b) = (make().await, make().await);
    let is_known = |answer: Result<u64, BrokerError>, number: u64| match answer {
        Ok(again) => again == number,
        Err(error) => error == BrokerError::Conflict,
    };
    let first = a.write("k", Expect::Absent, "t1", vec![1]).await.unwrap();
    assert!(is_known(a.write("k", Expect::Absent, "t1", vec![1]).await, first));
    assert_eq!(a.read("k").await.unwrap().unwrap().number, first);
    let second = b.write("k", Expect::Number(first), "t2", vec![2]).await.unwrap();
    assert!(is_known(b.write("k", Expect::Number(first), "t2", vec![2]).await, second));
    // One that comes once more, late.
    assert!(is_known(a.write("k", Expect::Absent, "t1", vec![1]).await, first));
    let record = a.read("k").await.unwrap().unwrap();
    assert_eq!((record.number, record.value), (second, vec![2]));
}

pub async fn removed_records_are_absent(make: Make<'_>) {
    let broker = make().await;
    broker.remove("k").await.unwrap();
    let first = broker.write("k", Expect::Absent, "t1", vec![1]).await.unwrap();
    broker.write("l", Expect::Absent, "t2", vec![1]).await.unwrap();
    broker.remove("k").await.unwrap();
    assert_eq!(broker.read("k").await, Ok(None));
    assert!(broker.read("l").await.unwrap().is_some());
    assert_eq!(
        broker.write("k", Expect::Number(first), "t3", vec![]).await,
        Err(BrokerError::Conflict)
    );
    let again = broker.write("k", Expect::Absent, "t4", vec![2]).await.unwrap();
    assert!(again > first);
}

pub async fn one_of_many_writers_wins(make: Make<'_>) {
    let members = [make().await, make().await, make().await];
    for round in 0..50 {
        let key = &format!("k.{round}");
        let write = |member: usize| {
            let broker = &members[member];
            async move {
                let token = format!("{round}-{member}");
                broker.write(key, Expect::Absent, &token, vec![member as u8]).await
            }
        };
        let (a, b, c) = tokio::join!(write(0), write(1), write(2));
        let results = [a, b, c];
        let won = results.iter().position(|r| r.is_ok()).expect("no one has won");
        for (member, result) in results.iter().enumerate() {
            assert!(member == won || *result == Err(BrokerError::Conflict), "{results:?}");
        }
        assert_eq!(members[0].read(key).await.unwrap().unwrap().value, [won as u8]);
    }
}

pub async fn watches_report_writes_in_order(make: Make<'_>) {
    let (a, b) = (make().await, make().await);
    a.write("c.1.0", Expect::Anything, "before", vec![]).await.unwrap();
    let (_guard, mut seen) = watch(&*a, "c.1.*", Since::Now).await;
    let mut numbers = Vec::new();
    for i in 0..200_u32 {
        let value = i.to_be_bytes().to_vec();
        let key = format!("c.1.{i}");
        numbers.push(b.write(&key, Expect::Anything, &format!("t{i}"), value).await.unwrap());
        b.write(&format!("c.2.{i}"), Expect::Anything, &format!("u{i}"), vec![]).await.unwrap();
        b.write("c.1", Expect::Anything, &format!("v{i}"), vec![]).await.unwrap();
        // Refused writes are not reported.
        let refused = b.write(&key, Expect::Absent, &format!("w{i}"), vec![]).await;
        assert_eq!(refused, Err(BrokerError::Conflict));
    }
    for (i, number) in numbers.into_iter().enumerate() {
        let record = next(&mut seen).await;
        assert_eq!((record.key, record.number), (format!("c.1.{i}"), number));
        assert_eq!(record.value, (i as u32).to_be_bytes());
        assert!(record.time > 0);
    }
    assert!(seen.try_recv().is_err());
}

pub async fn watches_report_the_last_of_each(make: Make<'_>) {
    let broker = make().await;
    for i in 0..3_u8 {
        for key in ["n.a", "n.b", "x.a"] {
            let token = format!("{key}{i}");
            broker.write(key, Expect::Anything, &token, vec![i]).await.unwrap();
        }
    }
    broker.write("n.gone", Expect::Anything, "t", vec![]).await.unwrap();
    broker.remove("n.gone").await.unwrap();
    let (_guard, mut seen) = watch(&*broker, "n.*", Since::LastOfEach).await;
    let first = next(&mut seen).await;
    let second = next(&mut seen).await;
    assert_eq!((first.key.as_str(), first.value), ("n.a", vec![2]));
    assert_eq!((second.key.as_str(), second.value), ("n.b", vec![2]));
    broker.write("n.a", Expect::Anything, "later", vec![9]).await.unwrap();
    let third = next(&mut seen).await;
    assert_eq!((third.key.as_str(), third.value), ("n.a", vec![9]));
    assert!(seen.try_recv().is_err());
    // One key alone, as for a call that someone attaches to.
    let (_guard, mut one) = watch(&*broker, "n.b", Since::LastOfEach).await;
    assert_eq!(next(&mut one).await.value, [2]);
    let (_guard, mut none) = watch(&*broker, "n.none", Since::LastOfEach).await;
    broker.write("n.none", Expect::Absent, "first", vec![1]).await.unwrap();
    assert_eq!(next(&mut none).await.value, [1]);
}

pub async fn dropped_watches_report_nothing(make: Make<'_>) {
    let broker = make().await;
    let (guard, mut seen) = watch(&*broker, "k.*", Since::Now).await;
    broker.write("k.1", Expect::Anything, "t1", vec![]).await.unwrap();
    next(&mut seen).await;
    drop(guard);
    // The sink goes away with the watch.
    assert!(timeout(LIMIT, seen.recv()).await.unwrap().is_none());
}

pub async fn entries_come_in_order_of_priority_lanes(make: Make<'_>) {
    let (a, b) = (make().await, make().await);
    b.open_queue("q").await.unwrap();
    for i in 0..20 {
        a.enqueue(&key("q", Priority::Low, &format!("low{i}")), vec![i]).await.unwrap();
        a.enqueue(&key("q", Priority::High, &format!("high{i}")), vec![i]).await.unwrap();
        a.enqueue(&key("r", Priority::High, &format!("other{i}")), vec![i]).await.unwrap();
    }
    assert!(b.pull_now("q", Priority::Critical, 5).await.unwrap().is_empty());
    assert!(b.pull_now("q", Priority::Normal, 5).await.unwrap().is_empty());
    let high = pull(&*b, "q", Priority::High, 20).await;
    for (i, delivery) in high.iter().enumerate() {
        assert_eq!(delivery.entry.key, key("q", Priority::High, &format!("high{i}")));
        assert_eq!(
            (delivery.entry.value.as_slice(), delivery.delivered),
            ([i as u8].as_slice(), 1)
        );
        assert!(delivery.entry.time > 0);
    }
    assert!(b.pull_now("q", Priority::High, 5).await.unwrap().is_empty());
    assert_eq!(ids(&pull(&*b, "q", Priority::Low, 3).await), ["low0", "low1", "low2"]);
    assert!(b.pull_now("q", Priority::High, 0).await.unwrap().is_empty());
}

pub async fn entries_with_the_same_id_are_one(make: Make<'_>) {
    let (a, b) = (make().await, make().await);
    for _ in 0..3 {
        a.enqueue(&key("q", Priority::Normal, "1-1"), vec![1]).await.unwrap();
        b.enqueue(&key("q", Priority::Normal, "1-1"), vec![1]).await.unwrap();
    }
    let got = pull(&*a, "q", Priority::Normal, 1).await;
    assert!(a.pull_now("q", Priority::Normal, 5).await.unwrap().is_empty());
    a.ack(&got[0].token);
    // Also after it was acknowledged.
    a.enqueue(&key("q", Priority::Normal, "1-1"), vec![1]).await.unwrap();
    assert!(a.pull_now("q", Priority::Normal, 5).await.unwrap().is_empty());
}

pub async fn entries_come_back_unless_acknowledged(make: Make<'_>) {
    let broker = make().await;
    let limit = broker.limits().redeliver_after;
    assert!(limit <= broker.limits().lost_after);
    for id in ["kept", "lost"] {
        broker.enqueue(&key("q", Priority::Normal, id), id.into()).await.unwrap();
    }
    let got = pull(&*broker, "q", Priority::Normal, 2).await;
    assert_eq!(ids(&got), ["kept", "lost"]);
    broker.ack(&got[0].token);
    let again = broker.pull_next("q", Priority::Normal, LIMIT).await.unwrap().unwrap();
    assert_eq!((again.entry.key.id.as_str(), again.delivered), ("lost", 2));
    assert_eq!((again.entry.value.as_slice(), again.entry.time), (&b"lost"[..], got[1].entry.time));
    broker.ack(&again.token);
    let none = broker.pull_next("q", Priority::Normal, limit * 2).await.unwrap();
    assert_eq!(none, None);
}

pub async fn touched_entries_stay(make: Make<'_>) {
    let broker = make().await;
    let limit = broker.limits().redeliver_after;
    broker.enqueue(&key("q", Priority::Normal, "1"), vec![]).await.unwrap();
    let got = pull(&*broker, "q", Priority::Normal, 1).await;
    let end = Instant::now() + limit * 3;
    let none = async { broker.pull_next("q", Priority::Normal, limit * 3).await.unwrap() };
    let touch = async {
        while Instant::now() < end {
            broker.touch(&got[0].token);
            sleep(limit / 5).await;
        }
    };
    let (none, ()) = tokio::join!(none, touch);
    assert_eq!(none, None);
    let again = broker.pull_next("q", Priority::Normal, LIMIT).await.unwrap().unwrap();
    assert_eq!(again.entry.key.id, "1");
}

pub async fn entries_that_are_given_back_come_first(make: Make<'_>) {
    let broker = make().await;
    for id in ["1", "2", "3"] {
        broker.enqueue(&key("q", Priority::Normal, id), vec![]).await.unwrap();
    }
    let got = pull(&*broker, "q", Priority::Normal, 2).await;
    broker.nak(&got[1].token, Duration::ZERO);
    let again = pull(&*broker, "q", Priority::Normal, 2).await;
    assert_eq!(ids(&again), ["2", "3"]);
    assert_eq!((again[0].delivered, again[1].delivered), (2, 1));
}

pub async fn entries_come_back_after_a_delay(make: Make<'_>) {
    let broker = make().await;
    broker.enqueue(&key("q", Priority::Normal, "1"), vec![]).await.unwrap();
    let got = pull(&*broker, "q", Priority::Normal, 1).await;
    // Longer than the time after which entries come back by themselves.
    let delay = broker.limits().redeliver_after * 2;
    let before = Instant::now();
    broker.nak(&got[0].token, delay);
    let again = broker.pull_next("q", Priority::Normal, LIMIT).await.unwrap().unwrap();
    assert!(before.elapsed() >= delay * 9 / 10, "{:?}", before.elapsed());
    assert_eq!(again.delivered, 2);
}

pub async fn pulls_wait_for_entries(make: Make<'_>) {
    let (a, b) = (make().await, make().await);
    a.open_queue("q").await.unwrap();
    let before = Instant::now();
    let none = a.pull_next("q", Priority::High, Duration::from_millis(500)).await.unwrap();
    assert_eq!(none, None);
    assert!(before.elapsed() >= Duration::from_millis(450));
    for i in 0..20 {
        let id = i.to_string();
        let pulled = a.pull_next("q", Priority::High, LIMIT);
        let enqueued = async {
            // The request is there before the entry in most rounds.
            sleep(Duration::from_millis(i % 5 * 5)).await;
            b.enqueue(&key("q", Priority::High, &id), vec![]).await.unwrap();
        };
        let (pulled, ()) = tokio::join!(pulled, enqueued);
        let pulled = pulled.unwrap().unwrap();
        assert_eq!((pulled.entry.key.id.as_str(), pulled.delivered), (id.as_str(), 1));
        a.ack(&pulled.token);
    }
}

pub async fn dropped_pulls_lose_nothing(make: Make<'_>) {
    let broker = make().await;
    broker.open_queue("q").await.unwrap();
    let mut seen = Vec::new();
    for i in 0..40_u64 {
        let id = i.to_string();
        let mut next = broker.pull_next("q", Priority::Normal, LIMIT);
        let mut now = broker.pull_now("q", Priority::Normal, 3);
        // Both are dropped, at different moments of their lives.
        let _ = timeout(Duration::from_micros(i * 50), &mut next).await.map(|got| {
            seen.extend(got.unwrap());
        });
        broker.enqueue(&key("q", Priority::Normal, &id), vec![]).await.unwrap();
        let _ = timeout(Duration::from_micros(i * 50), &mut now).await.map(|got| {
            seen.extend(got.unwrap());
        });
    }
    for delivery in &seen {
        broker.ack(&delivery.token);
    }
    let mut all: Vec<String> = seen.into_iter().map(|d| d.entry.key.id).collect();
    let end = Instant::now() + LIMIT;
    while all.len() < 40 && Instant::now() < end {
        for delivery in broker.pull_now("q", Priority::Normal, 40).await.unwrap() {
            broker.ack(&delivery.token);
            all.push(delivery.entry.key.id);
        }
    }
    all.sort_by_key(|id| id.parse::<u64>().unwrap());
    all.dedup();
    let expected: Vec<String> = (0..40).map(|i| i.to_string()).collect();
    assert_eq!(all, expected);
}

pub async fn two_members_share_a_queue(make: Make<'_>) {
    let (a, b) = (make().await, make().await);
    let count = 300;
    for i in 0..count {
        a.enqueue(&key("q", Priority::Normal, &i.to_string()), vec![]).await.unwrap();
    }
    let take = |broker: Arc<dyn Broker>| async move {
        let mut mine = Vec::new();
        loop {
            let got = broker.pull_now("q", Priority::Normal, 7).await.unwrap();
            // The other one as well, with a broker that never waits.
            tokio::task::yield_now().await;
            if got.is_empty() {
                return mine;
            }
            for delivery in got {
                broker.ack(&delivery.token);
                mine.push(delivery.entry.key.id.parse::<u32>().unwrap());
            }
        }
    };
    let (mut all, more) = tokio::join!(take(a.clone()), take(b.clone()));
    assert!(!all.is_empty() && !more.is_empty());
    all.extend(more);
    all.sort_unstable();
    assert_eq!(all, (0..count).collect::<Vec<_>>());
}

pub async fn entries_are_found_and_removed(make: Make<'_>) {
    let broker = make().await;
    assert_eq!(broker.find_entry("1-9").await, Ok(None));
    broker.remove_entry(&key("q", Priority::Low, "1-9")).await.unwrap();
    for i in 0..10 {
        let priority = Priority::ALL[i % 4];
        broker.enqueue(&key("q", priority, &format!("1-{i}")), vec![i as u8]).await.unwrap();
    }
    let found = broker.find_entry("1-6").await.unwrap().unwrap();
    assert_eq!(found.key, key("q", Priority::Normal, "1-6"));
    assert_eq!(found.value, [6]);
    assert!(found.time > 0);
    broker.remove_entry(&found.key).await.unwrap();
    assert_eq!(broker.find_entry("1-6").await, Ok(None));
    let left = pull(&*broker, "q", Priority::Normal, 1).await;
    assert_eq!(ids(&left), ["1-2"]);
    // Those that are given out as well.
    assert!(broker.find_entry("1-2").await.unwrap().is_some());
    broker.remove_entry(&left[0].entry.key).await.unwrap();
    assert_eq!(broker.find_entry("1-2").await, Ok(None));
    let limit = broker.limits().redeliver_after * 2;
    assert_eq!(broker.pull_next("q", Priority::Normal, limit).await.unwrap(), None);
}

pub async fn queues_are_counted(make: Make<'_>) {
    let (a, b) = (make().await, make().await);
    assert!(a.queues().await.unwrap().is_empty());
    a.open_queue("empty").await.unwrap();
    for i in 0..6 {
        let priority = if i < 4 { Priority::High } else { Priority::Low };
        b.enqueue(&key("gpu", priority, &i.to_string()), vec![]).await.unwrap();
    }
    let got = pull(&*a, "gpu", Priority::High, 2).await;
    let queues = b.queues().await.unwrap();
    let count = |name: &str| queues.iter().find(|q| q.queue == name).cloned().unwrap();
    assert_eq!((count("gpu").waiting, count("gpu").given_out), ([0, 2, 0, 2], 2));
    assert_eq!((count("empty").waiting, count("empty").given_out), ([0; 4], 0));
    assert_eq!(queues.len(), 2);
    a.ack(&got[0].token);
    a.ack(&got[1].token);
    b.remove_entry(&key("gpu", Priority::Low, "5")).await.unwrap();
    let end = Instant::now() + LIMIT;
    loop {
        let queues = b.queues().await.unwrap();
        let gpu = queues.iter().find(|q| q.queue == "gpu").unwrap();
        if (gpu.waiting, gpu.given_out) == ([0, 2, 0, 1], 0) {
            return;
        }
        assert!(Instant::now() < end, "{gpu:?}");
    }
}

pub async fn logs_keep_entries_in_order(make: Make<'_>) {
    let (a, b) = (make().await, make().await);
    assert!(a.log("dead").await.unwrap().is_empty());
    assert_eq!(a.log_len("dead").await, Ok(0));
    for i in 0..50_u8 {
        a.append("dead", &format!("1-{i}"), vec![i]).await.unwrap();
    }
    a.append("other", "1-1", vec![]).await.unwrap();
    let log = b.log("dead").await.unwrap();
    assert_eq!(log.len(), 50);
    for (i, entry) in log.iter().enumerate() {
        assert_eq!(
            (entry.key.as_str(), entry.value.as_slice()),
            (&*format!("1-{i}"), &[i as u8][..])
        );
        assert!(entry.time > 0);
    }
    assert_eq!(b.remove_logged("dead", "1-7").await, Ok(true));
    assert_eq!(b.remove_logged("dead", "1-7").await, Ok(false));
    assert_eq!(b.remove_logged("dead", "1-77").await, Ok(false));
    assert_eq!(a.log("dead").await.unwrap().len(), 49);
    assert_eq!(a.log("other").await.unwrap().len(), 1);
    assert_eq!((a.log_len("dead").await, a.log_len("other").await), (Ok(49), Ok(1)));
}

pub async fn blocks_are_put_together(make: Make<'_>) {
    let (a, b) = (make().await, make().await);
    assert!(matches!(
        a.get_blocks(Kept::AsRecords, "1-1_a", 1).await,
        Err(BrokerError::NotFound(_))
    ));
    assert_eq!(a.get_blocks(Kept::AsRecords, "1-1_a", 0).await, Ok(Vec::new()));
    let blocks: Vec<Vec<u8>> = (0..40_u8).map(|i| vec![i; 100 * usize::from(i)]).collect();
    for (i, block) in blocks.iter().enumerate().rev() {
        a.put_block(Kept::AsRecords, "1-1_a", i as u32, block.clone()).await.unwrap();
        a.put_block(Kept::AsRecords, "1-1_a", i as u32, block.clone()).await.unwrap();
    }
    a.put_block(Kept::AsRecords, "1-1_r1", 0, vec![7]).await.unwrap();
    assert_eq!(b.get_blocks(Kept::AsRecords, "1-1_a", 40).await.unwrap(), blocks.concat());
    assert!(matches!(
        b.get_blocks(Kept::AsRecords, "1-1_a", 41).await,
        Err(BrokerError::NotFound(_))
    ));
    b.remove_blocks(Kept::AsRecords, "1-1_a").await.unwrap();
    b.remove_blocks(Kept::AsRecords, "1-1_a").await.unwrap();
    assert!(matches!(
        a.get_blocks(Kept::AsRecords, "1-1_a", 1).await,
        Err(BrokerError::NotFound(_))
    ));
    assert_eq!(a.get_blocks(Kept::AsRecords, "1-1_r1", 1).await, Ok(vec![7]));
    // Those that are kept for longer have keys of their own.
    a.put_block(Kept::AsLogs, "1-1_r1", 0, vec![8]).await.unwrap();
    a.remove_blocks(Kept::AsRecords, "1-1_r1").await.unwrap();
    assert_eq!(b.get_blocks(Kept::AsLogs, "1-1_r1", 1).await, Ok(vec![8]));
    b.remove_blocks(Kept::AsLogs, "1-1_r1").await.unwrap();
    let gone = a.get_blocks(Kept::AsLogs, "1-1_r1", 1).await;
    assert!(matches!(gone, Err(BrokerError::NotFound(_))));
}

pub async fn entries_are_renewed(make: Make<'_>) {
    let (a, b) = (make().await, make().await);
    let [first, second] = ["1-1", "1-2"].map(|id| key("q", Priority::Normal, id));
    a.enqueue(&first, vec![1]).await.unwrap();
    let old = pull(&*a, "q", Priority::Normal, 1).await.remove(0);
    a.enqueue(&second, vec![]).await.unwrap();
    // A request that is repeated.
    for _ in 0..2 {
        a.renew_entry(&old.token, &first, "t", vec![2]).await.unwrap();
    }
    let found = b.find_entry("1-1").await.unwrap().unwrap();
    assert_eq!(found.value, [2]);
    assert!(found.time >= old.entry.time);
    let mut waiting = pull(&*b, "q", Priority::Normal, 2).await;
    assert_eq!(ids(&waiting), ["1-2", "1-1"]);
    let renewed = waiting.remove(1);
    assert_eq!((renewed.delivered, renewed.entry.value), (1, vec![2]));
    // The old one is gone, and what is done with it has no effect.
    a.nak(&old.token, Duration::ZERO);
    a.ack(&old.token);
    assert!(b.find_entry("1-1").await.unwrap().is_some());
    b.ack(&renewed.token);
    b.ack(&waiting[0].token);
    let end = Instant::now() + LIMIT;
    while b.find_entry("1-1").await.unwrap().is_some() {
        assert!(Instant::now() < end, "it is still there");
    }
    let queues = b.queues().await.unwrap();
    assert_eq!(queues[0].waiting, [0; 4], "{queues:?}");
}

pub async fn large_values_travel(make: Make<'_>) {
    let (a, b) = (make().await, make().await);
    let large: Vec<u8> = (0..512 << 10).map(|i: u32| (i % 251) as u8).collect();
    a.put_block(Kept::AsRecords, "k", 0, large.clone()).await.unwrap();
    assert_eq!(b.get_blocks(Kept::AsRecords, "k", 1).await, Ok(large.clone()));
    let (_guard, mut seen) = watch(&*b, "k", Since::Now).await;
    a.write("k", Expect::Absent, "t", large.clone()).await.unwrap();
    assert!(next(&mut seen).await.value == large);
    a.enqueue(&key("q", Priority::Normal, "1"), large.clone()).await.unwrap();
    assert!(pull(&*b, "q", Priority::Normal, 1).await[0].entry.value == large);
}

pub async fn messages_reach_those_that_listen(make: Make<'_>) {
    let (a, b) = (make().await, make().await);
    let (sender, mut messages) = mpsc::unbounded_channel();
    let sink = Box::new(move |message: Message| drop(sender.send(message)));
    let guard = a.subscribe("m.x", sink).await.unwrap();
    for i in 0..200_u8 {
        b.publish("m.x", vec![i]);
        b.publish("m.y", vec![i]);
    }
    for i in 0..200_u8 {
        let message = next(&mut messages).await;
        assert_eq!((message.subject.as_str(), message.value.as_slice()), ("m.x", &[i][..]));
        assert_eq!(message.reply, None);
    }
    drop(guard);
    assert!(timeout(LIMIT, messages.recv()).await.unwrap().is_none());
}

pub async fn requests_are_answered(make: Make<'_>) {
    let (a, b) = (make().await, make().await);
    let within = Duration::from_secs(5);
    assert_eq!(b.request("m.x", vec![1], within).await, Err(BrokerError::NoResponders));
    let answering = a.clone();
    let sink = Box::new(move |message: Message| {
        if message.value != [0] {
            let mut value = message.value;
            value.push(9);
            answering.reply(&message.reply.expect("a request has a reply"), value);
        }
    });
    let guard = a.subscribe("m.x", sink).await.unwrap();
    for i in 1..100_u8 {
        assert_eq!(b.request("m.x", vec![i], within).await, Ok(vec![i, 9]));
    }
    let short = Duration::from_millis(100);
    assert!(matches!(b.request("m.x", vec![0], short).await, Err(BrokerError::NoAnswer(_))));
    drop(guard);
    let end = Instant::now() + LIMIT;
    while b.request("m.x", vec![1], within).await != Err(BrokerError::NoResponders) {
        assert!(Instant::now() < end);
    }
}

pub async fn times_are_by_one_clock(make: Make<'_>) {
    let (a, b) = (make().await, make().await);
    for round in 0..3 {
        let before = a.time().await.unwrap();
        b.write("k", Expect::Anything, &format!("t{round}"), vec![]).await.unwrap();
        let written = a.read("k").await.unwrap().unwrap().time;
        let id = round.to_string();
        b.enqueue(&key("q", Priority::Normal, &id), vec![]).await.unwrap();
        let appended = a.find_entry(&id).await.unwrap().unwrap().time;
        let after = b.time().await.unwrap();
        // The comparison of clocks is as exact as a round trip.
        let slack = 500_000_000;
        assert!(before <= written + slack && written <= appended && appended <= after + slack);
        sleep(Duration::from_millis(20)).await;
    }
}

pub async fn closed_brokers_say_so(make: Make<'_>) {
    let (a, b) = (make().await, make().await);
    assert!(a.is_connected() && !a.version().is_empty());
    a.open_queue("q").await.unwrap();
    b.enqueue(&key("q", Priority::Normal, "1"), vec![]).await.unwrap();
    let got = pull(&*a, "q", Priority::Normal, 1).await;
    // What was handed over before is sent.
    a.nak(&got[0].token, Duration::ZERO);
    a.close().await;
    assert!(!a.is_connected());
    // Not necessarily by that name: a connection in memory just says nothing any more.
    let over = |e: BrokerError| matches!(e, BrokerError::Closed | BrokerError::NoAnswer(_));
    assert!(a.read("k").await.is_err_and(over));
    assert!(a.write("k", Expect::Anything, "t", vec![]).await.is_err_and(over));
    assert_eq!(pull(&*b, "q", Priority::Normal, 1).await[0].delivered, 2);
}

/// Removing something leaves everything else where it is: what waits, what is given out, and what is
/// on its way to a watch.
pub async fn removals_leave_the_rest(make: Make<'_>) {
    let (a, b) = (make().await, make().await);
    for i in 0..10 {
        a.enqueue(&key("q", Priority::Normal, &i.to_string()), vec![]).await.unwrap();
    }
    let given_out = pull(&*a, "q", Priority::Normal, 2).await;
    assert_eq!(ids(&given_out), ["0", "1"]);
    b.remove_entry(&key("q", Priority::Normal, "5")).await.unwrap();
    b.remove_entry(&given_out[1].entry.key).await.unwrap();
    let rest = pull(&*a, "q", Priority::Normal, 7).await;
    assert_eq!(ids(&rest), ["2", "3", "4", "6", "7", "8", "9"]);
    for delivery in &rest {
        a.ack(&delivery.token);
    }
    let back = a.pull_next("q", Priority::Normal, LIMIT).await.unwrap().unwrap();
    assert_eq!((back.entry.key.id.as_str(), back.delivered), ("0", 2));

    let (_guard, mut seen) = watch(&*a, "n.*", Since::Now).await;
    for i in 0..200 {
        b.write(&format!("n.{i}"), Expect::Absent, &format!("t{i}"), vec![]).await.unwrap();
        if i % 10 == 5 {
            b.remove(&format!("n.{i}")).await.unwrap();
        }
    }
    let mut left: Vec<u32> = (0..200).filter(|i| i % 10 != 5).collect();
    while !left.is_empty() {
        let number: u32 = next(&mut seen).await.key[2..].parse().unwrap();
        left.retain(|n| *n != number);
    }
}
