use proptest::prelude::*;

use super::*;

/// What a test does to a backlog and to the model beside it.
#[derive(Clone, Debug)]
enum Step {
    Push(Priority),
    Next,
    PutBack,
    Release(usize),
    Remove(usize),
    Reacquire(Priority),
    Resize(Limits),
}

fn priority() -> impl Strategy<Value = Priority> {
    prop::sample::select(Priority::ALL.to_vec())
}

fn limits() -> impl Strategy<Value = Limits> {
    (0usize..4, 0usize..3, 0usize..3, prop::option::of(1usize..6), prop::option::of(1usize..8))
        .prop_map(|(pool_size, reserve_normal, reserve_high, max_size, critical_total)| Limits {
            pool_size,
            reserve_normal,
            reserve_high,
            max_size,
            critical_total,
        })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => priority().prop_map(Step::Push),
        4 => Just(Step::Next),
        1 => Just(Step::PutBack),
        3 => any::<prop::sample::Index>().prop_map(|i| Step::Release(i.index(1000))),
        1 => any::<prop::sample::Index>().prop_map(|i| Step::Remove(i.index(1000))),
        1 => priority().prop_map(Step::Reacquire),
        1 => limits().prop_map(Step::Resize),
    ]
}

/// The rules once more, as simply as they can be said: a list sorted by urgency and arrival.
struct Model {
    limits: Limits,
    /// (priority, arrival, job); a smaller arrival is earlier.
    waiting: Vec<(Priority, i64, u32)>,
    running: Vec<(Priority, u32)>,
}

impl Model {
    fn held(&self) -> usize {
        self.running.iter().filter(|(p, _)| *p != Priority::Critical).count()
    }

    fn next(&mut self) -> Option<(Priority, u32)> {
        let best = self
            .waiting
            .iter()
            .enumerate()
            .max_by_key(|(_, (priority, arrival, _))| (*priority, -arrival))
            .map(|(at, _)| at)?;
        let (priority, _, job) = self.waiting[best];
        let l = self.limits;
        let fits = match priority {
            Priority::Critical => l.critical_total.is_none_or(|t| self.running.len() < t),
            _ => {
                let room = if l.pool_size == 0 {
                    usize::MAX
                } else {
                    l.pool_size
                        + if priority >= Priority::Normal { l.reserve_normal } else { 0 }
                        + if priority >= Priority::High { l.reserve_high } else { 0 }
                };
                self.held() < room.min(l.max_size.unwrap_or(usize::MAX))
            }
        };
        if !fits {
            return None;
        }
        self.waiting.remove(best);
        self.running.push((priority, job));
        Some((priority, job))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn does_what_the_model_does(start in limits(), steps in prop::collection::vec(step(), 1..120)) {
        let mut backlog = Backlog::new(start);
        let mut model = Model { limits: start, waiting: vec![], running: vec![] };
        let mut tickets = std::collections::HashMap::new();
        let (mut job, mut back, mut front) = (0u32, 0i64, -1i64);
        for step in steps {
            match step {
                Step::Push(priority) => {
                    job += 1;
                    tickets.insert(job, (priority, backlog.push(priority, job)));
                    model.waiting.push((priority, back, job));
                    back += 1;
                }
                Step::Next => prop_assert_eq!(backlog.next(), model.next()),
                Step::PutBack => {
                    if let Some((priority, job)) = model.running.pop() {
                        backlog.release(priority);
                        if job != 0 {
                            tickets.insert(job, (priority, backlog.push_front(priority, job)));
                            model.waiting.push((priority, front, job));
                            front -= 1;
                        }
                    }
                }
                Step::Release(at) if !model.running.is_empty() => {
                    let (priority, _) = model.running.remove(at % model.running.len());
                    backlog.release(priority);
                }
                Step::Remove(at) if job > 0 => {
                    let wanted = at as u32 % job + 1;
                    let (priority, ticket) = tickets[&wanted];
                    let stands = model.waiting.iter().position(|(_, _, j)| *j == wanted);
                    let expected = stands.map(|at| model.waiting.remove(at).2);
                    prop_assert_eq!(backlog.remove(priority, ticket), expected);
                }
                Step::Reacquire(priority) => {
                    backlog.acquire(priority);
                    model.running.push((priority, 0));
                }
                Step::Resize(limits) => {
                    backlog.set_limits(limits);
                    model.limits = limits;
                }
                _ => {}
            }
            prop_assert_eq!(backlog.waiting(), model.waiting.len());
            prop_assert_eq!(backlog.held(), model.held());
            prop_assert_eq!(backlog.critical(), model.running.len() - model.held());
            for priority in Priority::ALL {
                let expected = model.waiting.iter().filter(|(p, ..)| *p == priority).count();
                prop_assert_eq!(backlog.waiting_of(priority), expected);
            }
        }
        // Whatever happened, what still waits comes out in order.
        let mut rest = model.waiting.clone();
        rest.sort_by_key(|(priority, arrival, _)| (std::cmp::Reverse(*priority), *arrival));
        let rest: Vec<u32> = rest.into_iter().map(|(_, _, job)| job).collect();
        prop_assert_eq!(backlog.drain(), rest);
    }
}

const PLAIN: Limits = Limits {
    pool_size: 1,
    reserve_normal: 1,
    reserve_high: 1,
    max_size: None,
    critical_total: None,
};

#[test]
fn reserves_open_by_priority() {
    let mut backlog = Backlog::new(PLAIN);
    for _ in 0..2 {
        for priority in [Priority::Low, Priority::Normal, Priority::High] {
            backlog.push(priority, priority);
        }
    }
    // Three slots; the two high ones and one normal take them, the low ones wait.
    let started: Vec<_> = std::iter::from_fn(|| backlog.next()).map(|(p, _)| p).collect();
    assert_eq!(started, [Priority::High, Priority::High]);
    backlog.release(Priority::High);
    assert_eq!(backlog.next(), Some((Priority::Normal, Priority::Normal)));
    assert_eq!(backlog.next(), None);
}

#[test]
fn a_queue_of_gaps_stays_small() {
    let mut backlog = Backlog::new(PLAIN);
    backlog.push(Priority::Low, 0);
    for job in 1..100_000 {
        let ticket = backlog.push(Priority::Low, job);
        assert_eq!(backlog.remove(Priority::Low, ticket), Some(job));
    }
    assert_eq!(backlog.waiting(), 1);
    assert!(backlog.queues[Priority::Low.index()].stored() < 100);
}
