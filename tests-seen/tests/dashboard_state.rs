//! What do the requests of a dashboard answer, and what do they do?

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use atasker::{
    Dashboard, DashboardHandle, EventWorker, IntervalWorker, Job, LoopWorker, MpPoolConfig,
    PoolConfig, Priority, QueueWorker, Supervisor, Task, TaskBuilder, TaskContext, WorkerContext,
    background_task,
};
use atasker_tests::{FAR, Gate, eventually, occupy};
use atasker_tests_seen::http::{get, post};
use serde_json::{Value, json};

fn serve(sup: &Supervisor) -> DashboardHandle {
    Dashboard::new().supervisor(sup).serve("127.0.0.1:0").unwrap()
}

/// The state of the only supervisor.
#[track_caller]
fn state(addr: SocketAddr) -> Value {
    let answer = get(addr, "/api/state").send();
    assert_eq!(answer.status, 200);
    let state = answer.json();
    assert_eq!(state["supervisors"].as_array().unwrap().len(), 1);
    state["supervisors"][0].clone()
}

/// The points of the only supervisor.
fn places(addr: SocketAddr) -> Value {
    get(addr, "/api/history").send().json()["supervisors"][0]["places"].clone()
}

fn total(points: &Value) -> u64 {
    points.as_array().unwrap().iter().filter_map(Value::as_u64).sum()
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|task| task["name"].as_str().unwrap()).collect()
}

/// A task that runs until it is asked to stop, and has begun.
fn running(sup: &Supervisor, name: &'static str) -> Task<()> {
    let begun = Gate::new();
    let begins = begun.clone();
    let task = TaskBuilder::with_context(move |ctx: &TaskContext| {
        begins.open();
        while !ctx.wait_stop(FAR) {}
    });
    let task = task.name(name).supervisor(sup).start();
    begun.wait();
    task
}

#[background_task(tt = "mp")]
fn spin_until_stopped(ctx: &TaskContext) {
    ctx.progress(3, 7);
    ctx.message("spinning");
    while !ctx.stopped() {
        std::hint::spin_loop();
    }
}

#[background_task(tt = "mp")]
fn crash() {
    std::process::abort();
}

#[test]
fn tasks_are_listed_in_their_order() {
    let sup = Supervisor::builder().id("listed").thread_pool(PoolConfig::new(2)).build();
    let dashboard = serve(&sup);
    let first = running(&sup, "first");
    let second = running(&sup, "second");
    let start = |name: &'static str, priority, delay| {
        let task = TaskBuilder::new(|| ()).name(name).priority(priority).supervisor(&sup);
        task.delay(delay).start()
    };
    let waiting = [
        start("low", Priority::Low, Duration::ZERO),
        start("normal", Priority::Normal, Duration::ZERO),
        start("delayed", Priority::Normal, FAR),
        start("high", Priority::High, Duration::ZERO),
    ];
    let state = state(dashboard.addr());
    assert_eq!(state["info"]["id"], "listed");
    assert_eq!(state["info"]["tasks"], 6);
    assert_eq!(state["info"]["thread_pool"]["running"], 2);
    assert_eq!(names(&state["running"]), ["first", "second"]);
    assert_eq!(names(&state["waiting"]), ["high", "normal", "delayed", "low"]);
    assert_eq!((&state["running_total"], &state["waiting_total"]), (&json!(2), &json!(4)));
    let task = &state["running"][0];
    assert_eq!(task["id"], first.id().to_string());
    assert_eq!((&task["status"], &task["tt"]), (&json!("started"), &json!("thread")));
    assert!(task["time_started"].as_str().unwrap().ends_with('Z'));
    waiting.iter().for_each(|task| _ = task.cancel());
    first.stop();
    second.stop();
    dashboard.stop();
}

#[test]
fn five_hundred_of_each_are_listed_and_all_are_counted() {
    let sup = Supervisor::builder().thread_pool(PoolConfig::unlimited()).build();
    let tasks: Vec<Task<()>> = (0..510)
        .map(|n| {
            let task = TaskBuilder::with_context(|ctx: &TaskContext| while !ctx.wait_stop(FAR) {});
            task.name(format!("running {n}")).supervisor(&sup).start()
        })
        .collect();
    eventually(|| tasks.iter().all(Task::is_started));
    sup.set_thread_pool(PoolConfig::new(1));
    let waiting: Vec<Task<()>> = (0..2_000)
        .map(|n| {
            let priority = if n == 1_999 { Priority::High } else { Priority::Low };
            TaskBuilder::new(|| ()).name(format!("{n}")).priority(priority).supervisor(&sup).start()
        })
        .collect();
    let dashboard = serve(&sup);
    let state = state(dashboard.addr());
    assert_eq!((&state["running_total"], &state["waiting_total"]), (&json!(510), &json!(2_000)));
    assert_eq!(state["running"].as_array().unwrap().len(), 500);
    let listed = names(&state["waiting"]);
    let expected: Vec<String> =
        std::iter::once(1_999).chain(0..499).map(|n| n.to_string()).collect();
    assert_eq!(listed, expected);
    waiting.iter().for_each(|task| _ = task.cancel());
    tasks.iter().for_each(Task::stop);
    dashboard.stop();
}

#[test]
fn one_task_is_found_until_it_has_ended() {
    let sup = Supervisor::builder().build();
    let dashboard = serve(&sup);
    let task = running(&sup, "one");
    let path = format!("/api/tasks/{}", task.id());
    let shown = get(dashboard.addr(), &path).send().json();
    assert_eq!((&shown["name"], &shown["id"]), (&json!("one"), &json!(task.id().to_string())));
    assert!(shown["age"].as_f64().unwrap() >= 0.0);
    task.stop();
    task.wait().unwrap();
    get(dashboard.addr(), &path).send().refused(404);
    dashboard.stop();
}

#[test]
fn tasks_of_other_supervisors_are_unknown() {
    let (shown, other) = (Supervisor::builder().build(), Supervisor::builder().build());
    let dashboard = serve(&shown);
    let task = running(&other, "hidden");
    let worker = EventWorker::builder().supervisor(&other).run(|_| ());
    worker.start();
    let everything = Dashboard::new().serve("127.0.0.1:0").unwrap();
    let all = get(everything.addr(), "/api/state").send().json();
    let all = all["supervisors"].as_array().unwrap();
    let key = all.iter().flat_map(|sup| sup["background"].as_array().unwrap()).next().unwrap();
    let key = &key["key"];
    get(dashboard.addr(), &format!("/api/tasks/{}", task.id())).send().refused(404);
    post(dashboard.addr(), &format!("/api/tasks/{}/kill", task.id())).send().refused(404);
    post(dashboard.addr(), &format!("/api/background/{key}/stop")).send().refused(404);
    assert!(worker.is_active() && !task.is_completed());
    task.stop();
    dashboard.stop();
    everything.stop();
}

#[test]
fn verbs_do_what_the_task_allows() {
    let sup = Supervisor::builder().thread_pool(PoolConfig::new(1)).build();
    let dashboard = serve(&sup);
    let verb = |task: &Task<()>, verb: &str| {
        post(dashboard.addr(), &format!("/api/tasks/{}/{verb}", task.id())).send()
    };
    let stopped = running(&sup, "stopped");
    assert!(verb(&stopped, "kill").refused(409).contains("thread"));
    assert!(!stopped.is_completed());
    let waiting = sup.spawn(|| ());
    assert_eq!(verb(&waiting, "cancel").status, 204);
    assert!(waiting.error().unwrap().is_canceled());
    let killed = sup.spawn(|| ());
    assert_eq!(verb(&killed, "kill").status, 204);
    assert!(killed.error().unwrap().is_canceled());
    // Asks the task to stop.
    assert!(verb(&stopped, "cancel").refused(409).contains("asked to stop"));
    stopped.wait().unwrap();
    for word in ["stop", "cancel", "kill"] {
        verb(&stopped, word).refused(404);
    }
    let stopped = running(&sup, "stopped");
    assert_eq!(verb(&stopped, "stop").status, 204);
    stopped.wait().unwrap();

    let future = sup.spawn_async(std::future::pending());
    assert_eq!(verb(&future, "kill").status, 204);
    assert!(future.wait().unwrap_err().is_canceled());
    dashboard.stop();
}

#[test]
fn worker_processes_show_their_use() {
    let sup = Supervisor::builder().id("used").mp_pool(MpPoolConfig::new(1)).build();
    let dashboard = serve(&sup);
    let task = spin_until_stopped::builder().supervisor(&sup).start();
    let waiting = spin_until_stopped::builder().supervisor(&sup).start();
    eventually(|| state(dashboard.addr())["running"][0]["progress"]["message"] == "spinning");
    let shown = state(dashboard.addr());
    let running = &shown["running"][0];
    assert_eq!(
        (&running["progress"]["done"], &running["progress"]["total"]),
        (&json!(3), &json!(7))
    );
    assert_eq!((&shown["running_total"], &shown["waiting_total"]), (&json!(1), &json!(1)));
    let processes = shown["processes"].as_array().unwrap();
    assert_eq!(processes.len(), 1);
    assert_eq!(processes[0]["pid"], running["worker_pid"]);
    assert_eq!(processes[0]["task"], task.id().to_string());
    assert!(processes[0]["rss_bytes"].as_u64().unwrap() > 100_000);
    eventually(|| state(dashboard.addr())["processes"][0]["cpu_percent"].as_f64() > Some(1.0));

    // Another dashboard sees the process for the first time.
    let other = serve(&sup);
    assert_eq!(state(other.addr())["processes"][0]["cpu_percent"], Value::Null);
    assert!(state(other.addr())["processes"][0]["cpu_percent"].is_number());
    other.stop();

    let kill = post(dashboard.addr(), &format!("/api/tasks/{}/kill", task.id())).send();
    assert_eq!(kill.status, 204);
    assert!(task.wait().unwrap_err().is_canceled());
    let stop = post(dashboard.addr(), &format!("/api/tasks/{}/stop", waiting.id())).send();
    assert_eq!(stop.status, 204);
    _ = waiting.wait();
    // A kill is no failure.
    assert_eq!(state(dashboard.addr())["failures"], json!([]));
    let crashed = crash::builder().supervisor(&sup).start();
    assert!(crashed.wait().is_err());
    eventually(|| !state(dashboard.addr())["failures"].as_array().unwrap().is_empty());
    let failure = state(dashboard.addr())["failures"][0].clone();
    assert!(failure["error"].as_str().unwrap().contains("SIGABRT (6)"), "{failure}");
    eventually(|| total(&places(dashboard.addr())["mp"]["completed"]["worker_died"]) == 1);
    dashboard.stop();
}

#[test]
fn failures_are_all_ends_but_three() {
    let sup = Supervisor::builder().thread_pool(PoolConfig::new(1)).build();
    let before = sup.spawn(|| panic!("before the dashboard"));
    assert!(before.wait().is_err());
    let dashboard = serve(&sup);
    let named = |name: &'static str| TaskBuilder::new(|| ()).name(name).supervisor(&sup);
    named("fine").start().wait().unwrap();
    let (task, gate) = occupy(&sup, Priority::Normal);
    let canceled = named("canceled").start();
    assert!(canceled.cancel());
    gate.open();
    task.wait().unwrap();
    let panics = TaskBuilder::<()>::new(|| panic!("{}", "long ".repeat(5_000)));
    assert!(panics.name("panics").supervisor(&sup).start().wait().is_err());
    let limited = TaskBuilder::with_context(|ctx: &TaskContext| while !ctx.wait_stop(FAR) {});
    let limited = limited.name("limited").timeout(Duration::from_millis(1)).supervisor(&sup);
    assert!(limited.start().wait().is_err());
    assert!(fails_with_text::builder().supervisor(&sup).start().wait().unwrap().is_err());

    let state = state(dashboard.addr());
    let failures = state["failures"].as_array().unwrap();
    assert_eq!(names(&state["failures"])[1..], ["limited", "panics"]);
    assert!(names(&state["failures"])[0].ends_with("fails_with_text"));
    assert_eq!(
        (&failures[0]["outcome"], &failures[1]["outcome"]),
        (&json!("returned_err"), &json!("failed"))
    );
    for failure in failures {
        assert!(failure["time"].as_str().unwrap().ends_with('Z'));
        assert_eq!(failure["status"], "completed");
        let error = failure["error"].as_str().unwrap();
        assert!(!error.is_empty() && error.len() <= 16 * 1024);
    }
    let long = failures[2]["error"].as_str().unwrap();
    assert!(long.contains("long long") && long.len() > 16_000);
    let completed = places(dashboard.addr())["thread"]["completed"].clone();
    for (word, n) in [
        ("ok", 2),
        ("returned_err", 1),
        ("panicked", 1),
        ("timed_out", 1),
        ("canceled", 1),
        ("expired", 0),
        ("rejected", 0),
        ("worker_died", 0),
        ("other", 0),
    ] {
        assert_eq!(total(&completed[word]), n, "{word}");
    }
    dashboard.stop();
}

#[background_task]
fn fails_with_text() -> Result<(), String> {
    Err("text".into())
}

#[test]
fn retried_task_is_measured_by_attempt() {
    let sup = Supervisor::builder().thread_pool(PoolConfig::new(1)).build();
    let dashboard = serve(&sup);
    let task = TaskBuilder::repeatable(|| std::thread::sleep(Duration::from_millis(20)));
    let task = task.retries(2).retry_if(|()| true).retry_delay(Duration::from_secs(1));
    task.supervisor(&sup).start().wait().unwrap();
    // Canceled between two attempts.
    let task = TaskBuilder::repeatable(|| std::thread::sleep(Duration::from_millis(20)));
    let task = task.retries(1).retry_if(|()| true).retry_delay(FAR).supervisor(&sup).start();
    eventually(|| task.status() == atasker::TaskStatus::Delayed && task.info().attempt == 1);
    assert!(task.cancel());
    // The thread that reports the retry may also report the end.
    assert!(task.wait().is_err());
    let thread = places(dashboard.addr())["thread"].clone();
    assert_eq!((total(&thread["launched"]), total(&thread["completed"]["ok"])), (2, 1));
    assert_eq!(total(&thread["completed"]["canceled"]), 1);
    let seconds = |of: &str| -> Vec<f64> {
        let points = thread[of]["p99"].as_array().unwrap();
        points.iter().filter_map(Value::as_f64).collect()
    };
    // Neither the pauses nor earlier attempts count.
    assert!(seconds("run").iter().all(|seconds| (0.015..0.9).contains(seconds)), "{thread}");
    assert!(seconds("queue").iter().all(|seconds| *seconds < 0.9), "{thread}");
    assert!(seconds("run").len() >= 3);
    dashboard.stop();
}

#[test]
fn two_hundred_failures_are_kept() {
    let sup = Supervisor::builder().thread_pool(PoolConfig::new(1)).build();
    let dashboard = serve(&sup);
    let failing = |n: u32| {
        let task = TaskBuilder::<()>::new(|| panic!("expected")).name(format!("{n}"));
        task.supervisor(&sup).start()
    };
    let tasks: Vec<Task<()>> = (0..250).map(failing).collect();
    tasks.iter().for_each(|task| assert!(task.wait().is_err()));
    let state = state(dashboard.addr());
    let kept: Vec<String> = (50..250).rev().map(|n: u32| n.to_string()).collect();
    assert_eq!(names(&state["failures"]), kept);
    dashboard.stop();
}

#[test]
fn rejected_launches_are_counted_and_no_failures() {
    let sup = Supervisor::builder().build();
    let dashboard = serve(&sup);
    sup.spawn(|| ()).wait().unwrap();
    sup.stop(atasker::StopOptions::new());
    assert!(sup.spawn(|| ()).wait().is_err());
    let thread = places(dashboard.addr())["thread"].clone();
    assert_eq!((total(&thread["launched"]), total(&thread["completed"]["rejected"])), (2, 1));
    assert_eq!(state(dashboard.addr())["failures"], json!([]));
    assert_eq!(state(dashboard.addr())["info"]["active"], false);
    dashboard.stop();
}

#[test]
fn points_have_one_length_and_measure_times() {
    let sup = Supervisor::builder().thread_pool(PoolConfig::new(3).reserve_high(2)).build();
    let dashboard = serve(&sup);
    let measured = TaskBuilder::new(|| std::thread::sleep(Duration::from_millis(20)));
    measured.supervisor(&sup).start().wait().unwrap();
    sup.spawn_async(async {}).wait().unwrap();
    let (task, gate) = occupy(&sup, Priority::Low);
    eventually(|| {
        let history = get(dashboard.addr(), "/api/history").send().json();
        history["supervisors"][0]["places"]["thread"]["running"].as_array().unwrap().len() >= 3
    });
    let history = get(dashboard.addr(), "/api/history").send().json();
    assert!(history["start"].as_str().unwrap().ends_with('Z'));
    assert_eq!(history["step"], 1);
    let supervisor = &history["supervisors"][0];
    assert_eq!(supervisor["id"], "default");
    assert_eq!(supervisor["key"], state(dashboard.addr())["key"]);
    let places = &supervisor["places"];
    let len = places["thread"]["running"].as_array().unwrap().len();
    fn check(value: &Value, len: usize) {
        match value {
            Value::Object(fields) => fields.values().for_each(|value| check(value, len)),
            Value::Array(points) => assert_eq!(points.len(), len),
            other => panic!("{other}"),
        }
    }
    check(places, len);
    for tt in ["thread", "mp", "async"] {
        let fields: Vec<&String> = places[tt].as_object().unwrap().keys().collect();
        let expected = ["completed", "launched", "queue", "run", "running", "slots", "waiting"];
        assert_eq!(fields, expected);
    }
    let thread = &places["thread"];
    assert_eq!((&thread["slots"][len - 1], &thread["running"][len - 1]), (&json!(5), &json!(1)));
    assert_eq!(places["async"]["slots"][len - 1], Value::Null);
    let run = thread["run"]["p50"].as_array().unwrap();
    let run: Vec<f64> = run.iter().filter_map(Value::as_f64).collect();
    assert!(run.iter().any(|seconds| *seconds > 0.015), "{run:?}");
    assert!(thread["queue"]["p99"].as_array().unwrap().iter().any(Value::is_number));
    assert!(places["mp"]["run"]["p99"].as_array().unwrap().iter().all(Value::is_null));
    assert_eq!(total(&places["async"]["completed"]["ok"]), 1);
    let last = get(dashboard.addr(), "/api/history?last=2").send().json();
    assert_eq!(last["supervisors"][0]["places"]["mp"]["running"].as_array().unwrap().len(), 2);
    gate.open();
    task.wait().unwrap();
    dashboard.stop();
}

/// The entry of a background worker, by name.
fn background(addr: SocketAddr, name: &str) -> Option<Value> {
    let state = state(addr);
    state["background"].as_array().unwrap().iter().find(|one| one["name"] == name).cloned()
}

#[test]
fn background_workers_are_steered() {
    let sup = Supervisor::builder().build();
    let dashboard = serve(&sup);
    let addr = dashboard.addr();
    let interval = IntervalWorker::builder(FAR).name("interval").supervisor(&sup).run(|_| ());
    let event = EventWorker::builder().name("event").supervisor(&sup).run(|_| ());
    let queue = QueueWorker::builder().name("queue").supervisor(&sup);
    let queue = queue.run(|_: &WorkerContext, _: u32| ());
    let looping = LoopWorker::builder().name("loop").supervisor(&sup);
    let looping = looping.run(|ctx: &WorkerContext| _ = ctx.wait_stop(FAR));
    interval.start();
    event.start();
    queue.start();
    looping.start();
    let job = sup.create_job(Job::every(FAR).after(FAR).name("job"), || ());
    let can = |name: &str| background(addr, name).unwrap()["can"].clone();
    for (name, kind, expected) in [
        ("interval", "interval", json!(["stop", "trigger"])),
        ("event", "event", json!(["stop", "trigger"])),
        ("queue", "queue", json!(["stop"])),
        ("loop", "loop", json!(["stop"])),
        ("job", "job", json!(["stop"])),
    ] {
        assert_eq!(can(name), expected, "{name}");
        assert_eq!(background(addr, name).unwrap()["kind"], kind);
    }
    let perform = |name: &str, verb: &str| {
        let key = &background(addr, name).unwrap()["key"];
        assert!(key.is_u64());
        post(addr, &format!("/api/background/{key}/{verb}")).send()
    };
    assert_eq!(perform("event", "trigger").status, 204);
    eventually(|| event.runs() == 1);
    perform("queue", "trigger").refused(409);
    perform("loop", "start").refused(409);
    perform("job", "start").refused(409);
    for name in ["interval", "event", "queue", "loop"] {
        assert_eq!(perform(name, "stop").status, 204);
        // It is still listed, because its handle lives.
        eventually(|| can(name) == json!(["start"]));
        perform(name, "trigger").refused(409);
        assert_eq!(perform(name, "start").status, 204);
        eventually(|| can(name).as_array().unwrap().contains(&json!("stop")));
    }
    let job_key = background(addr, "job").unwrap()["key"].clone();
    assert_eq!(perform("job", "stop").status, 204);
    eventually(|| background(addr, "job").is_none());
    assert!(!job.is_active());
    assert!(
        [404, 409].contains(&post(addr, &format!("/api/background/{job_key}/start")).send().status)
    );
    let key = background(addr, "event").unwrap()["key"].clone();
    event.stop();
    drop(event);
    eventually(|| background(addr, "event").is_none());
    post(addr, &format!("/api/background/{key}/start")).send().refused(404);
    dashboard.stop();
}

#[test]
fn operation_whose_hook_blocks_is_answered_at_once() {
    let sup = Supervisor::builder().build();
    let dashboard = serve(&sup);
    let gate = Gate::new();
    let waits = gate.clone();
    let worker = EventWorker::builder().name("slow").supervisor(&sup);
    let worker = worker.before_start(move || waits.wait()).run(|_| ());
    let key = background(dashboard.addr(), "slow").unwrap()["key"].clone();
    let start = post(dashboard.addr(), &format!("/api/background/{key}/start")).send();
    assert_eq!(start.status, 204);
    assert_eq!(get(dashboard.addr(), "/api/state").send().status, 200);
    gate.open();
    eventually(|| worker.is_active());
    dashboard.stop();
}

#[test]
fn worker_of_a_stopped_supervisor_cannot_be_started() {
    static FAILED: AtomicBool = AtomicBool::new(false);
    let sup = Supervisor::builder().build();
    let dashboard = serve(&sup);
    let worker = EventWorker::builder().name("late").supervisor(&sup).on_error(|_| {
        FAILED.store(true, Ordering::Relaxed);
        ControlFlow::Continue(())
    });
    let worker = worker.run(|_| ());
    worker.start();
    sup.stop(atasker::StopOptions::new());
    let shown = background(dashboard.addr(), "late").unwrap();
    assert_eq!((&shown["can"], &shown["active"]), (&json!([]), &json!(false)));
    post(dashboard.addr(), &format!("/api/background/{}/start", shown["key"])).send().refused(409);
    assert!(!FAILED.load(Ordering::Relaxed));
    dashboard.stop();
}
