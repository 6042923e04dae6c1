//! Which supervisors does a dashboard show, and what ends with it?

use std::net::{SocketAddr, TcpListener, TcpStream};

use atasker::{Dashboard, LoopWorker, Supervisor, WorkerContext};
use atasker_tests::{FAR, eventually};
use atasker_tests_seen::http::get;
use serde_json::Value;

fn ids(addr: SocketAddr) -> Vec<String> {
    let state = get(addr, "/api/state").send().json();
    let supervisors = state["supervisors"].as_array().unwrap();
    supervisors.iter().map(|sup| sup["info"]["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn live_supervisors_are_shown_and_not_held() {
    let before = Supervisor::builder().id("life before").build();
    let dashboard = Dashboard::new().serve("127.0.0.1:0").unwrap();
    let after = Supervisor::builder().id("life after").build();
    after.spawn(|| ()).wait().unwrap();
    let shown = |id: &str| ids(dashboard.addr()).iter().any(|shown| shown == id);
    assert!(shown("life before") && shown("life after"));
    drop(before);
    eventually(|| !shown("life before"));
    let worker = LoopWorker::builder().supervisor(&after);
    let worker = worker.run(|ctx: &WorkerContext| _ = ctx.wait_stop(FAR));
    worker.start();
    drop(worker);
    drop(after);
    eventually(|| !shown("life after"));
    let history = get(dashboard.addr(), "/api/history").send().json();
    let ids: Vec<&Value> = history["supervisors"].as_array().unwrap().iter().collect();
    assert!(!ids.iter().any(|sup| sup["id"] == "life after"));
    dashboard.stop();
}

#[test]
fn only_selected_supervisors_are_shown() {
    let [a, b, c] = ["a", "b", "c"].map(|id| Supervisor::builder().id(id).build());
    let dashboard = Dashboard::new().supervisor(&a).supervisor(&c).serve("127.0.0.1:0").unwrap();
    let later = Supervisor::builder().id("d").build();
    assert_eq!(ids(dashboard.addr()), ["a", "c"]);
    drop((a, b, later));
    eventually(|| ids(dashboard.addr()) == ["c"]);
    drop(c);
    dashboard.stop();
}

#[test]
fn two_dashboards_count_for_themselves() {
    let sup = Supervisor::builder().build();
    let served =
        |title| Dashboard::new().supervisor(&sup).title(title).serve("127.0.0.1:0").unwrap();
    let launched = |addr| {
        let history = get(addr, "/api/history").send().json();
        let launched = &history["supervisors"][0]["places"]["thread"]["launched"];
        launched.as_array().unwrap().iter().filter_map(Value::as_u64).sum::<u64>()
    };
    let first = served("first");
    sup.spawn(|| ()).wait().unwrap();
    let second = served("second");
    sup.spawn(|| ()).wait().unwrap();
    assert_eq!((launched(first.addr()), launched(second.addr())), (2, 1));
    let key = |addr| get(addr, "/api/state").send().json()["supervisors"][0]["key"].clone();
    assert_eq!(key(first.addr()), key(second.addr()));
    first.stop();
    sup.spawn(|| ()).wait().unwrap();
    assert_eq!(launched(second.addr()), 2);
    second.stop();
}

#[test]
fn stop_frees_the_port() {
    for _ in 0..20 {
        let sup = Supervisor::builder().build();
        let dashboard = Dashboard::new().supervisor(&sup).serve("127.0.0.1:0").unwrap();
        let addr = dashboard.addr();
        assert_eq!(dashboard.url(), format!("http://{addr}/"));
        // A connection that sends nothing, and one that receives events.
        let _idle = TcpStream::connect(addr).unwrap();
        let (_answer, _events) = get(addr, "/api/events").open();
        dashboard.stop();
        drop(TcpListener::bind(addr).unwrap());
        dashboard.stop();
    }
}

#[test]
fn connections_are_limited() {
    let sup = Supervisor::builder().build();
    let dashboard = Dashboard::new().supervisor(&sup).serve("127.0.0.1:0").unwrap();
    let addr = dashboard.addr();
    let mut idle: Vec<TcpStream> = (0..256).map(|_| TcpStream::connect(addr).unwrap()).collect();
    // The system completes the connection; the dashboard does not accept it.
    let answer = std::thread::spawn(move || get(addr, "/api/state").send().status);
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(!answer.is_finished());
    idle.pop();
    assert_eq!(answer.join().unwrap(), 200);
    dashboard.stop();
}

#[test]
fn dropped_handle_changes_nothing() {
    let sup = Supervisor::builder().build();
    let dashboard = Dashboard::new().supervisor(&sup).serve("127.0.0.1:0").unwrap();
    let addr = dashboard.addr();
    drop(dashboard);
    assert_eq!(get(addr, "/api/state").send().status, 200);
}

#[test]
fn title_is_shown_as_text() {
    let sup = Supervisor::builder().id("<b>").build();
    let title = "<script>alert(1)</script> & \"more\"";
    let dashboard = Dashboard::new().supervisor(&sup).title(title).serve("127.0.0.1:0").unwrap();
    let page = get(dashboard.addr(), "/").send();
    let policy = page.header("content-security-policy").unwrap();
    let nonce = policy.split("script-src 'nonce-").nth(1).unwrap().split('\'').next().unwrap();
    assert!(
        page.text()
            .contains("<h1>&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;more&quot;</h1>")
    );
    // Only the page's own script runs, and it loads nothing from elsewhere.
    assert_eq!(page.text().matches("<script").count(), 1);
    assert!(page.text().contains(&format!("<script nonce=\"{nonce}\">")));
    assert!(!page.text().contains("src=\"") && !page.text().contains("https://"));
    dashboard.stop();
}

#[test]
fn dashboard_in_use_can_be_debugged_without_its_token() {
    let dashboard = Dashboard::new().token("s3cret");
    assert!(!format!("{dashboard:?}").contains("s3cret"));
}
