use proptest::prelude::*;

use super::*;

/// An operation on both the backlog and the model.
#[derive(Clone, Debug)]
enum Step {
    Push(Priority),
    Next,
    Requeue,
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
        .prop_map(|(pool_size, reserve_normal, reserve_high, max_size, critical_extra)| Limits {
            pool_size,
            reserve_normal,
            reserve_high,
            max_size,
            critical_extra,
        })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => priority().prop_map(Step::Push),
        4 => Just(Step::Next),
        1 => Just(Step::Requeue),
        3 => any::<prop::sample::Index>().prop_map(|i| Step::Release(i.index(1000))),
        1 => any::<prop::sample::Index>().prop_map(|i| Step::Remove(i.index(1000))),
        1 => priority().prop_map(Step::Reacquire),
        1 => limits().prop_map(Step::Resize),
    ]
}

/// The same rules in their simplest form: a list sorted by urgency and arrival.
struct Model {
    limits: Limits,
    /// (priority, arrival, job); a smaller arrival is earlier.
    waiting: Vec<(Priority, i64, u32)>,
    /// (priority, arrival, job); job 0 did not wait.
    running: Vec<(Priority, i64, u32)>,
}

impl Model {
    fn critical(&self) -> usize {
        self.running.iter().filter(|(p, ..)| *p == Priority::Critical).count()
    }

    fn held(&self) -> usize {
        let extra = self.limits.critical_extra.unwrap_or(usize::MAX);
        self.running.len() - self.critical().min(extra)
    }

    fn next(&mut self) -> Option<(Priority, u32)> {
        let best = self
            .waiting
            .iter()
            .enumerate()
            .max_by_key(|(_, (priority, arrival, _))| (*priority, -arrival))
            .map(|(at, _)| at)?;
        let (priority, arrival, job) = self.waiting[best];
        let l = self.limits;
        let room = if l.pool_size == 0 {
            usize::MAX
        } else {
            l.pool_size
                + if priority >= Priority::Normal { l.reserve_normal } else { 0 }
                + if priority >= Priority::High { l.reserve_high } else { 0 }
        };
        let room = room.min(l.max_size.unwrap_or(usize::MAX));
        let beyond = || l.critical_extra.is_none_or(|extra| self.critical() < extra);
        let fits = self.held() < room || priority == Priority::Critical && beyond();
        if !fits {
            return None;
        }
        self.waiting.remove(best);
        self.running.push((priority, arrival, job));
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
        let (mut job, mut arrivals) = (0u32, [0i64; 4]);
        for step in steps {
            match step {
                Step::Push(priority) => {
                    job += 1;
                    let ticket = backlog.push(priority, job);
                    let arrival = &mut arrivals[priority.index()];
                    prop_assert_eq!(ticket.0, *arrival);
                    tickets.insert(job, (priority, ticket));
                    model.waiting.push((priority, *arrival, job));
                    *arrival += 1;
                }
                Step::Next => prop_assert_eq!(backlog.next(), model.next()),
                Step::Requeue => {
                    if let Some((priority, arrival, job)) = model.running.pop() {
                        backlog.release(priority);
                        if job != 0 {
                            backlog.requeue(priority, tickets[&job].1, job);
                            model.waiting.push((priority, arrival, job));
                        }
                    }
                }
                Step::Release(at) if !model.running.is_empty() => {
                    let (priority, ..) = model.running.remove(at % model.running.len());
                    backlog.release(priority);
                }
                Step::Remove(at) if job > 0 => {
                    let wanted = at as u32 % job + 1;
                    let (priority, ticket) = tickets[&wanted];
                    let position = model.waiting.iter().position(|(_, _, j)| *j == wanted);
                    let expected = position.map(|at| model.waiting.remove(at).2);
                    prop_assert_eq!(backlog.remove(priority, ticket), expected);
                }
                Step::Reacquire(priority) => {
                    backlog.acquire(priority);
                    model.running.push((priority, 0, 0));
                }
                Step::Resize(limits) => {
                    backlog.set_limits(limits);
                    model.limits = limits;
                }
                _ => {}
            }
            prop_assert_eq!(backlog.waiting(), model.waiting.len());
            prop_assert_eq!(backlog.held(), model.held());
            prop_assert_eq!(backlog.critical(), model.critical());
            for priority in Priority::ALL {
                prop_assert_eq!(backlog.may_start(priority), backlog.free_for(priority) > 0);
            }
            for priority in Priority::ALL {
                let expected = model.waiting.iter().filter(|(p, ..)| *p == priority).count();
                prop_assert_eq!(backlog.waiting_of(priority), expected);
            }
        }
        // The remaining jobs come out in order.
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
    critical_extra: None,
};

#[test]
fn reserves_open_by_priority() {
    let mut backlog = Backlog::new(PLAIN);
    for _ in 0..2 {
        for priority in [Priority::Low, Priority::Normal, Priority::High] {
            backlog.push(priority, priority);
        }
    }
    // Three slots: two high tasks take two, a normal one takes the third, and the low ones wait.
    let started: Vec<_> = std::iter::from_fn(|| backlog.next()).map(|(p, _)| p).collect();
    assert_eq!(started, [Priority::High, Priority::High]);
    backlog.release(Priority::High);
    assert_eq!(backlog.next(), Some((Priority::Normal, Priority::Normal)));
    assert_eq!(backlog.next(), None);
}

#[test]
fn critical_ones_within_the_pool_count() {
    let mut backlog = Backlog::<()>::new(Limits { critical_extra: Some(1), ..PLAIN });
    use Priority::{Critical, High, Low, Normal};
    let free = |backlog: &Backlog<()>| [Low, Normal, High, Critical].map(|p| backlog.free_for(p));
    assert_eq!(free(&backlog), [1, 2, 3, 4]);
    backlog.acquire(Critical);
    assert_eq!(free(&backlog), [1, 2, 3, 3]);
    backlog.acquire(Critical);
    assert_eq!(free(&backlog), [0, 1, 2, 2]);
    backlog.acquire(High);
    backlog.acquire(High);
    assert_eq!(free(&backlog), [0, 0, 0, 0]);
    backlog.release(Critical);
    assert_eq!(free(&backlog), [0, 0, 1, 1]);
}

#[test]
fn what_comes_back_stands_where_it_stood() {
    let mut backlog = Backlog::new(PLAIN);
    let passed = backlog.issue_ticket(Priority::Low);
    for job in 1..5 {
        backlog.push(Priority::Low, job);
    }
    let (_, first, one) = backlog.pop_first().unwrap();
    let (_, second, two) = backlog.pop_first().unwrap();
    backlog.requeue(Priority::Low, second, two);
    backlog.requeue(Priority::Low, passed, 0);
    backlog.requeue(Priority::Low, first, one);
    assert_eq!(backlog.drain(), [0, 1, 2, 3, 4]);
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
