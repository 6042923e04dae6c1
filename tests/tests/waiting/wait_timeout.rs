//! What does a wait return if its timeout expires first?

use std::sync::mpsc;
use std::time::{Duration, Instant};

use atasker::{Supervisor, Task, WaitError, wait_any, wait_completed};

use crate::unlimited;

const AGES: Duration = Duration::from_secs(600);
const SOON: Duration = Duration::from_millis(20);

/// A task that ends when its gate opens, and reports that.
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
fn timeout_lists_pending_tasks_in_order() {
    let sup = unlimited();
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
    // The tasks continued and can be awaited again.
    open0.send(()).unwrap();
    open2.send(()).unwrap();
    assert_eq!(wait_completed!(t0, t1, t2, timeout = AGES).unwrap(), (0, 1, 2));
}

#[test]
fn timed_out_owned_tasks_continue_detached() {
    let sup = unlimited();
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
fn timeout_accepts_option() {
    let sup = unlimited();
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
fn timeout_may_come_first_and_be_any_expression() {
    let sup = unlimited();
    struct Settings {
        timeout: Duration,
    }
    let settings = Settings { timeout: AGES };
    let timeout = sup.spawn(|| 1);
    let both = wait_completed!(timeout = settings.timeout / 2, &timeout, sup.spawn(|| 2));
    assert_eq!(both.unwrap(), (&1, 2));
    // `timeout` without `=` is a task like any other.
    assert_eq!(wait_completed!(timeout, timeout = settings.timeout).unwrap(), 1);
}

#[test]
fn zero_timeout_does_not_block() {
    let sup = unlimited();
    let (open, _said, task) = gated(&sup, 5);
    assert!(wait_completed!(&task, timeout = Duration::ZERO).is_err());
    assert!(wait_any!(&task, timeout = Duration::ZERO).is_err());
    open.send(()).unwrap();
    task.wait().unwrap();
    assert_eq!(wait_completed!(&task, timeout = Duration::ZERO).unwrap(), &5);
    assert_eq!(wait_any!(&task, timeout = Duration::ZERO).unwrap(), (0, &5));
}

#[test]
fn maximum_timeout_is_unlimited() {
    let sup = unlimited();
    assert_eq!(wait_completed!(sup.spawn(|| 1), timeout = Duration::MAX).unwrap(), 1);
    assert_eq!(wait_any!(vec![sup.spawn(|| 1)], timeout = Duration::MAX).unwrap(), (0, 1));
}

#[test]
fn timeout_applies_to_all_tasks_together() {
    let sup = unlimited();
    let gates: Vec<_> = (0..50).map(|n| gated(&sup, n)).collect();
    let tasks: Vec<&Task<u32>> = gates.iter().map(|(_, _, task)| task).collect();
    let began = Instant::now();
    let error = wait_completed!(&tasks, timeout = Duration::from_millis(600)).unwrap_err();
    // 50 times as long if each task had a separate timeout.
    assert!(began.elapsed() < Duration::from_secs(29));
    assert!(matches!(error, WaitError::Timeout { pending, .. } if pending.len() == 50));
    gates.iter().for_each(|(open, ..)| open.send(()).unwrap());
}
