//! Is the information about tasks and supervisors that callers observe correct?

use std::collections::HashSet;
use std::time::Duration;

use atasker::{
    Outcome, PoolConfig, Priority, Supervisor, TaskBuilder, TaskContext, TaskId, TaskStatus,
    TaskType,
};
use atasker_tests::{FAR, Gate, eventually, occupy, pool};
use serde_json::json;

#[test]
fn supervisor_serializes_to_json() {
    let sup = Supervisor::builder()
        .id("seen")
        .thread_pool(PoolConfig::new(2).reserve_normal(1).reserve_high(3))
        .build();
    let json = serde_json::to_value(sup.info()).unwrap();
    assert_eq!(json["id"], "seen");
    assert_eq!(json["active"], false);
    let holders: Vec<_> = (0..6).map(|_| occupy(&sup, Priority::High)).collect();
    let (critical, critical_gate) = occupy(&sup, Priority::Critical);
    let waiting: Vec<_> = [Priority::Low, Priority::Normal, Priority::Normal, Priority::High]
        .map(|priority| TaskBuilder::new(|| ()).priority(priority).supervisor(&sup).start())
        .into();
    sup.create_aloop_multi("jobs", 2);
    let json = serde_json::to_value(sup.info()).unwrap();
    assert_eq!((&json["active"], &json["tasks"]), (&json!(true), &json!(11)));
    let threads = &json["thread_pool"];
    assert_eq!(threads["pool_size"], 2);
    assert_eq!(threads["reserve_normal"], 1);
    assert_eq!(threads["reserve_high"], 3);
    assert_eq!(threads["running"], 6);
    assert_eq!(threads["running_critical"], 1);
    assert_eq!(threads["waiting"], json!({"low": 1, "normal": 2, "high": 1, "critical": 0}));
    assert_eq!(threads["threads"], 7);
    assert_eq!(threads["tasks_run"], 0);
    let counts = ["completed", "failed", "timed_out", "canceled"];
    for count in counts {
        assert_eq!((&threads[count], &json["aloops"][0][count]), (&json!(0), &json!(0)));
    }
    let aloop = ["name", "threads", "running"].map(|field| json["aloops"][0][field].clone());
    assert_eq!(aloop, [json!("jobs"), json!(2), json!(0)]);
    assert!(
        json["mp_pool"].is_object() && json["workers"] == json!([]) && json["jobs"] == json!([])
    );
    for (task, gate) in holders.into_iter().chain([(critical, critical_gate)]) {
        gate.open();
        task.join().unwrap();
    }
    waiting.into_iter().for_each(|task| task.join().unwrap());
    eventually(|| sup.info().thread_pool.tasks_run == 11);
    assert_eq!(sup.info().tasks, 0);
}

#[test]
fn task_serializes_to_json() {
    let sup = pool(1);
    let task = TaskBuilder::with_context(|ctx: &TaskContext| {
        ctx.progress(3, 10);
        ctx.message("copying");
    })
    .name("counts")
    .priority(Priority::High)
    .delay(Duration::from_millis(1))
    .supervisor(&sup)
    .start();
    let before = serde_json::to_value(task.info()).unwrap();
    assert_eq!(before["id"], task.id().to_string());
    assert!(before["time_started"].is_null() || before["status"] != "delayed");
    task.wait().unwrap();
    let json = serde_json::to_value(task.info()).unwrap();
    assert_eq!(json["name"], "counts");
    assert_eq!(json["tt"], "thread");
    assert_eq!(json["priority"], "high");
    assert_eq!(json["status"], "completed");
    assert_eq!(json["progress"], json!({"done": 3, "total": 10, "message": "copying"}));
    assert_eq!(json["outcome"], "ok");
    assert_eq!(json["attempt"], 1);
    assert_eq!(json["worker_pid"], json!(null));
    assert_eq!(json["delay"], json!(0.001));
    for time in ["time_queued", "time_started", "time_completed"] {
        assert!(json[time].as_str().is_some_and(|time| time.ends_with('Z')), "{time}");
    }
}

#[test]
fn task_fields_follow_lifecycle() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let (begun, inner_gate) = (Gate::new(), Gate::new());
    let (begins, waits) = (begun.clone(), inner_gate.clone());
    let task = TaskBuilder::new(move || {
        begins.open();
        waits.wait();
    })
    .supervisor(&sup)
    .start();
    let info = task.info();
    assert_eq!((info.status, info.attempt, info.outcome), (TaskStatus::Queued, 0, None));
    assert!(info.time_started.is_none() && info.time_completed.is_none());
    assert!(!task.is_started() && !task.is_completed());
    gate.open();
    begun.wait();
    let info = task.info();
    assert_eq!((info.status, info.attempt, info.outcome), (TaskStatus::Started, 1, None));
    assert!(info.time_started.unwrap() >= info.time_queued && info.time_completed.is_none());
    assert!(task.is_started() && !task.is_completed());
    inner_gate.open();
    task.wait().unwrap();
    let info = task.info();
    assert_eq!(info.status, TaskStatus::Completed);
    assert_eq!(info.outcome, Some(Outcome::Ok));
    assert!(info.time_completed >= info.time_started);
    assert!(task.is_started() && task.is_completed());
    busy.join().unwrap();
}

#[test]
fn panic_is_failed_and_err_is_completed() {
    let sup = pool(1);
    let failed = sup.spawn(|| panic!("deliberate panic"));
    let _: Result<&(), _> = failed.wait();
    assert_eq!(failed.info().outcome, Some(Outcome::Failed));
    let returned = TaskBuilder::new(|| Err::<(), _>("no")).supervisor(&sup);
    let returned = atasker::__private::returned_err(returned, Some(Result::is_err)).start();
    assert_eq!(returned.wait().unwrap(), &Err("no"));
    assert_eq!(returned.info().outcome, Some(Outcome::ReturnedErr));
    assert!(returned.error().is_none());
}

#[test]
fn tasks_lists_delayed_queued_and_running() {
    let sup = pool(1);
    assert!(sup.tasks().is_empty());
    let done = sup.spawn(|| ());
    done.wait().unwrap();
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let queued = sup.spawn(|| ());
    let delayed = TaskBuilder::new(|| ()).delay(FAR).supervisor(&sup).start();
    let future = sup.spawn_async(std::future::pending::<()>());
    let ids = |infos: Vec<atasker::TaskInfo>| infos.into_iter().map(|i| i.id).collect::<Vec<_>>();
    let all = [busy.id(), queued.id(), delayed.id(), future.id()];
    assert_eq!(ids(sup.tasks()), all, "in launch order");
    assert_eq!(ids(sup.tasks_of(TaskType::Thread)), all[..3]);
    assert_eq!(ids(sup.tasks_of(TaskType::Async)), all[3..]);
    assert!(sup.tasks_of(TaskType::Mp).is_empty());
    let status: Vec<_> = sup.tasks().into_iter().map(|info| info.status).collect();
    assert_eq!(status[..3], [TaskStatus::Started, TaskStatus::Queued, TaskStatus::Delayed]);
    assert!(delayed.cancel());
    future.kill().unwrap();
    future.wait().unwrap_err();
    gate.open();
    busy.join().unwrap();
    queued.join().unwrap();
    assert!(sup.tasks().is_empty());
}

#[test]
fn ended_task_is_not_listed() {
    let sup = pool(2);
    for n in 0..2000 {
        let (id, gone) = match n % 2 {
            0 => {
                let task = sup.spawn(|| ());
                while !task.is_completed() {
                    std::hint::spin_loop();
                }
                (task.id(), sup.task(task.id()).is_none())
            }
            _ => {
                let task = sup.spawn_async(async {});
                task.wait().unwrap();
                (task.id(), sup.task(task.id()).is_none())
            }
        };
        assert!(gone);
        assert!(sup.tasks().iter().all(|info| info.id != id));
        assert_eq!(sup.info().tasks, 0);
    }
}

#[test]
fn timestamps_are_ordered() {
    let sup = pool(3);
    let tasks: Vec<_> = (0..2000)
        .map(|n| {
            let builder = match n % 3 {
                0 => TaskBuilder::new(|| ()),
                1 => TaskBuilder::future(async {}),
                _ => {
                    TaskBuilder::new(|| panic!("deliberate panic")).delay(Duration::from_micros(10))
                }
            };
            builder.supervisor(&sup).start()
        })
        .collect();
    for task in &tasks {
        let _ = task.wait();
        let (started, completed) = (task.time_started().unwrap(), task.time_completed().unwrap());
        assert!(task.time_queued() <= started && started <= completed);
        let info = task.info();
        assert!(info.time_queued <= info.time_started.unwrap());
        assert!(info.time_started <= info.time_completed);
    }
}

#[test]
fn ids_are_unique_and_round_trip_as_text() {
    let (one, two) = (pool(1), pool(1));
    let mut seen = HashSet::new();
    for n in 0..1000 {
        let sup = if n % 2 == 0 { &one } else { &two };
        let task = sup.spawn(|| ());
        let id = task.id();
        assert!(seen.insert(id));
        assert_eq!(id.to_string().parse::<TaskId>().unwrap(), id);
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, format!("\"{id}\""));
        assert_eq!(serde_json::from_str::<TaskId>(&json).unwrap(), id);
    }
    assert!("not an id".parse::<TaskId>().is_err());
    assert!("".parse::<TaskId>().is_err());
}

#[test]
fn status_codes_match_python() {
    let codes = [
        (TaskStatus::Queued, 0),
        (TaskStatus::Delayed, 2),
        (TaskStatus::Started, 100),
        (TaskStatus::Completed, 200),
        (TaskStatus::Canceled, -1),
    ];
    for (status, code) in codes {
        assert_eq!(status.code(), code);
    }
    // In the order of the status codes.
    assert!(codes.iter().all(|(a, x)| codes.iter().all(|(b, y)| a.cmp(b) == x.cmp(y))));
}

#[test]
fn task_info_has_options() {
    let sup = pool(1);
    let task = TaskBuilder::new(|| ())
        .name(String::from("mine"))
        .priority(Priority::Low)
        .supervisor(&sup)
        .start();
    assert_eq!(
        (task.name(), task.priority(), task.tt()),
        ("mine", Priority::Low, TaskType::Thread)
    );
    assert_eq!(sup.spawn_async(async {}).tt(), TaskType::Async);
    assert_eq!(sup.spawn(|| ()).priority(), Priority::Normal);
    assert!(format!("{task:?}").contains("mine"));
}
