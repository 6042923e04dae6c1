//! What do metrics show of remote tasks and of the cluster that a supervisor has joined?

use std::time::Duration;

use atasker::{
    Cluster, Node, NodeConfig, PoolConfig, Priority, StopOptions, Supervisor, Task, TaskBuilder,
    TaskContext, background_task,
};
use atasker_tests::FAR;
use atasker_tests_seen::metrics::recorder;

#[background_task(tt = "remote", name = "waits")]
fn waits(ctx: &TaskContext) -> bool {
    ctx.wait_stop(FAR)
}

#[background_task(tt = "remote", name = "fails", priority = "high", queue = "other")]
fn fails() -> Result<(), String> {
    Err("it can't".to_owned())
}

fn joined(id: &str, cluster: &Cluster) -> Supervisor {
    recorder();
    let sup = Supervisor::builder().id(id).thread_pool(PoolConfig::new(1)).build();
    sup.join_cluster(cluster);
    sup
}

fn serve(cluster: &Cluster, name: &str, queue: &str) -> Node {
    let config = NodeConfig::threads(PoolConfig::new(1)).name(name).queues([queue]);
    cluster.member(name).serve(config).unwrap()
}

fn launch(sup: &Supervisor, priority: Priority) -> Task<bool> {
    waits::builder().priority(priority).supervisor(sup).start()
}

#[test]
fn joined_cluster_and_its_tasks_are_shown() {
    let cluster = Cluster::in_memory();
    let sup = joined("cluster", &cluster);
    let _export = sup.export_metrics();
    let seen = recorder();
    let waiting = |queue: &str, priority: &str| {
        format!("atasker_cluster_waiting{{supervisor=cluster,queue={queue},priority={priority}}}")
    };
    let running = "atasker_tasks_running{supervisor=cluster,tt=remote}";
    // Before anything has happened.
    seen.wait("atasker_cluster_nodes{supervisor=cluster}", 0.0);
    seen.wait("atasker_cluster_dead_letters{supervisor=cluster}", 0.0);
    seen.wait("atasker_cluster_lost_total{supervisor=cluster}", 0.0);
    seen.wait(running, 0.0);

    let tasks: Vec<_> = (0..2).map(|_| launch(&sup, Priority::Low)).collect();
    let urgent = launch(&sup, Priority::Critical);
    seen.wait(&waiting("default", "low"), 2.0);
    seen.wait(&waiting("default", "critical"), 1.0);
    seen.wait(&waiting("default", "normal"), 0.0);

    let node = serve(&cluster, "a node", "default");
    // The supervisor of a node has the metrics of its pool.
    let _node_export = node.supervisor().export_metrics();
    seen.wait("atasker_cluster_nodes{supervisor=cluster}", 1.0);
    seen.wait("atasker_tasks_running{supervisor=a node,tt=thread}", 2.0);
    seen.wait("atasker_slots{supervisor=a node,tt=thread}", 1.0);
    // One slot, and critical tasks need none.
    seen.wait(running, 2.0);
    seen.wait(&waiting("default", "low"), 1.0);
    for task in tasks.iter().chain([&urgent]) {
        task.stop();
    }
    let outcomes: Vec<_> = tasks.into_iter().chain([urgent]).map(Task::join).collect();
    assert!(outcomes.iter().any(|outcome| outcome == &Ok(true)));
    seen.wait(running, 0.0);
    seen.wait(&waiting("default", "low"), 0.0);
    let of = "supervisor=cluster,tt=remote,name=waits";
    seen.wait(&format!("atasker_tasks_launched_total{{{of},priority=low}}"), 2.0);
    seen.wait(&format!("atasker_tasks_launched_total{{{of},priority=critical}}"), 1.0);
    let values =
        seen.wait_values(&format!("atasker_task_run_seconds{{{of},priority=critical}}"), 1);
    assert!((0.0..60.0).contains(&values[0]));
    seen.wait_values(&format!("atasker_task_queue_seconds{{{of},priority=critical}}"), 1);
    let of_node = "supervisor=a node,tt=thread,name=waits";
    // The run may have begun before the export, and so is counted at its end.
    seen.wait_values(&format!("atasker_task_run_seconds{{{of_node},priority=critical}}"), 1);
    assert!(!seen.series("a node").keys().any(|name| name.contains("tt=remote")));

    let _other = serve(&cluster, "two", "other");
    seen.wait("atasker_cluster_nodes{supervisor=cluster}", 2.0);
    assert!(fails::builder().supervisor(&sup).start().join().unwrap().is_err());
    seen.wait("atasker_cluster_dead_letters{supervisor=cluster}", 1.0);
    seen.wait(&waiting("other", "high"), 0.0);
    let err = "atasker_tasks_completed_total{supervisor=cluster,tt=remote,name=fails,outcome=returned_err}";
    seen.wait(err, 1.0);
    node.drain(FAR);
    seen.wait("atasker_cluster_nodes{supervisor=cluster}", 1.0);
    assert_eq!(seen.get("atasker_cluster_lost_total{supervisor=cluster}").value, 0.0);
}

#[test]
fn lost_runs_are_counted_and_are_attempts() {
    let cluster = Cluster::__in_memory_with(100, false, Duration::from_secs(1));
    let sup = joined("lost", &cluster);
    let _export = sup.export_metrics();
    let seen = recorder();
    let _first = serve(&cluster, "one", "default");
    let task = launch(&sup, Priority::Normal);
    let running = "atasker_tasks_running{supervisor=lost,tt=remote}";
    seen.wait(running, 1.0);
    cluster.faults().freeze_node("one");
    let _second = serve(&cluster, "two", "default");
    seen.wait("atasker_cluster_lost_total{supervisor=lost}", 1.0);
    seen.wait(running, 1.0);
    assert_eq!((task.info().losses, task.info().node.as_deref()), (1, Some("two")));
    task.stop();
    assert_eq!(task.join(), Ok(true));
    let of = "supervisor=lost,tt=remote,name=waits";
    seen.wait(&format!("atasker_task_retries_total{{{of}}}"), 1.0);
    seen.wait_values(&format!("atasker_task_run_seconds{{{of},priority=normal}}"), 2);
    seen.wait(running, 0.0);
    cluster.faults().end();
}

#[test]
fn cluster_that_is_joined_later_is_shown() {
    recorder();
    let sup = Supervisor::builder().id("later").build();
    let _export = sup.export_metrics();
    let seen = recorder();
    seen.wait("atasker_pool_threads{supervisor=later}", 0.0);
    assert!(!seen.has("atasker_cluster_nodes{supervisor=later}"));
    assert!(!seen.has("atasker_tasks_running{supervisor=later,tt=remote}"));
    let cluster = Cluster::in_memory();
    sup.join_cluster(&cluster);
    seen.wait("atasker_cluster_nodes{supervisor=later}", 0.0);
    // Nothing happens in this supervisor, but elsewhere.
    let _node = serve(&cluster, "one", "default");
    seen.wait("atasker_cluster_nodes{supervisor=later}", 1.0);
}

#[test]
fn values_stay_while_the_broker_is_away() {
    let cluster = Cluster::in_memory();
    let sup = joined("away", &cluster);
    let _export = sup.export_metrics();
    let seen = recorder();
    let waiting = "atasker_cluster_waiting{supervisor=away,queue=default,priority=normal}";
    let task = launch(&sup, Priority::Normal);
    seen.wait(waiting, 1.0);
    cluster.faults().stop_broker();
    // Other metrics are written as before.
    for count in 1..=3 {
        TaskBuilder::new(|| ()).name("local").supervisor(&sup).start().join().unwrap();
        let launched =
            "atasker_tasks_launched_total{supervisor=away,tt=thread,name=local,priority=normal}";
        seen.wait(launched, f64::from(count));
    }
    assert_eq!(seen.get(waiting).value, 1.0);
    cluster.faults().start_broker();
    assert!(task.cancel());
    seen.wait(waiting, 0.0);
}

#[test]
fn gauges_are_0_after_a_stop_and_after_the_export() {
    let cluster = Cluster::in_memory();
    let sup = joined("ends", &cluster);
    let export = sup.export_metrics();
    let _node = serve(&cluster, "one", "default");
    let seen = recorder();
    let nodes = "atasker_cluster_nodes{supervisor=ends}";
    seen.wait(nodes, 1.0);
    sup.stop(StopOptions::new());
    assert_eq!(seen.get(nodes).value, 0.0);
    sup.start();
    seen.wait(nodes, 1.0);
    drop(export);
    assert_eq!(seen.get(nodes).value, 0.0);
}
