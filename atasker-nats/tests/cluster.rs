//! Whole clusters on a real server: node processes and the server are killed while calls run.

mod support;

use std::collections::HashSet;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use atasker::{
    Cluster, ClusterError, NodeConfig, Overflow, PoolConfig, Supervisor, TaskContext, TaskError,
    WaitError, background_task,
};
use support::{LIMIT, Server};

/// The url at which a copy of this program serves as a node, and how many seconds calls are kept there.
const NODE: &str = "ATASKER_TEST_NODE";
const KEEP: &str = "ATASKER_TEST_KEEP";

/// Much less than `LIMIT`.
const SHORT: Duration = Duration::from_secs(3);

#[background_task(tt = "remote")]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

#[background_task(tt = "remote")]
fn fails(text: &str) -> Result<u32, String> {
    Err(text.to_owned())
}

#[background_task(tt = "remote")]
fn reversed(bytes: Vec<u8>) -> Vec<u8> {
    bytes.into_iter().rev().collect()
}

#[background_task(tt = "remote")]
fn naps(milliseconds: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(milliseconds));
    milliseconds
}

/// Says which process it runs in, and returns the number of its attempt once it is told to.
#[background_task(tt = "remote")]
fn waits(ctx: &TaskContext<u32, u32>) -> u32 {
    let _ = ctx.send(std::process::id());
    let more = ctx.recv().unwrap_or(0);
    ctx.attempt() * 100 + more
}

fn supervisor(cluster: &Cluster) -> Supervisor {
    let sup = Supervisor::builder().thread_pool(PoolConfig::new(2)).build();
    sup.join_cluster(cluster);
    sup
}

fn threads(slots: usize) -> NodeConfig {
    NodeConfig::threads(PoolConfig::new(slots))
}

struct NodeProcess(Child);

impl NodeProcess {
    fn start(server: &Server) -> NodeProcess {
        NodeProcess::with(server, &[])
    }

    fn with(server: &Server, settings: &[(&str, &str)]) -> NodeProcess {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "node_process", "--nocapture"]).env(NODE, server.url());
        command.envs(settings.iter().copied());
        NodeProcess(command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap())
    }

    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Not a test, but the body of a node process. It ends with its parent.
#[test]
fn node_process() {
    let Ok(url) = std::env::var(NODE) else { return };
    let mut nats = atasker::Nats::new(url).lost_after(Duration::from_secs(2));
    if let Ok(seconds) = std::env::var(KEEP) {
        nats = nats.keep(Duration::from_secs(seconds.parse().unwrap()));
    }
    // The server may be away at this moment.
    let end = Instant::now() + LIMIT;
    let _serving = loop {
        let served = nats.clone().connect().and_then(|cluster| {
            let node = cluster.serve(threads(4))?;
            Ok((cluster, node))
        });
        match served {
            Ok(serving) => break serving,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
    };
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
}

#[test]
fn calls_come_back_from_another_process() {
    let server = Server::start();
    let _node = NodeProcess::start(&server);
    let cluster = server.nats().connect().unwrap();
    let sup = supervisor(&cluster);
    let start = |i| add::builder(i, i).supervisor(&sup).start();
    let tasks: Vec<_> = (0..500).map(start).collect();
    let id = tasks[7].id();
    for (i, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.join().unwrap(), 2 * i as u64);
    }
    let failed = fails::builder("why").supervisor(&sup).start();
    assert_eq!(failed.join().unwrap(), Err("why".to_owned()));
    // In blocks, in both directions.
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    let back = reversed::builder(bytes.clone()).supervisor(&sup).start().join().unwrap();
    assert!(back.into_iter().rev().eq(bytes));
    let info = cluster.info().unwrap();
    assert_eq!(info.nodes.len(), 1);
    assert_ne!(info.nodes[0].pid, std::process::id());
    assert!(info.broker.contains("nats-server"), "{}", info.broker);
    assert_eq!(cluster.dead_letters().unwrap().len(), 1);
    // From another connection, long after.
    let other = server.nats().connect().unwrap();
    assert_eq!(add::attach(&other, id).unwrap().join().unwrap(), 14);
}

#[test]
fn a_killed_node_is_replaced() {
    let server = Server::start();
    let mut nodes = [NodeProcess::start(&server), NodeProcess::start(&server)];
    let cluster = server.nats().connect().unwrap();
    let sup = supervisor(&cluster);
    let task = waits::builder().supervisor(&sup).start();
    let pid = task.recv_timeout(LIMIT).expect("the call begins");
    let killed = nodes.iter_mut().find(|n| n.0.id() == pid).expect("it runs on a node");
    killed.kill();
    let began = Instant::now();
    let other = task.recv_timeout(LIMIT).expect("the call begins again");
    eprintln!("begun elsewhere after {:?}", began.elapsed());
    assert_ne!(other, pid);
    assert_eq!(task.info().losses, 1);
    task.send(7).unwrap();
    assert_eq!(task.join().unwrap(), 207);
}

#[test]
fn runs_outlive_the_server() {
    let mut server = Server::start();
    let _node = NodeProcess::start(&server);
    let cluster = server.nats().connect().unwrap();
    let sup = supervisor(&cluster);
    let tasks: Vec<_> = (0..4).map(|_| waits::builder().supervisor(&sup).start()).collect();
    for task in &tasks {
        task.recv_timeout(LIMIT).expect("the call begins");
    }
    for round in 0..2 {
        if round == 0 {
            server.kill()
        } else {
            server.stop()
        }
        // Longer than `lost_after`: no run is lost, for it is the server that is away.
        std::thread::sleep(Duration::from_secs(3));
        server.run();
    }
    for task in &tasks {
        task.send(1).unwrap();
    }
    for task in tasks {
        let seen = task.to_ref();
        assert_eq!(task.join().unwrap(), 101);
        assert_eq!(seen.info().losses, 0);
    }
}

#[test]
fn launches_wait_for_the_server() {
    let mut server = Server::start();
    let _node = NodeProcess::start(&server);
    let cluster = server.nats().connect().unwrap();
    let sup = supervisor(&cluster);
    assert_eq!(add::builder(1, 1).supervisor(&sup).start().join().unwrap(), 2);
    server.kill();
    let start = |i| add::builder(i, 1).supervisor(&sup).start();
    let tasks: Vec<_> = (0..100).map(start).collect();
    assert!(matches!(
        cluster.flush(Duration::from_millis(200)),
        Err(ClusterError::Unreachable { .. })
    ));
    server.run();
    cluster.flush(LIMIT).unwrap();
    for (i, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.join().unwrap(), i as u64 + 1);
    }
}

/// What the server keeps for a shorter time than a run lasts is renewed.
#[test]
fn a_run_that_outlasts_keep_is_replaced() {
    let server = Server::start();
    let keep = SHORT.as_secs().to_string();
    let node = || NodeProcess::with(&server, &[(KEEP, &keep)]);
    let mut nodes = [node(), node()];
    let cluster = server.nats().keep(SHORT).connect().unwrap();
    let sup = supervisor(&cluster);
    let task = waits::builder().supervisor(&sup).start();
    let pid = task.recv_timeout(LIMIT).expect("the call begins");
    std::thread::sleep(3 * SHORT);
    let killed = nodes.iter_mut().find(|n| n.0.id() == pid).expect("it runs on a node");
    killed.kill();
    let other = task.recv_timeout(LIMIT).expect("the call begins again");
    assert_ne!(other, pid);
    task.send(7).unwrap();
    assert_eq!(task.join().unwrap(), 207);
}

#[test]
fn runs_outlive_a_server_that_is_away_for_longer_than_keep() {
    let mut server = Server::start();
    let nats = server.nats().keep(SHORT);
    let (cluster, other) = (nats.clone().connect().unwrap(), nats.connect().unwrap());
    let _node = other.serve(threads(4)).unwrap();
    let sup = supervisor(&cluster);
    let long = waits::builder().supervisor(&sup).start();
    let short = naps::builder(1_000).supervisor(&sup).start();
    long.recv_timeout(LIMIT).expect("the call begins");
    let end = Instant::now() + LIMIT;
    while short.status() == atasker::TaskStatus::Queued {
        assert!(Instant::now() < end, "the call does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    server.stop();
    std::thread::sleep(2 * SHORT);
    server.run();
    assert_eq!(short.join().unwrap(), 1_000);
    long.send(1).unwrap();
    let seen = long.to_ref();
    assert_eq!(long.join().unwrap(), 101);
    assert_eq!(seen.info().losses, 0);
}

#[test]
fn large_arguments_of_dead_letters_outlive_keep() {
    let server = Server::start();
    let nats = server.nats().keep(SHORT);
    let cluster = nats.connect().unwrap();
    let _node = cluster.serve(threads(1)).unwrap();
    let sup = supervisor(&cluster);
    let text = "why ".repeat(250_000);
    let task = fails::builder(&text).supervisor(&sup).start();
    let id = task.id();
    assert!(task.join().unwrap() == Err(text.clone()));
    let end = Instant::now() + LIMIT;
    while cluster.find(id).unwrap().is_some() {
        assert!(Instant::now() < end, "the call is not forgotten");
        std::thread::sleep(Duration::from_millis(100));
    }
    let again = cluster.retry_dead(id).unwrap();
    assert!(fails::attach(&cluster, again).unwrap().join().unwrap() == Err(text));
}

#[test]
fn calls_that_run_do_not_count_against_the_limit_of_the_queue() {
    let server = Server::start();
    let nats = server.nats().queue_limit(2, Overflow::Reject);
    let cluster = nats.connect().unwrap();
    let _node = cluster.serve(threads(3)).unwrap();
    let sup = supervisor(&cluster);
    let start = || waits::builder().supervisor(&sup).start();
    // More than the limit, one after the other.
    let begun = |_| {
        let task = start();
        task.recv_timeout(LIMIT).expect("the call begins");
        task
    };
    let running: Vec<_> = (0..3).map(begun).collect();
    let mut waiting = Vec::new();
    loop {
        let task = start();
        cluster.flush(LIMIT).unwrap();
        // Whether it was refused is known when it is stored, or a moment later.
        let refused = task.wait_timeout(Duration::from_millis(200));
        match refused.err() {
            Some(WaitError::Timeout { .. }) => waiting.push(task),
            _ => {
                assert!(matches!(task.join(), Err(TaskError::QueueFull)));
                break;
            }
        }
    }
    // A node may be about to hand calls back that it has no room for.
    assert!((2..=5).contains(&waiting.len()), "{}", waiting.len());
    for task in running.into_iter().chain(waiting) {
        task.send(1).unwrap();
        assert_eq!(task.join().unwrap(), 101);
    }
}

/// Every call has its outcome, and nothing is left, whatever happens to the server and to nodes.
#[test]
fn random_kills_lose_no_call() {
    let mut server = Server::start();
    let mut nodes: Vec<_> = (0..2).map(|_| NodeProcess::start(&server)).collect();
    let cluster = server.nats().connect().unwrap();
    let sup = supervisor(&cluster);
    let mut tasks = Vec::new();
    for round in 0..6 {
        let start = |i| (i, add::builder(i, round).redeliver(10).supervisor(&sup).start());
        tasks.extend((0..500).map(start));
        std::thread::sleep(Duration::from_millis(150));
        if round % 2 == 0 {
            server.kill();
            server.run();
        } else {
            nodes[round as usize % 2].kill();
            nodes[round as usize % 2] = NodeProcess::start(&server);
        }
    }
    let mut ids = HashSet::new();
    let count = tasks.len();
    for (index, (i, task)) in tasks.into_iter().enumerate() {
        let round = index as u64 / 500;
        ids.insert(task.id());
        if task.wait_timeout(LIMIT).is_err() {
            let (task, info) = (task.info(), cluster.info());
            server.dump();
            panic!("call {index} has not ended: {task:?}, {info:?}");
        }
        assert_eq!(task.join().unwrap(), i + round);
    }
    assert_eq!(ids.len(), count);
    let end = Instant::now() + LIMIT;
    loop {
        let info = cluster.info().inspect_err(|_| server.dump()).unwrap();
        if info.queues.iter().all(|q| q.waiting.total() == 0 && q.given_out == 0) {
            break;
        }
        assert!(Instant::now() < end, "{:?}", info.queues);
        std::thread::sleep(Duration::from_millis(50));
    }
}
