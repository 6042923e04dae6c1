//! The door to the broker with failures: a node kills or freezes itself at a chosen moment in the life
//! of a call, and requests are lost or not answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use atasker::__broker::{
    Broker, BrokerError, BrokerFuture, BrokerLimits, Delivery, DeliveryToken, Entry, EntryKey,
    Expect, Guard, Kept, LogEntry, Message, QueueCounts, Record, ReplyTo, Since, Sink,
};
use atasker::Priority;
use atasker_tests::random::Random;

/// A moment in the life of a call, at a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    BeforeClaim,
    /// The broker has the claim, and the node does not know that yet.
    AfterClaim,
    BeforeOutcome,
    /// The broker has the outcome, or that the call waits again, and the node does not know that yet.
    AfterOutcome,
    BeforeAck,
    AfterAck,
    BeforeHandBack,
}

pub const MOMENTS: [Moment; 7] = [
    Moment::BeforeClaim,
    Moment::AfterClaim,
    Moment::BeforeOutcome,
    Moment::AfterOutcome,
    Moment::BeforeAck,
    Moment::AfterAck,
    Moment::BeforeHandBack,
];

/// What a node does to itself.
struct Doom {
    moment: Moment,
    /// How often the moment passes before.
    left: AtomicU32,
    signal: i32,
}

impl Doom {
    /// `SIGNAL MOMENT COUNT`, or nothing.
    fn from_text(text: &str) -> Option<Doom> {
        let mut words = text.split(' ').filter(|word| !word.is_empty());
        let signal = words.next()?.parse().expect("a signal");
        let moment = words.next().expect("a moment");
        let moment = MOMENTS.into_iter().find(|known| format!("{known:?}") == moment);
        let left = words.next().expect("a count").parse().expect("a count");
        Some(Doom { moment: moment.expect("a moment"), left: AtomicU32::new(left), signal })
    }
}

/// A broker with failures. What it loses may be lost by what [`Broker`] says, and what it doesn't
/// answer was carried out.
pub struct Faulty {
    broker: Arc<dyn Broker>,
    doom: Option<Doom>,
    /// How many of a thousand requests are lost or not answered.
    lies: u64,
    random: Mutex<Random>,
    /// The number of the last write of this process to each record of a call.
    written: Mutex<BTreeMap<String, u64>>,
}

impl Faulty {
    pub fn new(broker: Arc<dyn Broker>, doom: &str, lies: u64, seed: u64) -> Faulty {
        Faulty {
            broker,
            doom: Doom::from_text(doom),
            lies,
            random: Mutex::new(Random::new(seed)),
            written: Mutex::default(),
        }
    }

    fn passes(&self, moment: Moment) {
        let Some(doom) = self.doom.as_ref().filter(|doom| doom.moment == moment) else { return };
        if doom.left.fetch_sub(1, Ordering::Relaxed) == 0 {
            // SAFETY: sends a signal to this process.
            unsafe { libc::kill(libc::getpid(), doom.signal) };
        }
    }

    fn is_lost(&self) -> bool {
        self.random.lock().unwrap().below(1000) < self.lies
    }

    /// Withholds an answer now and then.
    fn answer<'a, T: Send + 'a>(
        &'a self,
        answer: BrokerFuture<'a, Result<T, BrokerError>>,
    ) -> BrokerFuture<'a, Result<T, BrokerError>> {
        if !self.is_lost() {
            return answer;
        }
        Box::pin(async {
            answer.await?;
            Err(BrokerError::NoAnswer("withheld by the test".to_owned()))
        })
    }

    async fn write(
        &self,
        key: &str,
        expect: Expect,
        token: &str,
        value: Vec<u8>,
    ) -> Result<u64, BrokerError> {
        if !key.starts_with("c.") {
            return self.answer(self.broker.write(key, expect, token, value)).await;
        }
        let last = self.written.lock().unwrap().get(key).copied();
        // The second write of a claimant ends its part. One that is repeated counts as another one.
        let ends = last.is_some_and(|last| expect == Expect::Number(last));
        let (before, after) = match ends {
            true => (Moment::BeforeOutcome, Moment::AfterOutcome),
            false => (Moment::BeforeClaim, Moment::AfterClaim),
        };
        self.passes(before);
        let written = self.answer(self.broker.write(key, expect, token, value)).await;
        if let Ok(number) = written {
            let mut all = self.written.lock().unwrap();
            match ends {
                true => drop(all.remove(key)),
                false => drop(all.insert(key.to_owned(), number)),
            }
            drop(all);
            self.passes(after);
        }
        written
    }
}

impl Broker for Faulty {
    fn read<'a>(&'a self, key: &'a str) -> BrokerFuture<'a, Result<Option<Record>, BrokerError>> {
        self.answer(self.broker.read(key))
    }

    fn write<'a>(
        &'a self,
        key: &'a str,
        expect: Expect,
        token: &'a str,
        value: Vec<u8>,
    ) -> BrokerFuture<'a, Result<u64, BrokerError>> {
        Box::pin(Faulty::write(self, key, expect, token, value))
    }

    fn remove<'a>(&'a self, key: &'a str) -> BrokerFuture<'a, Result<(), BrokerError>> {
        self.answer(self.broker.remove(key))
    }

    fn watch<'a>(
        &'a self,
        filter: &'a str,
        since: Since,
        sink: Sink<Record>,
    ) -> BrokerFuture<'a, Result<Guard, BrokerError>> {
        self.broker.watch(filter, since, sink)
    }

    fn open_queue<'a>(&'a self, queue: &'a str) -> BrokerFuture<'a, Result<(), BrokerError>> {
        self.broker.open_queue(queue)
    }

    fn enqueue<'a>(
        &'a self,
        entry: &'a EntryKey,
        value: Vec<u8>,
    ) -> BrokerFuture<'a, Result<(), BrokerError>> {
        self.answer(self.broker.enqueue(entry, value))
    }

    fn pull_now<'a>(
        &'a self,
        queue: &'a str,
        priority: Priority,
        batch: usize,
    ) -> BrokerFuture<'a, Result<Vec<Delivery>, BrokerError>> {
        // What was pulled and is not answered comes back when it was not touched for a while.
        self.answer(self.broker.pull_now(queue, priority, batch))
    }

    fn pull_next<'a>(
        &'a self,
        queue: &'a str,
        priority: Priority,
        wait: Duration,
    ) -> BrokerFuture<'a, Result<Option<Delivery>, BrokerError>> {
        self.answer(self.broker.pull_next(queue, priority, wait))
    }

    fn renew_entry<'a>(
        &'a self,
        delivery: &'a DeliveryToken,
        entry: &'a EntryKey,
        token: &'a str,
        value: Vec<u8>,
    ) -> BrokerFuture<'a, Result<(), BrokerError>> {
        self.answer(self.broker.renew_entry(delivery, entry, token, value))
    }

    fn ack(&self, delivery: &DeliveryToken) {
        self.passes(Moment::BeforeAck);
        if !self.is_lost() {
            self.broker.ack(delivery);
        }
        self.passes(Moment::AfterAck);
    }

    fn nak(&self, delivery: &DeliveryToken, delay: Duration) {
        self.passes(Moment::BeforeHandBack);
        if !self.is_lost() {
            self.broker.nak(delivery, delay);
        }
    }

    fn touch(&self, delivery: &DeliveryToken) {
        if !self.is_lost() {
            self.broker.touch(delivery);
        }
    }

    fn find_entry<'a>(
        &'a self,
        id: &'a str,
    ) -> BrokerFuture<'a, Result<Option<Entry>, BrokerError>> {
        self.answer(self.broker.find_entry(id))
    }

    fn remove_entry<'a>(
        &'a self,
        entry: &'a EntryKey,
    ) -> BrokerFuture<'a, Result<(), BrokerError>> {
        self.answer(self.broker.remove_entry(entry))
    }

    fn queues(&self) -> BrokerFuture<'_, Result<Vec<QueueCounts>, BrokerError>> {
        self.broker.queues()
    }

    fn append<'a>(
        &'a self,
        log: &'a str,
        key: &'a str,
        value: Vec<u8>,
    ) -> BrokerFuture<'a, Result<(), BrokerError>> {
        self.answer(self.broker.append(log, key, value))
    }

    fn log<'a>(&'a self, log: &'a str) -> BrokerFuture<'a, Result<Vec<LogEntry>, BrokerError>> {
        self.broker.log(log)
    }

    fn remove_logged<'a>(
        &'a self,
        log: &'a str,
        key: &'a str,
    ) -> BrokerFuture<'a, Result<bool, BrokerError>> {
        self.broker.remove_logged(log, key)
    }

    fn put_block<'a>(
        &'a self,
        kept: Kept,
        key: &'a str,
        index: u32,
        value: Vec<u8>,
    ) -> BrokerFuture<'a, Result<(), BrokerError>> {
        self.answer(self.broker.put_block(kept, key, index, value))
    }

    fn get_blocks<'a>(
        &'a self,
        kept: Kept,
        key: &'a str,
        count: u32,
    ) -> BrokerFuture<'a, Result<Vec<u8>, BrokerError>> {
        self.answer(self.broker.get_blocks(kept, key, count))
    }

    fn remove_blocks<'a>(
        &'a self,
        kept: Kept,
        key: &'a str,
    ) -> BrokerFuture<'a, Result<(), BrokerError>> {
        self.answer(self.broker.remove_blocks(kept, key))
    }

    fn subscribe<'a>(
        &'a self,
        subject: &'a str,
        sink: Sink<Message>,
    ) -> BrokerFuture<'a, Result<Guard, BrokerError>> {
        self.broker.subscribe(subject, sink)
    }

    fn publish(&self, subject: &str, value: Vec<u8>) {
        if !self.is_lost() {
            self.broker.publish(subject, value);
        }
    }

    fn request<'a>(
        &'a self,
        subject: &'a str,
        value: Vec<u8>,
        timeout: Duration,
    ) -> BrokerFuture<'a, Result<Vec<u8>, BrokerError>> {
        self.answer(self.broker.request(subject, value, timeout))
    }

    fn reply(&self, to: &ReplyTo, value: Vec<u8>) {
        if !self.is_lost() {
            self.broker.reply(to, value);
        }
    }

    fn time(&self) -> BrokerFuture<'_, Result<u64, BrokerError>> {
        self.broker.time()
    }

    fn is_connected(&self) -> bool {
        self.broker.is_connected()
    }

    fn on_connection(&self, sink: Sink<bool>) {
        self.broker.on_connection(sink);
    }

    fn limits(&self) -> BrokerLimits {
        self.broker.limits()
    }

    fn version(&self) -> String {
        self.broker.version()
    }

    fn close(&self) -> BrokerFuture<'_, ()> {
        self.broker.close()
    }
}
