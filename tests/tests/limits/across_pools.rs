//! Do tasks of several supervisors, and of all kinds, share a limit?

use std::sync::{Arc, Mutex};

use atasker::{
    Limit, MpPoolConfig, Priority, TaskBuilder, TaskContext, TaskStatus, background_task,
};
use atasker_tests::{Gate, mp, pool};

#[background_task(tt = "mp")]
fn in_process(ctx: &TaskContext<(), u32>) -> u32 {
    ctx.send(std::process::id()).unwrap();
    while !ctx.wait_stop(atasker_tests::FAR) {}
    1
}

#[test]
fn thread_async_and_process_tasks_share_a_limit() {
    let limit = Arc::new(Limit::concurrency(1));
    let sup = mp::supervisor(MpPoolConfig::new(2));
    let running = in_process::builder().limit(&limit).supervisor(&sup).start();
    running.recv().unwrap();
    let thread = TaskBuilder::new(|| 2).limit(&limit).supervisor(&sup).start();
    let on_loop = TaskBuilder::future(async { 3 }).limit(&limit).supervisor(&sup).start();
    let process = in_process::builder().limit(&limit).supervisor(&sup).start();
    for status in [thread.status(), on_loop.status(), process.status()] {
        assert_eq!(status, TaskStatus::Queued);
    }
    assert_eq!(sup.info().mp_pool.unwrap().waiting.normal, 1);
    running.stop();
    assert_eq!((running.join(), thread.join(), on_loop.join()), (Ok(1), Ok(2), Ok(3)));
    process.recv().unwrap();
    process.stop();
    assert_eq!(process.join(), Ok(1));
}

#[test]
fn tasks_of_several_supervisors_begin_by_priority_and_launch() {
    let limit = Arc::new(Limit::concurrency(1));
    let sups = [pool(2), pool(2), pool(2)];
    let (begun, gate) = (Gate::new(), Gate::new());
    let holder = {
        let (begun, gate) = (begun.clone(), gate.clone());
        TaskBuilder::new(move || {
            begun.open();
            gate.wait();
        })
        .limit(&limit)
        .supervisor(&sups[0])
        .start()
    };
    begun.wait();
    let order = Arc::new(Mutex::new(Vec::new()));
    let launches = [
        (0, Priority::Low),
        (1, Priority::Normal),
        (2, Priority::High),
        (1, Priority::High),
        (0, Priority::Normal),
        (2, Priority::Critical),
    ];
    let tasks: Vec<_> = launches
        .iter()
        .enumerate()
        .map(|(n, (sup, priority))| {
            let order = Arc::clone(&order);
            let record = move || order.lock().unwrap().push(n);
            let builder = match n % 2 {
                0 => TaskBuilder::new(record),
                _ => TaskBuilder::future(async move { record() }),
            };
            builder.priority(*priority).limit(&limit).supervisor(&sups[*sup]).start()
        })
        .collect();
    gate.open();
    for task in tasks {
        task.join().unwrap();
    }
    holder.join().unwrap();
    assert_eq!(*order.lock().unwrap(), [5, 2, 3, 1, 4, 0]);
}
