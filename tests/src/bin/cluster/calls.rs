//! The calls of a submitter: their kinds, and what may become of them.

use std::time::Duration;

use atasker::{Backoff, Priority, Task, TaskBuilder, TaskError};
use atasker_tests::random::Random;

use crate::functions::{self, Answer, Reply};
use crate::submitter::{Pending, Scene};

/// Checks a result. Gets whether a stop was requested.
pub type Check<R> = Box<dyn Fn(&R, bool) -> Result<(), String> + Send>;

/// What may become of a call, apart from what is done to it.
pub struct Expected<R> {
    pub kind: &'static str,
    pub retries: u32,
    pub redeliver: u32,
    pub expires: Option<Duration>,
    /// The key that only one call may hold.
    pub key: Option<u64>,
    /// It is handed over later.
    pub delayed: bool,
    pub result: Check<R>,
    /// Whether an error that the function itself has caused is one of those that it causes.
    pub error: fn(&TaskError) -> bool,
}

/// Which runs a call may have, and what else is up to its launcher.
struct Traits {
    retries: u32,
    redeliver: u32,
    expires: Option<Duration>,
    priority: Priority,
    delay: Option<Duration>,
}

impl Traits {
    fn random(random: &mut Random) -> Traits {
        Traits {
            retries: random.pick(&[0, 0, 1, 3]),
            redeliver: random.pick(&[0, 1, 2, 2, 2, 50]),
            expires: (random.below(12) == 0).then(|| millis(random, 100, 4_000)),
            priority: random.pick(&Priority::ALL),
            delay: (random.below(20) == 0).then(|| millis(random, 1, 300)),
        }
    }
}

fn millis(random: &mut Random, least: u64, most: u64) -> Duration {
    Duration::from_millis(least + random.below(most - least))
}

fn never(_: &TaskError) -> bool {
    false
}

fn panicked(error: &TaskError) -> bool {
    matches!(error, TaskError::Panicked { message, .. } if message.starts_with("meant"))
}

fn died(error: &TaskError) -> bool {
    matches!(error, TaskError::WorkerDied(_))
}

fn overran(error: &TaskError) -> bool {
    matches!(error, TaskError::TimedOut { .. })
}

/// Checks an answer by its value.
fn answers(call: u64, value: u64) -> Check<Answer> {
    Box::new(move |answer, _| {
        let good = answer.call == call && answer.value == value && answer.attempt > 0;
        if good { Ok(()) } else { Err(format!("{answer:?} is not {value}")) }
    })
}

/// An answer of a function that fails in its first runs.
fn answers_after(call: u64, bad_runs: u32) -> impl Fn(&Answer) -> Result<(), String> + Send {
    move |answer| {
        let good = answer.call == call && answer.attempt > bad_runs;
        if good { Ok(()) } else { Err(format!("{answer:?} after {bad_runs} bad runs")) }
    }
}

/// Launches a call of a random kind.
pub fn launch(scene: &Scene, random: &mut Random) -> Option<Box<dyn AnyCall>> {
    let call = scene.next_call();
    let mut traits = Traits::random(random);
    let kind = random.below(100);
    // Those that take seconds are short ones as well, if calls are to be brief.
    let kind = if scene.brief && matches!(kind, 47..54 | 72..75 | 82..90) { 0 } else { kind };
    Some(match kind {
        0..40 => {
            let expected = traits.expected("short", answers(call, call * 3), never);
            scene.start(
                call,
                traits.apply(functions::short::builder(call), random),
                expected,
                random,
            )
        }
        40..54 => {
            let most = if scene.brief { 20 } else { random.pick(&[50, 200, 1_000, 6_000]) };
            let time = millis(random, 1, most);
            let result = Box::new(move |answer: &Answer, _| {
                // 1 if it was asked to stop, perhaps because its node was drained.
                let good = answer.call == call && (answer.value <= 1);
                if good { Ok(()) } else { Err(format!("{answer:?}")) }
            });
            let expected = traits.expected("long", result, never);
            let builder = traits.apply(functions::long::builder(call, time), random);
            scene.start(call, builder, expected, random)
        }
        54..62 => {
            let bad_runs = random.pick(&[0, 1, 1, 2, 9]);
            let after = answers_after(call, bad_runs);
            let result = Box::new(move |answer: &Answer, _| after(answer));
            let error = if bad_runs > 0 { panicked } else { never };
            let expected = traits.expected("panics", result, error);
            let builder = traits.apply(functions::panics::builder(call, bad_runs), random);
            scene.start(call, builder, expected, random)
        }
        62..68 => {
            let bad_runs = random.pick(&[0, 1, 1, 2, 9]);
            let after = answers_after(call, bad_runs);
            let result = Box::new(move |answer: &Result<Answer, String>, _| match answer {
                Ok(answer) => after(answer),
                Err(text) if text == "meant" && bad_runs > 0 => Ok(()),
                Err(text) => Err(text.clone()),
            });
            let expected = traits.expected("errs", result, never);
            let builder = traits.apply(functions::errs::builder(call, bad_runs), random);
            scene.start(call, builder, expected, random)
        }
        68..72 => {
            let bad_runs = random.pick(&[1, 1, 9]);
            let after = answers_after(call, bad_runs);
            let result = Box::new(move |answer: &Answer, _| after(answer));
            let expected = traits.expected("dies", result, died);
            let builder = traits.apply(functions::dies::builder(call, bad_runs), random);
            scene.start(call, builder, expected, random)
        }
        72..75 => {
            traits.retries = random.pick(&[0, 1]);
            let result = Box::new(|answer: &Answer, _| Err(format!("{answer:?}")));
            let expected = traits.expected("hangs", result, overran);
            let builder = functions::hangs::builder(call).timeout(millis(random, 100, 1_000));
            scene.start(call, traits.apply(builder, random), expected, random)
        }
        75..82 => {
            let size = random.pick(&[1_000, 60_000, 300_000, 2_000_000]);
            let byte = random.number() as u8;
            let bytes = vec![byte; random.below(size) as usize];
            let len = bytes.len();
            let result = Box::new(move |bytes: &Vec<u8>, _| {
                let good = bytes.len() == len + 4 && bytes[..len].iter().all(|b| *b == byte);
                if good { Ok(()) } else { Err(format!("{} bytes for {len}", bytes.len())) }
            });
            let expected = traits.expected("echo", result, never);
            scene.start(
                call,
                traits.apply(functions::echo::builder(call, bytes), random),
                expected,
                random,
            )
        }
        82..90 => {
            traits.delay = None;
            let count = 1 + random.below(40);
            let expected =
                traits.expected("talks", Box::new(|_: &(u32, Vec<u64>), _| Ok(())), never);
            let builder = functions::talks::builder(call, Duration::from_secs(4));
            let pending =
                scene.start_quietly(call, traits.apply(builder, random), expected, random);
            Box::new(Talk { pending, count, sent: 0, replies: Vec::new() })
        }
        90..97 => {
            traits.delay = None;
            let key = random.below(6);
            let time = millis(random, 1, 300);
            let result = Box::new(move |answer: &Answer, _| {
                // 1 if it was asked to stop, perhaps because its node was drained.
                let good = answer.call == call && (answer.value <= 1);
                if good { Ok(()) } else { Err(format!("{answer:?}")) }
            });
            let mut expected = traits.expected("unique", result, never);
            expected.key = Some(key);
            let builder = traits.apply(functions::long::builder(call, time), random);
            let builder = builder.name("unique").unique(key);
            if random.below(2) == 0 {
                scene.start(call, builder, expected, random)
            } else {
                scene.start_unique(call, builder, expected, random)?
            }
        }
        _ => {
            traits.expires = Some(millis(random, 50, 1_000));
            let expected = traits.expected("nowhere", answers(call, call * 3), never);
            let builder = traits.apply(functions::short::builder(call), random).queue("nowhere");
            scene.start(call, builder, expected, random)
        }
    })
}

impl Traits {
    fn expected<R>(
        &self,
        kind: &'static str,
        result: Check<R>,
        error: fn(&TaskError) -> bool,
    ) -> Expected<R> {
        let Traits { retries, redeliver, expires, .. } = *self;
        let delayed = self.delay.is_some();
        Expected { kind, retries, redeliver, expires, key: None, delayed, result, error }
    }

    fn apply<R, I, O>(
        &self,
        builder: TaskBuilder<R, I, O>,
        random: &mut Random,
    ) -> TaskBuilder<R, I, O>
    where
        R: Send + 'static,
        I: Send + 'static,
        O: Send + 'static,
    {
        let mut builder = builder
            .retries(self.retries)
            .redeliver(self.redeliver)
            .priority(self.priority)
            .retry_delay(millis(random, 1, 100));
        if random.below(4) == 0 {
            let (first, most) = (Duration::from_millis(5), Duration::from_millis(200));
            builder = builder.backoff(Backoff::exponential(first, most));
        }
        if let Some(after) = self.expires {
            builder = builder.expires(after);
        }
        match self.delay {
            Some(delay) => builder.delay(delay),
            None => builder,
        }
    }
}

/// A call of any type that was launched.
pub trait AnyCall: Send {
    /// Goes on with what is to be done meanwhile. Returns whether the call has ended.
    fn goes_on(&mut self, scene: &Scene) -> bool;
    /// Writes down the outcome, and checks it.
    fn finish(self: Box<Self>, scene: &Scene);
    /// Says that it has not ended.
    fn give_up(&self, scene: &Scene);
}

impl<R: std::hash::Hash + Send + Sync + 'static, I: Send + 'static, O: Send + 'static> AnyCall
    for Pending<R, I, O>
{
    fn goes_on(&mut self, _: &Scene) -> bool {
        self.task().is_completed()
    }

    fn finish(self: Box<Self>, scene: &Scene) {
        self.end(scene);
    }

    fn give_up(&self, scene: &Scene) {
        self.has_not_ended(scene);
    }
}

/// A call with messages.
struct Talk {
    pending: Pending<(u32, Vec<u64>), u64, Reply>,
    /// The messages 1 to this one are sent, and then 0.
    count: u64,
    sent: u64,
    replies: Vec<Reply>,
}

impl Talk {
    fn task(&self) -> &Task<(u32, Vec<u64>), u64, Reply> {
        self.pending.task()
    }

    /// Messages arrive in order, each once per run, and none is left out in between.
    fn check(&self, scene: &Scene) {
        let call = self.pending.call();
        for (i, (run, number, message)) in self.replies.iter().enumerate() {
            let before = self.replies[..i].iter().rev().find(|(other, ..)| other == run);
            let good = match before {
                None => *number == 1,
                Some((_, n, m)) => *number == n + 1 && (*message > *m || *message == 0),
            };
            if !good {
                return scene.problem(call, &format!("replies out of order: {:?}", self.replies));
            }
        }
        let Some((run, received)) = self.task().result() else { return };
        // 0 is the last one.
        let order = |message: &u64| if *message == 0 { u64::MAX } else { *message };
        let received: Vec<_> = received.iter().map(order).collect();
        if !received.is_sorted_by(|a, b| a < b) {
            scene.problem(call, &format!("run {run} has received {received:?}"));
        }
        let replies = self.replies.iter().filter(|(other, ..)| other == run).count();
        if replies != received.len() {
            scene.missing(call, *run, replies, received.len());
        }
        let ended_well = received.last() == Some(&u64::MAX);
        if *run == 1 && ended_well && received.len() as u64 != self.sent {
            let sent = self.sent;
            scene.problem(call, &format!("the only run has received {received:?} of {sent}"));
        }
    }
}

impl AnyCall for Talk {
    fn goes_on(&mut self, _: &Scene) -> bool {
        if self.sent <= self.count {
            let message = (self.sent + 1) % (self.count + 1);
            match self.task().try_send(message) {
                Ok(()) => self.sent += 1,
                Err(atasker::TrySendError::Full(_)) => {}
                Err(_) => self.sent = u64::MAX,
            }
        }
        while let Ok(reply) = self.task().try_recv() {
            self.replies.push(reply);
        }
        self.task().is_completed()
    }

    fn finish(mut self: Box<Self>, scene: &Scene) {
        while let Ok(reply) = self.task().try_recv() {
            self.replies.push(reply);
        }
        self.check(scene);
        self.pending.end(scene);
    }

    fn give_up(&self, scene: &Scene) {
        self.pending.has_not_ended(scene);
    }
}
