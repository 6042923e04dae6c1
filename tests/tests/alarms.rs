//! Is one told of tasks that wait too long, and of no others?

use std::sync::mpsc;
use std::time::Duration;

use atasker::{Priority, TaskBuilder, TaskStatus, TaskType};
use atasker_tests::{FAR, occupy, pool};

const SHORT: Duration = Duration::from_millis(20);

#[test]
fn a_task_that_still_waits_rings_once_and_says_which_it_is() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let (tx, rx) = mpsc::channel();
    sup.on_queued_for(SHORT, move |info| {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        tx.send((info.clone(), name)).unwrap();
    });
    let task =
        TaskBuilder::new(|| ()).name("late").priority(Priority::Low).supervisor(&sup).start();
    let (info, thread) = rx.recv_timeout(FAR).unwrap();
    assert_eq!((info.id, info.name.as_str()), (task.id(), "late"));
    assert_eq!((info.priority, info.tt), (Priority::Low, TaskType::Thread));
    assert_eq!(info.status, TaskStatus::Queued);
    assert!(info.time_started.is_none());
    assert!(thread.starts_with("supervisor_t_pool_"), "{thread}");
    // The next one that waits too long: nothing else has rung in between.
    let second = TaskBuilder::new(|| ()).name("second").supervisor(&sup).start();
    assert_eq!(rx.recv_timeout(FAR).unwrap().0.id, second.id());
    gate.open();
    busy.join().unwrap();
    task.join().unwrap();
}

#[test]
fn neither_running_nor_delayed_nor_ended_ones_ring() {
    let sup = pool(1);
    let (tx, rx) = mpsc::channel();
    // Long enough for a thread to come, even on a busy machine.
    sup.on_queued_for(SHORT * 25, move |info| tx.send(info.name.clone()).unwrap());
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let delayed = TaskBuilder::new(|| ()).name("delayed").delay(FAR).supervisor(&sup).start();
    let future =
        TaskBuilder::future(std::future::pending::<()>()).name("future").supervisor(&sup).start();
    let canceled = TaskBuilder::new(|| ()).name("canceled").supervisor(&sup).start();
    assert!(canceled.cancel());
    let critical = TaskBuilder::new(|| ()).priority(Priority::Critical).supervisor(&sup).start();
    critical.join().unwrap();
    // Queued after all of these, so its turn is after theirs.
    let late = TaskBuilder::new(|| ()).name("late").supervisor(&sup).start();
    assert_eq!(rx.recv_timeout(FAR).unwrap(), "late");
    gate.open();
    busy.join().unwrap();
    late.join().unwrap();
    assert!(delayed.cancel());
    future.kill().unwrap();
    assert_eq!(rx.try_iter().count(), 0);
}

#[test]
fn a_delay_does_not_count() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let (tx, rx) = mpsc::channel();
    sup.on_queued_for(SHORT, move |info| tx.send(info.clone()).unwrap());
    let task = TaskBuilder::new(|| ()).delay(SHORT * 2).supervisor(&sup).start();
    let info = rx.recv_timeout(FAR).unwrap();
    assert_eq!(info.id, task.id());
    assert!(std::time::SystemTime::now() >= info.time_queued + SHORT * 3);
    gate.open();
    busy.join().unwrap();
}

#[test]
fn as_many_alarms_as_wanted() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let (tx, rx) = mpsc::channel();
    for (n, time) in [SHORT, SHORT * 2, SHORT * 3].into_iter().enumerate() {
        let tx = tx.clone();
        sup.on_queued_for(time, move |info| tx.send((info.id, n)).unwrap());
    }
    let task = sup.spawn(|| ());
    // Each once; they run on threads of their own, so the order is not theirs to keep.
    let mut rung: Vec<_> = (0..3).map(|_| rx.recv_timeout(FAR).unwrap()).collect();
    rung.sort();
    assert_eq!(rung, [0, 1, 2].map(|n| (task.id(), n)));
    gate.open();
    busy.join().unwrap();
}

#[test]
fn one_may_panic_wait_or_act() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let inner = sup.clone();
    sup.on_queued_for(SHORT, |_| panic!("in an alarm"));
    let (tx, rx) = mpsc::channel();
    sup.on_queued_for(SHORT * 2, move |info| {
        let urgent = TaskBuilder::new(|| 7)
            .priority(Priority::Critical)
            .supervisor(&inner)
            .start()
            .join()
            .unwrap();
        let canceled = inner.task(info.id).unwrap().cancel();
        tx.send((urgent, canceled)).unwrap();
    });
    let task = sup.spawn(|| ());
    assert_eq!(rx.recv_timeout(FAR).unwrap(), (7, true));
    assert!(task.join().unwrap_err().is_canceled());
    gate.open();
    busy.join().unwrap();
}

#[test]
fn all_of_many_ring() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let (tx, rx) = mpsc::channel();
    sup.on_queued_for(SHORT, move |info| tx.send(info.id).unwrap());
    let tasks: Vec<_> = (0..300).map(|_| sup.spawn(|| ())).collect();
    let mut rung: Vec<_> = tasks.iter().map(|_| rx.recv_timeout(FAR).unwrap()).collect();
    rung.sort();
    let mut ids: Vec<_> = tasks.iter().map(|task| task.id()).collect();
    ids.sort();
    assert_eq!(rung, ids);
    gate.open();
    busy.join().unwrap();
}
