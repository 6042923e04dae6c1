//! Do queue alarms fire for tasks that wait too long, and only for these?

use std::sync::mpsc;
use std::time::Duration;

use atasker::{Priority, TaskBuilder, TaskStatus, TaskType};
use atasker_tests::{FAR, occupy, pool};

const SHORT: Duration = Duration::from_millis(20);

#[test]
fn queued_task_fires_alarm_once() {
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
    // No other alarm has fired before that of the next task that waits too long.
    let second = TaskBuilder::new(|| ()).name("second").supervisor(&sup).start();
    assert_eq!(rx.recv_timeout(FAR).unwrap().0.id, second.id());
    gate.open();
    busy.join().unwrap();
    task.join().unwrap();
}

#[test]
fn running_delayed_and_ended_tasks_fire_no_alarm() {
    let sup = pool(1);
    let (tx, rx) = mpsc::channel();
    // Long enough for a thread to take the task, even on a busy machine.
    sup.on_queued_for(SHORT * 25, move |info| tx.send(info.name.clone()).unwrap());
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let delayed = TaskBuilder::new(|| ()).name("delayed").delay(FAR).supervisor(&sup).start();
    let future =
        TaskBuilder::future(std::future::pending::<()>()).name("future").supervisor(&sup).start();
    let canceled = TaskBuilder::new(|| ()).name("canceled").supervisor(&sup).start();
    assert!(canceled.cancel());
    let critical = TaskBuilder::new(|| ()).priority(Priority::Critical).supervisor(&sup).start();
    critical.join().unwrap();
    // This task is queued after all others, so its alarm fires last.
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
fn delay_is_not_counted_as_waiting() {
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
fn several_alarms_fire_independently() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let (tx, rx) = mpsc::channel();
    for (n, time) in [SHORT, SHORT * 2, SHORT * 3].into_iter().enumerate() {
        let tx = tx.clone();
        sup.on_queued_for(time, move |info| tx.send((info.id, n)).unwrap());
    }
    let task = sup.spawn(|| ());
    // Each alarm fires once. Alarms run on separate threads, so their order is not defined.
    let mut rung: Vec<_> = (0..3).map(|_| rx.recv_timeout(FAR).unwrap()).collect();
    rung.sort();
    assert_eq!(rung, [0, 1, 2].map(|n| (task.id(), n)));
    gate.open();
    busy.join().unwrap();
}

#[test]
fn alarm_may_panic_wait_or_launch() {
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
fn many_queued_tasks_all_fire() {
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
