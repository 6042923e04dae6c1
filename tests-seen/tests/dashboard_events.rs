//! What does a listener of a dashboard's events receive, and when?

use std::time::{Duration, Instant};

use atasker::{Dashboard, PoolConfig, Supervisor, TaskBuilder};
use atasker_tests::eventually;
use atasker_tests_seen::http::{Events, get};
use serde_json::Value;

#[test]
fn state_comes_at_once_then_when_something_changes() {
    let sup = Supervisor::builder().id("events").build();
    let dashboard = Dashboard::new().supervisor(&sup).serve("127.0.0.1:0").unwrap();
    let mut events = Events::open(get(dashboard.addr(), "/api/events"));
    let state = events.next_of("state").unwrap();
    assert_eq!(state["supervisors"][0]["info"]["id"], "events");
    assert_eq!(state["supervisors"][0]["info"]["tasks"], 0);
    let task = sup.spawn_async(std::future::pending::<()>());
    let state = loop {
        let state = events.next_of("state").unwrap();
        if state["supervisors"][0]["running_total"] == 1 {
            break state;
        }
    };
    assert_eq!(state["supervisors"][0]["running"][0]["id"], task.id().to_string());
    task.kill().unwrap();
    dashboard.stop();
}

#[test]
fn state_that_does_not_change_comes_every_fifteen_seconds() {
    let sup = Supervisor::builder().build();
    let dashboard = Dashboard::new().supervisor(&sup).serve("127.0.0.1:0").unwrap();
    let mut events = Events::open(get(dashboard.addr(), "/api/events"));
    let first = events.next_of("state").unwrap();
    let started = Instant::now();
    assert_eq!(events.next_of("state").unwrap(), first);
    let waited = started.elapsed();
    assert!(waited > Duration::from_secs(13), "{waited:?}");
    dashboard.stop();
}

#[test]
fn failure_comes_before_the_next_state() {
    let sup = Supervisor::builder().thread_pool(PoolConfig::new(1)).build();
    let dashboard = Dashboard::new().supervisor(&sup).serve("127.0.0.1:0").unwrap();
    let mut events = Events::open(get(dashboard.addr(), "/api/events"));
    let state = events.next_of("state").unwrap();
    // The listener is subscribed before it gets the first state.
    let failing = || TaskBuilder::<()>::new(|| panic!("shown at once")).supervisor(&sup).start();
    assert!(failing().wait().is_err());
    let failure = events.next_of("failure").unwrap();
    assert!(failure["error"].as_str().unwrap().contains("shown at once"));
    assert_eq!(failure["supervisor"], state["supervisors"][0]["key"]);
    let state = events.next_of("state").unwrap();
    assert_eq!(state["supervisors"][0]["failures"][0], failure);
    dashboard.stop();
}

#[test]
fn failures_are_limited_per_second() {
    let sup = Supervisor::builder().thread_pool(PoolConfig::new(1)).build();
    let dashboard = Dashboard::new().supervisor(&sup).serve("127.0.0.1:0").unwrap();
    let mut events = Events::open(get(dashboard.addr(), "/api/events"));
    events.next_of("state").unwrap();
    let started = Instant::now();
    let tasks: Vec<_> = (0..500)
        .map(|_| TaskBuilder::<()>::new(|| panic!("expected")).supervisor(&sup).start())
        .collect();
    tasks.iter().for_each(|task| assert!(task.wait().is_err()));
    let seconds = started.elapsed().as_secs() + 1;
    let mut failures = 0;
    // Until a state shows all of them.
    loop {
        let (event, data) = events.next_event().unwrap();
        match event.as_str() {
            "failure" => failures += 1,
            _ if data["supervisors"][0]["info"]["thread_pool"]["failed"] == 500 => break,
            _ => {}
        }
    }
    assert!(failures > 0 && failures <= 50 * (seconds + 1), "{failures} in {seconds} s");
    dashboard.stop();
}

#[test]
fn sixteen_may_listen_at_a_time() {
    let sup = Supervisor::builder().build();
    let dashboard = Dashboard::new().supervisor(&sup).serve("127.0.0.1:0").unwrap();
    let addr = dashboard.addr();
    let mut listeners: Vec<Events> =
        (0..16).map(|_| Events::open(get(addr, "/api/events"))).collect();
    get(addr, "/api/events").send().refused(503);
    for listener in &mut listeners {
        assert!(listener.next_of("state").is_some());
    }
    listeners.pop();
    // The server learns of it by a closed connection.
    let mut next = None;
    eventually(|| {
        let (answer, reader) = get(addr, "/api/events").open();
        next = (answer.status == 200).then_some(reader);
        next.is_some()
    });
    dashboard.stop();
    // The end of the dashboard ends the events.
    for mut listener in listeners {
        while listener.next_event().is_some() {}
    }
}

#[test]
fn all_listeners_get_the_same_state() {
    let sup = Supervisor::builder().build();
    let dashboard = Dashboard::new().supervisor(&sup).serve("127.0.0.1:0").unwrap();
    let states: Vec<Value> = (0..2)
        .map(|_| Events::open(get(dashboard.addr(), "/api/events")).next_of("state").unwrap())
        .collect();
    assert_eq!(states[0], states[1]);
    dashboard.stop();
}
