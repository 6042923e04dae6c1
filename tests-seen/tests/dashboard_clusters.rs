//! What does a dashboard show of clusters, and what do its requests do with dead letters?

use std::net::SocketAddr;
use std::time::Duration;

use atasker::{
    Cluster, Dashboard, Node, NodeConfig, PoolConfig, Priority, Supervisor, TaskContext, TaskId,
    background_task,
};
use atasker_tests::{FAR, eventually};
use atasker_tests_seen::http::{Answer, get, post, request};
use serde_json::{Value, json};

#[background_task(tt = "remote", name = "waits")]
fn waits(ctx: &TaskContext) -> bool {
    ctx.wait_stop(FAR)
}

#[background_task(tt = "remote", name = "fails <b>")]
fn fails(text: String) -> Result<(), String> {
    Err(text)
}

#[background_task(tt = "remote", name = "panics")]
fn panics(text: String) {
    panic!("{text}");
}

fn joined(cluster: &Cluster) -> Supervisor {
    let sup = Supervisor::builder().thread_pool(PoolConfig::new(1)).build();
    sup.join_cluster(cluster);
    sup
}

fn node(cluster: &Cluster) -> Node {
    let config = NodeConfig::threads(PoolConfig::new(2).reserve_high(1)).name("one");
    cluster.member("one").serve(config).unwrap()
}

fn clusters(addr: SocketAddr) -> Vec<Value> {
    let answer = get(addr, "/api/state").send();
    assert_eq!(answer.status, 200);
    answer.json()["clusters"].as_array().unwrap().clone()
}

/// The state of the only cluster.
#[track_caller]
fn cluster_of(addr: SocketAddr) -> Value {
    let mut clusters = clusters(addr);
    assert_eq!(clusters.len(), 1);
    clusters.remove(0)
}

fn letters(addr: SocketAddr) -> Vec<Value> {
    cluster_of(addr)["dead_letters"].as_array().unwrap().clone()
}

fn path(addr: SocketAddr, id: &str, verb: &str) -> String {
    format!("/api/clusters/{}/dead/{id}/{verb}", cluster_of(addr)["key"])
}

fn act(addr: SocketAddr, id: TaskId, verb: &str) -> Answer {
    post(addr, &path(addr, &id.to_string(), verb)).send()
}

#[test]
fn nodes_and_queues_are_shown() {
    let cluster = Cluster::in_memory();
    let sup = joined(&cluster);
    let dashboard = Dashboard::new().supervisor(&sup).serve("127.0.0.1:0").unwrap();
    let addr = dashboard.addr();
    // The first request finds the cluster, although nothing was asked before.
    let empty = cluster_of(addr);
    assert!(empty["key"].is_u64());
    assert_eq!(empty["namespace"], cluster.namespace());
    assert_eq!((&empty["connected"], &empty["error"]), (&json!(true), &Value::Null));
    assert!(empty["broker"].is_string(), "{empty}");
    assert_eq!((&empty["nodes"], &empty["dead_letters"]), (&json!([]), &json!([])));
    assert_eq!(empty["dead_letters_total"], 0);

    let task = waits::builder().priority(Priority::High).supervisor(&sup).start();
    eventually(|| cluster_of(addr)["queues"][0]["waiting"]["high"] == 1);
    let queue = cluster_of(addr)["queues"][0].clone();
    let expected = json!({
        "name": "default",
        "waiting": { "low": 0, "normal": 0, "high": 1, "critical": 0 },
        "given_out": 0,
    });
    assert_eq!(queue, expected);

    let node = node(&cluster);
    eventually(|| {
        let state = cluster_of(addr);
        state["queues"][0]["given_out"] == 1 && state["nodes"][0]["running"] == 1
    });
    let shown = cluster_of(addr)["nodes"][0].clone();
    assert_eq!((&shown["name"], &shown["id"]), (&json!("one"), &json!(node.id())));
    assert_eq!((&shown["slots"], &shown["reserve_high"]), (&json!(2), &json!(1)));
    assert_eq!((&shown["queues"], &shown["draining"]), (&json!(["default"]), &json!(false)));
    assert_eq!(shown["pid"], std::process::id());
    assert!(shown["functions"].as_array().unwrap().contains(&json!("waits")));
    assert!(shown["heard_of"].as_f64().unwrap() >= 0.0);
    let state = get(addr, "/api/state").send().json();
    let running = &state["supervisors"][0]["running"][0];
    assert_eq!((&running["tt"], &running["node"]), (&json!("remote"), &json!("one")));
    assert_eq!(state["supervisors"][0]["info"]["cluster"], cluster.namespace());
    task.stop();
    task.join().unwrap();
    node.drain(FAR);
    eventually(|| cluster_of(addr)["nodes"] == json!([]));
    let launched = get(addr, "/api/history").send().json();
    let launched = launched["supervisors"][0]["places"]["remote"]["launched"].clone();
    assert_eq!(launched.as_array().unwrap().iter().filter_map(Value::as_u64).sum::<u64>(), 1);
    dashboard.stop();
}

#[test]
fn each_cluster_is_shown_once_and_only_those_of_shown_supervisors() {
    let (a, b) = (Cluster::in_memory(), Cluster::in_memory());
    let sups = [joined(&a), joined(&a), joined(&b)];
    let all = sups[..2].iter().fold(Dashboard::new(), Dashboard::supervisor);
    let all = all.supervisor(&sups[2]).serve("127.0.0.1:0").unwrap();
    let keys: Vec<_> = clusters(all.addr()).iter().map(|one| one["key"].clone()).collect();
    assert_eq!(keys.len(), 2);
    assert_ne!(keys[0], keys[1]);
    all.stop();
    let sup = Supervisor::builder().build();
    let none = Dashboard::new().supervisor(&sup).serve("127.0.0.1:0").unwrap();
    assert!(clusters(none.addr()).is_empty());
    let state = get(none.addr(), "/api/state").send().json();
    assert_eq!(state["supervisors"][0]["info"]["cluster"], Value::Null);
    sup.join_cluster(&b);
    assert_eq!(clusters(none.addr()).len(), 1);
    none.stop();
}

#[test]
fn dead_letters_are_retried_and_dropped() {
    let cluster = Cluster::in_memory();
    let sup = joined(&cluster);
    let node = node(&cluster);
    let dashboard = Dashboard::new().supervisor(&sup).serve("127.0.0.1:0").unwrap();
    let addr = dashboard.addr();
    let failed = fails::builder("no luck".to_owned()).supervisor(&sup).start();
    let failed_id = failed.id();
    assert!(failed.join().unwrap().is_err());
    eventually(|| letters(addr).len() == 1);
    let long = panics::builder("long ".repeat(10_000)).supervisor(&sup).start();
    let long_id = long.id();
    assert!(long.join().is_err());
    eventually(|| letters(addr).len() == 2);
    node.drain(FAR);

    // The newest first.
    let shown = letters(addr);
    assert_eq!(shown[0]["name"], "panics");
    let error = shown[0]["error"].as_str().unwrap();
    assert!(error.contains("long long") && error.len() <= 16 * 1024);
    assert_eq!((&shown[1]["name"], &shown[1]["id"]), (&json!("fails <b>"), &json!(failed_id)));
    assert_eq!(shown[1]["error"], "the function returned an `Err`");
    assert!(shown[1]["time"].as_str().unwrap().ends_with('Z'));

    assert_eq!(act(addr, long_id, "drop").status, 204);
    eventually(|| letters(addr).len() == 1);
    assert!(act(addr, long_id, "drop").refused(404).contains("dead letter"));
    assert_eq!(cluster.info().unwrap().dead_letters, 1);

    // The call waits again.
    assert_eq!(act(addr, failed_id, "retry").status, 204);
    eventually(|| letters(addr).is_empty());
    eventually(|| cluster_of(addr)["queues"][0]["waiting"]["normal"] == 1);
    assert!(act(addr, failed_id, "retry").refused(404).contains("dead letter"));
    dashboard.stop();
}

#[test]
fn requests_about_letters_are_refused_like_others() {
    let cluster = Cluster::in_memory();
    let sup = joined(&cluster);
    let node = node(&cluster);
    let task = fails::builder(String::new()).supervisor(&sup).start();
    let id = task.id().to_string();
    assert!(task.join().unwrap().is_err());
    node.drain(FAR);

    let dashboard = Dashboard::new().supervisor(&sup).serve("127.0.0.1:0").unwrap();
    let addr = dashboard.addr();
    for verb in ["retry", "drop"] {
        let path = path(addr, &id, verb);
        request(addr, "POST", &path).send().refused(403);
        post(addr, &path).header("origin", "http://evil.example").send().refused(403);
        post(addr, &path).host(Some("evil.example")).send().refused(403);
        get(addr, &path).send().refused(405);
        let elsewhere = format!("/api/clusters/999999/dead/{id}/{verb}");
        assert!(post(addr, &elsewhere).send().refused(404).contains("cluster"));
        let elsewhere = format!("/api/clusters/x/dead/{id}/{verb}");
        assert!(post(addr, &elsewhere).send().refused(404).contains("cluster"));
    }
    let key = cluster_of(addr)["key"].clone();
    post(addr, &path(addr, "nonsense", "retry")).send().refused(404);
    post(addr, &format!("/api/clusters/{key}/dead/{id}/burn")).send().refused(404);
    post(addr, &format!("/api/clusters/{key}/dead/{id}")).send().refused(404);
    let read_only = Dashboard::new().supervisor(&sup).read_only().serve("127.0.0.1:0").unwrap();
    post(read_only.addr(), &path(addr, &id, "drop")).send().refused(405);
    read_only.stop();
    let token = Dashboard::new().supervisor(&sup).token("secret").serve("127.0.0.1:0").unwrap();
    post(token.addr(), &path(addr, &id, "drop")).send().refused(401);
    token.stop();
    // Nothing of this has done anything.
    assert_eq!(cluster.info().unwrap().dead_letters, 1);
    dashboard.stop();
}

#[test]
fn state_is_answered_while_the_broker_is_away() {
    let cluster = Cluster::in_memory();
    let sup = joined(&cluster);
    let node = node(&cluster);
    let task = fails::builder(String::new()).supervisor(&sup).start();
    let id = task.id();
    assert!(task.join().unwrap().is_err());
    let dashboard = Dashboard::new().supervisor(&sup).serve("127.0.0.1:0").unwrap();
    let addr = dashboard.addr();
    eventually(|| letters(addr).len() == 1 && cluster_of(addr)["nodes"][0]["name"] == "one");
    cluster.faults().stop_broker();
    eventually(|| {
        let state = cluster_of(addr);
        state["connected"] == false && state["error"].is_string()
    });
    // What was known before is still shown.
    let state = cluster_of(addr);
    assert_eq!(state["nodes"][0]["name"], "one");
    assert_eq!(state["dead_letters"][0]["id"], json!(id));
    // The page gets its events as before.
    let reason = act(addr, id, "drop").refused(409);
    assert!(reason.contains("broker"), "{reason}");

    cluster.faults().start_broker();
    eventually(|| {
        let state = cluster_of(addr);
        state["connected"] == true && state["error"].is_null()
    });
    dashboard.stop();
    node.drain(Duration::ZERO);
}

#[test]
fn clusters_are_asked_only_on_request() {
    let cluster = Cluster::in_memory();
    let sup = joined(&cluster);
    let dashboard = Dashboard::new().supervisor(&sup).serve("127.0.0.1:0").unwrap();
    let addr = dashboard.addr();
    assert_eq!(cluster_of(addr)["nodes"], json!([]));
    let node = node(&cluster);
    eventually(|| !cluster.info().unwrap().nodes.is_empty());
    // The first answer is that of the time before, because nothing was asked since.
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(cluster_of(addr)["nodes"], json!([]));
    eventually(|| cluster_of(addr)["nodes"][0]["name"] == "one");
    dashboard.stop();
    node.drain(FAR);
}
