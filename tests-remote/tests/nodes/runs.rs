//! Where calls run, and what their launchers learn of a run.

use std::time::Duration;

use atasker::{StopOptions, TaskContext, TaskError, TaskStatus, TaskType, background_task};

use crate::*;

/// Takes messages and answers each, and crashes on its first runs once it has taken `crash_after` of
/// them.
#[background_task(tt = "remote", retries = 3)]
fn answers(ctx: &TaskContext<u32, (u32, u32)>, crash_after: u32, attempts: u32) -> u32 {
    let mut taken = 0;
    while let Ok(n) = ctx.recv() {
        ctx.send((ctx.attempt(), n)).unwrap();
        taken += 1;
        if taken == crash_after && ctx.attempt() <= attempts {
            std::process::abort();
        }
    }
    taken
}

/// Reports progress, and goes on when it gets a message.
#[background_task(tt = "remote")]
fn progresses(ctx: &TaskContext<(), ()>) {
    ctx.progress(3, 10);
    ctx.message("three of ten");
    let _ = ctx.recv();
}

#[test]
fn calls_run_in_worker_processes_of_the_node() {
    let (sup, cluster) = joined();
    let node = serve(&cluster, "one", processes(2));
    let pid = process_id::builder().supervisor(&sup).start().join().unwrap();
    assert_ne!(pid, std::process::id());
    let workers = node.supervisor().info().mp_pool.unwrap().workers;
    assert!(workers.iter().any(|worker| worker.pid == pid));
    let info = node.info();
    assert_eq!((&*info.name, info.slots, info.pid), ("one", 2, std::process::id()));
    assert!(info.functions.iter().any(|name| name.ends_with("::process_id")));
    assert_eq!(cluster.info().unwrap().nodes[0].id, node.id());
}

#[test]
fn calls_run_on_threads_of_the_node() {
    let (sup, cluster) = joined();
    let node = serve(&cluster, "one", threads(2));
    let task = process_id::builder().supervisor(&sup).start();
    assert_eq!(task.join().unwrap(), std::process::id());
    let task = until_stop::builder().name("mine").supervisor(&sup).start();
    begun(&task);
    // The same id at both supervisors of this process.
    let run = node.supervisor().task(task.id()).unwrap().info();
    assert_eq!((run.id, &*run.name, run.tt), (task.id(), "mine", TaskType::Thread));
    assert_eq!(sup.task(task.id()).unwrap().info().tt, TaskType::Remote);
    assert_eq!(node.supervisor().tasks().len(), 1);
    assert_eq!(node.info().running, 1);
    task.stop();
    assert_eq!(task.join().unwrap(), "stopped");
}

#[test]
fn a_crash_costs_one_call() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", processes(1));
    let crash = crashes::builder(9).supervisor(&sup).start();
    let after: Vec<_> = (0..5).map(|_| process_id::builder().supervisor(&sup).start()).collect();
    let error = crash.wait().unwrap_err();
    let TaskError::WorkerDied(death) = &error else { panic!("{error}") };
    assert!(death.cause().to_string().contains("SIGABRT"), "{death}");
    assert!(after.into_iter().all(|task| task.join().is_ok()));
    // A worker process that dies is no lost node.
    assert_eq!((crash.info().losses, crash.info().attempt), (0, 1));
    let letters = cluster.dead_letters().unwrap();
    assert_eq!(letters.iter().map(|letter| letter.id).collect::<Vec<_>>(), [crash.id()]);
}

#[test]
fn a_crash_is_repeated_like_any_run_that_ends_badly() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", processes(1));
    let task = crashes::builder(2).retries(2).supervisor(&sup).start();
    assert_eq!(*task.wait().unwrap(), 3);
    assert_eq!((task.info().losses, task.info().attempt), (0, 3));
    assert!(cluster.dead_letters().unwrap().is_empty());
}

#[test]
fn time_limit_is_kept_by_the_node() {
    let (sup, cluster) = joined();
    let _processes = serve(&cluster, "processes", processes(1).queues(["processes"]));
    let _threads = serve(&cluster, "threads", threads(1).queues(["threads"]));
    let limit = Duration::from_millis(200);
    for queue in ["processes", "threads"] {
        let task = until_stop::builder().queue(queue).timeout(limit).supervisor(&sup).start();
        assert_eq!(task.join().unwrap_err(), TaskError::TimedOut { limit });
        // The slot is free again.
        process_id::builder().queue(queue).supervisor(&sup).start().join().unwrap();
    }
}

#[test]
fn messages_reach_the_run_after_a_crash_exactly_once() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", processes(1));
    let task = answers::builder(2, 2).supervisor(&sup).start();
    (0..7).for_each(|n| task.send(n).unwrap());
    let answers: Vec<_> = (0..7).map(|_| task.recv_timeout(LIMIT).unwrap()).collect();
    let expected = [(1, 0), (1, 1), (2, 2), (2, 3), (3, 4), (3, 5), (3, 6)];
    assert_eq!(answers, expected);
    task.stop();
    assert_eq!(task.join().unwrap(), 3);
}

#[test]
fn more_messages_than_a_channel_holds_pass_in_both_directions() {
    const MESSAGES: u32 = 5_000;
    for config in [threads(1), processes(1)] {
        let (sup, cluster) = joined();
        let _node = serve(&cluster, "one", config);
        let task = answers::builder(0, 0).supervisor(&sup).start();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..MESSAGES).for_each(|n| task.send(n).unwrap()));
            for n in 0..MESSAGES {
                assert_eq!(task.recv_timeout(LIMIT), Ok((1, n)));
            }
        });
        task.stop();
        assert_eq!(task.join().unwrap(), MESSAGES);
    }
}

#[test]
fn progress_of_a_run_is_seen_by_its_launcher() {
    for config in [threads(1), processes(1)] {
        let (sup, cluster) = joined();
        let node = serve(&cluster, "one", config);
        let task = progresses::builder().supervisor(&sup).start();
        until("the progress arrives", || {
            task.progress().is_some_and(|progress| {
                let text = progress.message.as_deref() == Some("three of ten");
                (progress.done, progress.total, text) == (3, 10, true)
            })
        });
        until("the process is known", || task.info().worker_pid.is_some());
        let pid = task.info().worker_pid.unwrap();
        let workers = node.supervisor().info().mp_pool.unwrap().workers;
        assert_eq!(workers.iter().any(|w| w.pid == pid), pid != std::process::id());
        task.send(()).unwrap();
        task.join().unwrap();
    }
}

#[test]
fn killed_call_ends_its_worker_process() {
    let (sup, cluster) = joined();
    let node = serve(&cluster, "one", processes(1));
    let task = ignores_stop::builder(9).retries(5).supervisor(&sup).start();
    begun(&task);
    let before = node.supervisor().info().mp_pool.unwrap().restarts;
    task.kill().unwrap();
    assert!(task.join().unwrap_err().is_canceled());
    process_id::builder().supervisor(&sup).start().join().unwrap();
    assert_eq!(node.supervisor().info().mp_pool.unwrap().restarts, before + 1);
}

#[test]
fn calls_of_a_stopped_supervisor_run_elsewhere() {
    for config in [threads(1), processes(1)] {
        let (sup, cluster) = joined();
        let node = serve(&cluster, "one", config);
        let task = ignores_stop::builder(1).supervisor(&sup).start();
        assert_eq!(begun(&task), 1);
        node.supervisor().stop(StopOptions::new().wait(Duration::ZERO));
        let _next = serve(&cluster, "two", processes(1));
        assert_eq!(begun(&task), 2);
        assert_eq!(*task.wait().unwrap(), 2);
        assert_eq!((task.info().losses, task.info().node.as_deref()), (1, Some("two")));
    }
}

#[test]
fn node_takes_calls_again_once_its_supervisor_is_started() {
    let (sup, cluster) = joined();
    let node = serve(&cluster, "one", threads(1));
    node.supervisor().stop(StopOptions::new());
    let task = process_id::builder().supervisor(&sup).start();
    cluster.flush(LIMIT).unwrap();
    assert_eq!(task.status(), TaskStatus::Queued);
    assert!(node.supervisor().start());
    task.join().unwrap();
}
