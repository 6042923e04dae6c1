//! Do nodes do what they promise: slots and priorities, worker processes that crash, the end of a
//! node in each phase of its calls, and signals?

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use atasker::{
    Cluster, ClusterError, MpPoolConfig, Node, NodeConfig, PoolConfig, Priority, StopOptions,
    Supervisor, Task, TaskContext, TaskError, TaskStatus, TaskType, background_task,
};
use atasker_tests::processes::rerun;

/// Longer than anything takes that works.
const LIMIT: Duration = Duration::from_secs(60);

#[background_task(tt = "remote")]
fn process_id() -> u32 {
    std::process::id()
}

/// Runs until it is asked to stop, and tells when it has begun.
#[background_task(tt = "remote")]
fn until_stop(ctx: &TaskContext<(), u32>) -> String {
    let _ = ctx.send(ctx.attempt());
    while !ctx.wait_stop(LIMIT) {}
    "stopped".to_owned()
}

/// Ignores requests to stop, on its first `attempts` runs.
#[background_task(tt = "remote")]
fn ignores_stop(ctx: &TaskContext<(), u32>, attempts: u32) -> u32 {
    let _ = ctx.send(ctx.attempt());
    while ctx.attempt() <= attempts {
        std::thread::sleep(Duration::from_millis(1));
    }
    ctx.attempt()
}

#[background_task(tt = "remote")]
fn crashes(ctx: &TaskContext, attempts: u32) -> u32 {
    if ctx.attempt() <= attempts {
        std::process::abort();
    }
    ctx.attempt()
}

/// Takes messages and answers each, and crashes on its first runs once it has taken so many.
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

/// What tasks have recorded, by the key of their test.
static RECORDS: Mutex<Option<HashMap<String, Vec<String>>>> = Mutex::new(None);

fn record(key: &str, what: String) {
    let mut records = RECORDS.lock().unwrap();
    records.get_or_insert_default().entry(key.to_owned()).or_default().push(what);
}

fn recorded(key: &str) -> Vec<String> {
    let records = RECORDS.lock().unwrap();
    records.as_ref().and_then(|records| records.get(key).cloned()).unwrap_or_default()
}

/// Only on threads of this process.
#[background_task(tt = "remote")]
fn records(key: &str, what: String) {
    record(key, what);
}

/// The slot of a task that waits for a message.
#[background_task(tt = "remote")]
fn occupies(ctx: &TaskContext<(), ()>) {
    let _ = ctx.send(());
    let _ = ctx.recv();
}

fn join(cluster: &Cluster) -> Supervisor {
    let sup = Supervisor::builder().thread_pool(PoolConfig::new(2)).build();
    sup.join_cluster(cluster);
    sup
}

/// A supervisor that has joined a new cluster.
fn joined() -> (Supervisor, Cluster) {
    let cluster = Cluster::in_memory();
    (join(&cluster), cluster)
}

fn threads(slots: usize) -> NodeConfig {
    NodeConfig::threads(PoolConfig::new(slots))
}

fn processes(slots: usize) -> NodeConfig {
    NodeConfig::new(MpPoolConfig::new(slots))
}

/// Starts a node as a member by itself.
fn serve(cluster: &Cluster, name: &str, config: NodeConfig) -> Node {
    cluster.member(name).serve(config.name(name)).unwrap()
}

/// Waits until something holds that is not waited for otherwise.
#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LIMIT, "has not happened: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Returns the number of the attempt that has begun.
#[track_caller]
fn begun<R: Send + 'static>(task: &Task<R, (), u32>) -> u32 {
    task.recv_timeout(LIMIT).expect("the task begins")
}

fn drain(node: &Node, limit: Duration) -> (u64, u64, u64) {
    let report = node.drain(limit);
    (report.completed, report.canceled, report.abandoned)
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

#[test]
fn nothing_is_taken_in_advance_if_that_is_forbidden() {
    let (sup, cluster) = joined();
    let node = serve(&cluster, "one", threads(1).prefetch(0));
    let calls: Vec<_> =
        (0..300).map(|n| counts_no_more::builder(n).supervisor(&sup).start()).collect();
    let mut most = 0;
    for task in calls {
        most = most.max(node.info().running);
        task.join().unwrap();
    }
    assert!(most <= 1, "{most}");
}

#[background_task(tt = "remote")]
fn counts_no_more(n: u32) -> u32 {
    n
}

#[test]
fn calls_go_to_nodes_that_serve_their_queue() {
    let (sup, cluster) = joined();
    let _gpu = serve(&cluster, "gpu", threads(2).queues(["gpu"]));
    let _both = serve(&cluster, "both", threads(2).queues(["slow", "default"]));
    for (queue, name) in [("gpu", "gpu"), ("default", "both"), ("slow", "both")] {
        for _ in 0..5 {
            let task = process_id::builder().queue(queue).supervisor(&sup).start();
            task.wait().unwrap();
            assert_eq!(task.info().node.as_deref(), Some(name), "{queue}");
        }
    }
    let waits = process_id::builder().queue("nowhere").supervisor(&sup).start();
    cluster.flush(LIMIT).unwrap();
    assert_eq!(waits.status(), TaskStatus::Queued);
    assert!(waits.cancel());
}

#[test]
fn reserves_are_for_higher_priorities() {
    let (sup, cluster) = joined();
    let config = NodeConfig::threads(PoolConfig::new(1).reserve_normal(1).reserve_high(1));
    let node = serve(&cluster, "one", config);
    let occupy = |priority| {
        let task = occupies::builder().priority(priority).supervisor(&sup).start();
        (task.recv_timeout(LIMIT).expect("there is a slot"), task)
    };
    let low = occupy(Priority::Low);
    let waiting_low = occupies::builder().priority(Priority::Low).supervisor(&sup).start();
    let normal = occupy(Priority::Normal);
    let waiting_normal = occupies::builder().priority(Priority::Normal).supervisor(&sup).start();
    let high = occupy(Priority::High);
    // Without limit.
    let critical: Vec<_> = (0..3).map(|_| occupy(Priority::Critical)).collect();
    cluster.flush(LIMIT).unwrap();
    assert_eq!(node.info().running, 6);
    for waiting in [&waiting_low, &waiting_normal] {
        assert_eq!(waiting.status(), TaskStatus::Queued);
    }
    for (_, task) in critical.into_iter().chain([low, normal, high]) {
        task.send(()).unwrap();
        task.join().unwrap();
    }
    for task in [waiting_normal, waiting_low] {
        task.recv_timeout(LIMIT).expect("there is a slot again");
        task.send(()).unwrap();
        task.join().unwrap();
    }
}

#[test]
fn a_free_slot_is_for_the_highest_priority_in_order() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", threads(1));
    let occupying = occupies::builder().supervisor(&sup).start();
    occupying.recv_timeout(LIMIT).unwrap();
    let mut tasks = Vec::new();
    for priority in [Priority::Low, Priority::Normal, Priority::High] {
        for n in 0..3 {
            let what = format!("{} {n}", priority.as_str());
            let task = records::builder("in order", what).priority(priority);
            tasks.push(task.supervisor(&sup).start());
        }
    }
    cluster.flush(LIMIT).unwrap();
    occupying.send(()).unwrap();
    tasks.into_iter().for_each(|task| task.join().unwrap());
    let expected: Vec<_> = ["high", "normal", "low"]
        .iter()
        .flat_map(|priority| (0..3).map(move |n| format!("{priority} {n}")))
        .collect();
    assert_eq!(recorded("in order"), expected);
}

#[test]
fn pool_of_a_node_can_be_enlarged() {
    let (sup, cluster) = joined();
    let node = serve(&cluster, "one", threads(1));
    let first = until_stop::builder().supervisor(&sup).start();
    begun(&first);
    let second = until_stop::builder().supervisor(&sup).start();
    cluster.flush(LIMIT).unwrap();
    assert_eq!(second.status(), TaskStatus::Queued);
    node.supervisor().set_thread_pool(PoolConfig::new(2));
    begun(&second);
    assert_eq!(node.info().slots, 2);
    for task in [first, second] {
        task.stop();
        task.join().unwrap();
    }
}

#[test]
fn idle_node_ends_at_once() {
    let (_sup, cluster) = joined();
    for config in [threads(1), NodeConfig::new(MpPoolConfig::new(2).min_size(2))] {
        let node = serve(&cluster, "one", config);
        let other = node.clone();
        let blocked = std::thread::spawn(move || other.block());
        assert_eq!(drain(&node, LIMIT), (0, 0, 0));
        blocked.join().unwrap();
        assert!(node.info().draining && !node.supervisor().is_active());
        assert!(cluster.info().unwrap().nodes.is_empty());
        // Nothing is left to be done.
        assert_eq!(drain(&node, LIMIT), (0, 0, 0));
        node.block();
    }
}

#[test]
fn drain_waits_for_calls_that_run() {
    for config in [threads(1), processes(1)] {
        let (sup, cluster) = joined();
        let node = serve(&cluster, "one", config);
        let task = until_stop::builder().supervisor(&sup).start();
        begun(&task);
        // One that waits at the broker is left there.
        let waiting = until_stop::builder().supervisor(&sup).start();
        cluster.flush(LIMIT).unwrap();
        let draining = {
            let node = node.clone();
            std::thread::spawn(move || drain(&node, LIMIT))
        };
        until("the node shows it", || cluster.info().unwrap().nodes.iter().all(|n| n.draining));
        assert!(!task.is_completed() && !draining.is_finished());
        task.stop();
        assert_eq!(task.join().unwrap(), "stopped");
        assert_eq!(draining.join().unwrap(), (1, 0, 0));
        assert_eq!(waiting.status(), TaskStatus::Queued);
        let _next = serve(&cluster, "next", threads(1));
        assert_eq!(begun(&waiting), 1);
        waiting.stop();
        assert_eq!(waiting.join().unwrap(), "stopped");
    }
}

#[test]
fn drain_asks_calls_to_stop_in_the_end() {
    let (sup, cluster) = joined();
    for config in [threads(1), processes(1)] {
        let node = serve(&cluster, "one", config);
        let task = until_stop::builder().supervisor(&sup).start();
        begun(&task);
        assert_eq!(drain(&node, Duration::ZERO), (1, 0, 0));
        assert_eq!(*task.wait().unwrap(), "stopped");
        assert_eq!(task.info().losses, 0);
    }
}

#[test]
fn calls_that_ignore_that_run_elsewhere() {
    let (sup, cluster) = joined();
    for (first, second) in [("processes", "threads"), ("threads", "processes")] {
        let config = |name: &str| if name == "threads" { threads(1) } else { processes(1) };
        let node = serve(&cluster, first, config(first));
        let task = ignores_stop::builder(1).supervisor(&sup).start();
        assert_eq!(begun(&task), 1);
        let next = serve(&cluster, second, config(second));
        assert_eq!(drain(&node, Duration::ZERO), (0, 0, 1));
        assert_eq!(begun(&task), 2);
        assert_eq!(*task.wait().unwrap(), 2);
        assert_eq!((task.info().losses, task.info().node.as_deref()), (1, Some(second)));
        assert_eq!(drain(&next, LIMIT).2, 0);
    }
}

#[test]
fn a_call_that_may_run_once_is_lost_with_its_node() {
    let (sup, cluster) = joined();
    let node = serve(&cluster, "one", processes(1));
    let task = ignores_stop::builder(9).redeliver(0).supervisor(&sup).start();
    begun(&task);
    assert_eq!(drain(&node, Duration::ZERO), (0, 0, 1));
    let error = task.join().unwrap_err();
    assert_eq!(error, TaskError::NodeLost { node: "one".into(), losses: 1 });
}

static RUNS: AtomicU32 = AtomicU32::new(0);

#[background_task(tt = "remote")]
fn counts(n: u32) -> u32 {
    RUNS.fetch_add(1, Ordering::SeqCst);
    n
}

#[test]
fn drain_amid_short_calls_repeats_and_loses_none() {
    const CALLS: u32 = 3_000;
    let (sup, cluster) = joined();
    let first = serve(&cluster, "first", threads(2));
    let tasks: Vec<_> = (0..CALLS).map(|n| counts::builder(n).supervisor(&sup).start()).collect();
    until("some have run", || RUNS.load(Ordering::SeqCst) > 100);
    let second = serve(&cluster, "second", threads(2));
    let report = first.drain(LIMIT);
    assert_eq!(report.abandoned, 0);
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(*task.wait().unwrap(), n as u32);
        assert_eq!((task.info().attempt, task.info().losses), (1, 0));
    }
    assert_eq!(RUNS.load(Ordering::SeqCst), CALLS);
    assert_eq!(drain(&second, LIMIT).2, 0);
}

#[test]
fn stop_waits_for_as_long_as_it_says() {
    let (sup, cluster) = joined();
    let node = serve(&cluster, "one", threads(2));
    let task = until_stop::builder().supervisor(&sup).start();
    begun(&task);
    let options = StopOptions::new().wait(LIMIT).cancel_tasks(true);
    assert_eq!(node.stop(options).completed, 1);
    assert_eq!(task.join().unwrap(), "stopped");
    let node = serve(&cluster, "two", processes(1));
    let task = ignores_stop::builder(1).supervisor(&sup).start();
    begun(&task);
    let wait = Duration::from_millis(10);
    assert_eq!(node.stop(StopOptions::new().wait(wait).cancel_tasks(true)).abandoned, 1);
    let _next = serve(&cluster, "three", processes(1));
    assert_eq!(task.join().unwrap(), 2);
}

#[test]
fn dropped_handle_changes_nothing() {
    let (sup, cluster) = joined();
    drop(serve(&cluster, "one", processes(1)));
    process_id::builder().supervisor(&sup).start().join().unwrap();
    assert_eq!(cluster.info().unwrap().nodes.len(), 1);
}

#[test]
fn closed_cluster_ends_its_nodes() {
    let (_sup, cluster) = joined();
    let member = cluster.member("member");
    let node = member.serve(threads(1)).unwrap();
    member.close();
    node.block();
    assert!(node.info().draining);
    assert_eq!(drain(&node, LIMIT), (0, 0, 0));
    assert_eq!(member.serve(threads(1)).unwrap_err(), ClusterError::Closed);
}

#[test]
fn wrong_settings_are_errors() {
    let cluster = Cluster::in_memory();
    let error = |config: NodeConfig| cluster.serve(config).unwrap_err().to_string();
    assert!(error(threads(1).queues(["a b"])).contains("\"a b\""));
    assert!(error(threads(1).queues([""; 0])).contains("without queues"));
    assert!(error(threads(1).name("")).contains("name"));
}

/// A program that serves until a signal comes.
mod signals {
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, ExitStatus, Stdio};
    use std::sync::mpsc;

    use std::os::unix::process::ExitStatusExt;

    use super::*;

    /// Prints a line as soon as this process handles SIGTERM and SIGINT.
    fn tell_when_ready() {
        std::thread::spawn(|| {
            until("the signals are handled", || {
                let status = std::fs::read_to_string("/proc/self/status").unwrap();
                let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
                let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
                [15, 2].iter().all(|signal| caught & 1 << (signal - 1) != 0)
            });
            println!("ready");
        });
    }

    /// Prints the report of a node that ends by a signal.
    #[test]
    #[ignore = "run by other tests, in another process"]
    fn program_with_a_call_that_stops() {
        let (sup, cluster) = joined();
        let node = serve(&cluster, "one", processes(1));
        let task = until_stop::builder().supervisor(&sup).start();
        begun(&task);
        tell_when_ready();
        let report = node.run_until_signal(Duration::ZERO);
        println!("completed {}, {}", report.completed, task.join().unwrap());
    }

    #[test]
    #[ignore = "run by other tests, in another process"]
    fn program_with_a_call_that_does_not_stop() {
        let (sup, cluster) = joined();
        let node = serve(&cluster, "one", processes(1));
        let task = ignores_stop::builder(9).supervisor(&sup).start();
        begun(&task);
        let watched = node.clone();
        std::thread::spawn(move || {
            until("it drains", || watched.info().draining);
            println!("draining");
        });
        tell_when_ready();
        node.run_until_signal(Duration::from_secs(3600));
        println!("not reached");
    }

    #[test]
    #[ignore = "run by other tests, in another process"]
    fn program_that_ends_its_node_itself() {
        let (_sup, cluster) = joined();
        let node = serve(&cluster, "one", threads(1));
        let ending = node.clone();
        let thread = std::thread::spawn(move || ending.drain(LIMIT));
        let report = node.run_until_signal(LIMIT);
        assert_eq!(report.completed, 0);
        thread.join().unwrap();
        println!("ready");
        std::thread::sleep(LIMIT);
    }

    struct Program {
        child: Child,
        lines: mpsc::Receiver<String>,
    }

    impl Program {
        fn start(test: &str) -> Program {
            let mut child = rerun(&format!("signals::{test}"))
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let (sender, lines) = mpsc::channel();
            let stdout = BufReader::new(child.stdout.take().unwrap());
            std::thread::spawn(move || {
                for line in stdout.lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
            let program = Program { child, lines };
            program.wait_for("ready");
            program
        }

        /// Waits for a line that contains this.
        #[track_caller]
        fn wait_for(&self, text: &str) -> String {
            loop {
                match self.lines.recv_timeout(LIMIT) {
                    Ok(line) if line.contains(text) => return line,
                    Ok(_) => {}
                    Err(error) => panic!("no {text:?}: {error}"),
                }
            }
        }

        fn signal(&self, signal: &str) {
            let pid = self.child.id().to_string();
            assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        }

        fn status(&mut self) -> ExitStatus {
            self.child.wait().unwrap()
        }
    }

    #[test]
    fn signal_drains_the_node() {
        for signal in ["-TERM", "-INT"] {
            let mut program = Program::start("program_with_a_call_that_stops");
            program.signal(signal);
            assert!(program.wait_for("completed").contains("completed 1, stopped"));
            assert!(program.status().success());
        }
    }

    #[test]
    fn second_signal_ends_the_program_at_once() {
        for (first, second, number) in [("-TERM", "-INT", 2), ("-INT", "-INT", 2)] {
            let mut program = Program::start("program_with_a_call_that_does_not_stop");
            program.signal(first);
            program.wait_for("draining");
            program.signal(second);
            assert_eq!(program.status().signal(), Some(number));
        }
    }

    #[test]
    fn handlers_are_restored() {
        let mut program = Program::start("program_that_ends_its_node_itself");
        program.signal("-TERM");
        assert_eq!(program.status().signal(), Some(15));
    }
}
