//! What happens when the time for a wait is over first?

use std::sync::mpsc;
use std::time::{Duration, Instant};

use atasker::{PoolConfig, Supervisor, Task, WaitError, wait_any, wait_completed};

const AGES: Duration = Duration::from_secs(600);
const SOON: Duration = Duration::from_millis(20);

fn supervisor() -> Supervisor {
    Supervisor::builder().thread_pool(PoolConfig::unlimited()).build()
}

/// A task that ends when its gate is opened, and says so.
fn gated(sup: &Supervisor, n: u32) -> (mpsc::Sender<()>, mpsc::Receiver<u32>, Task<u32>) {
    let (open, gate) = mpsc::channel();
    let (say, said) = mpsc::channel();
    let task = sup.spawn(move || {
        gate.recv().unwrap();
        say.send(n).unwrap();
        n
    });
    (open, said, task)
}

#[test]
fn those_that_had_not_completed_are_named_in_order() {
    let sup = supervisor();
    let (open0, _said0, t0) = gated(&sup, 0);
    let t1 = sup.spawn(|| 1_u32);
    let (open2, _said2, t2) = gated(&sup, 2);
    t1.wait().unwrap();
    let began = Instant::now();
    match wait_completed!(&t0, &t1, &t2, timeout = SOON) {
        Err(WaitError::Timeout { pending, .. }) => assert_eq!(pending, [t0.id(), t2.id()]),
        other => panic!("{other:?}"),
    }
    assert!(began.elapsed() >= SOON);
    // They went on, and can be waited for again.
    open0.send(()).unwrap();
    open2.send(()).unwrap();
    assert_eq!(wait_completed!(t0, t1, t2, timeout = AGES).unwrap(), (0, 1, 2));
}

#[test]
fn those_given_by_value_go_on_detached() {
    let sup = supervisor();
    let (open0, said0, t0) = gated(&sup, 0);
    let (open1, said1, t1) = gated(&sup, 1);
    let id = t1.id();
    let error = wait_completed!(vec![t0, t1], timeout = SOON).unwrap_err();
    assert!(matches!(error, WaitError::Timeout { pending, .. } if pending.len() == 2));
    assert!(!sup.task(id).unwrap().is_completed());
    open1.send(()).unwrap();
    open0.send(()).unwrap();
    assert_eq!((said0.recv(), said1.recv()), (Ok(0), Ok(1)));

    let (open, said, task) = gated(&sup, 2);
    assert!(wait_any!([task], timeout = SOON).is_err());
    open.send(()).unwrap();
    assert_eq!(said.recv(), Ok(2));
}

#[test]
fn the_time_may_be_left_out_by_an_option() {
    let sup = supervisor();
    let limit: Option<Duration> = None;
    assert_eq!(wait_completed!(sup.spawn(|| 1), timeout = limit).unwrap(), 1);
    assert_eq!(wait_completed!(sup.spawn(|| 1), timeout = None).unwrap(), 1);
    assert_eq!(wait_any!([sup.spawn(|| 1)], timeout = limit).unwrap(), (0, 1));
    let (open, _said, task) = gated(&sup, 1);
    assert!(wait_completed!(&task, timeout = Some(SOON)).is_err());
    assert!(wait_any!(&task, timeout = Some(SOON)).is_err());
    open.send(()).unwrap();
    assert_eq!(wait_completed!(task, timeout = Some(AGES)).unwrap(), 1);
}

#[test]
fn the_time_may_stand_first_and_be_any_expression() {
    let sup = supervisor();
    struct Settings {
        timeout: Duration,
    }
    let settings = Settings { timeout: AGES };
    let timeout = sup.spawn(|| 1);
    let both = wait_completed!(timeout = settings.timeout / 2, &timeout, sup.spawn(|| 2));
    assert_eq!(both.unwrap(), (&1, 2));
    // `timeout` alone is a task like any other.
    assert_eq!(wait_completed!(timeout, timeout = settings.timeout).unwrap(), 1);
}

#[test]
fn no_time_at_all_is_a_question() {
    let sup = supervisor();
    let (open, _said, task) = gated(&sup, 5);
    assert!(wait_completed!(&task, timeout = Duration::ZERO).is_err());
    assert!(wait_any!(&task, timeout = Duration::ZERO).is_err());
    open.send(()).unwrap();
    task.wait().unwrap();
    assert_eq!(wait_completed!(&task, timeout = Duration::ZERO).unwrap(), &5);
    assert_eq!(wait_any!(&task, timeout = Duration::ZERO).unwrap(), (0, &5));
}

#[test]
fn more_time_than_the_clock_has() {
    let sup = supervisor();
    assert_eq!(wait_completed!(sup.spawn(|| 1), timeout = Duration::MAX).unwrap(), 1);
    assert_eq!(wait_any!(vec![sup.spawn(|| 1)], timeout = Duration::MAX).unwrap(), (0, 1));
}

#[test]
fn one_time_for_all_together() {
    let sup = supervisor();
    let gates: Vec<_> = (0..50).map(|n| gated(&sup, n)).collect();
    let tasks: Vec<&Task<u32>> = gates.iter().map(|(_, _, task)| task).collect();
    let began = Instant::now();
    let error = wait_completed!(&tasks, timeout = Duration::from_millis(600)).unwrap_err();
    // 50 times as long if each had the time for itself.
    assert!(began.elapsed() < Duration::from_secs(29));
    assert!(matches!(error, WaitError::Timeout { pending, .. } if pending.len() == 50));
    gates.iter().for_each(|(open, ..)| open.send(()).unwrap());
}
