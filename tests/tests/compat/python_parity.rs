//! Does the behavior that the test program of the original Python libraries checks hold here too?

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atasker::compat::{Locker, g};
use atasker::{
    FunctionCollection, Job, Priority, Supervisor, TaskCollection, TaskType, WorkerContext,
    background, background_task, background_worker, supervisor, wait_completed,
};
use atasker_tests::eventually;

#[test]
fn thread_local_values() {
    #[background_task]
    fn f() -> i32 {
        g().set("ttt", 333);
        g().get("test").unwrap_or(222)
    }
    g().set("test", 1);
    g().clear("test");
    assert!(!g().has("test"));
    g().set("test", 999);
    assert_eq!(f().join().unwrap(), 222);
    assert_eq!(g().get::<i32>("ttt"), None);
}

#[test]
fn collections() {
    let sum = Arc::new(AtomicU32::new(0));
    let add = |n| {
        let sum = Arc::clone(&sum);
        move || sum.fetch_add(n, Ordering::SeqCst)
    };
    let functions = FunctionCollection::new();
    functions.add("f1", Priority::Normal, add(1));
    functions.add("f2", Priority::Normal, add(2));
    assert!(functions.execute().all_ok);
    assert_eq!(sum.load(Ordering::SeqCst), 3);
    let tasks = TaskCollection::new();
    tasks.add("f1", Priority::Normal, add(1));
    tasks.add("f2", 50, add(2));
    assert!(tasks.execute().all_ok);
    assert_eq!(sum.load(Ordering::SeqCst), 6);
}

#[test]
fn every_kind_of_task() {
    #[background_task]
    fn annotated(a: i32, x: i32) -> i32 {
        a + x
    }
    fn plain(a: i32, x: i32) -> i32 {
        a + x
    }
    #[background_task(tt = "mp")]
    fn in_a_process(a: i32, x: i32) -> i32 {
        a + x
    }
    let reported = Arc::new(Mutex::new(None));
    let callback = Arc::clone(&reported);
    let tasks = vec![
        annotated(1, 2),
        background!(plain(2, 3)),
        background!(plain(3, 4), priority = "critical"),
        in_a_process(3, 7),
        background!(
            plain(4, 7),
            tt = "mp",
            callback = move |result| {
                *callback.lock().unwrap() = result.as_ref().ok().copied();
            }
        ),
    ];
    assert_eq!(tasks[3].tt(), TaskType::Mp);
    assert_eq!(wait_completed!(tasks).unwrap(), [3, 5, 7, 10, 11]);
    assert_eq!(*reported.lock().unwrap(), Some(11));
    let (one, other) = (background!(|| 777), background!(|| "111"));
    assert_eq!(wait_completed!((one, other)).unwrap(), (777, "111"));
    assert_eq!(wait_completed!(background!(|| 999)).unwrap(), 999);
}

#[test]
fn every_kind_of_worker() {
    #[background_worker]
    fn again(ctx: &WorkerContext) {
        ctx.wait_stop(Duration::from_millis(1));
    }
    #[background_worker(interval = "20ms")]
    fn interval() {}
    #[background_worker(interval = "20ms")]
    async fn async_interval() {}
    #[background_worker(interval = "20ms", tt = "mp", process_result = seen)]
    fn mp_interval() -> u32 {
        std::process::id()
    }
    static OTHER_PROCESS: AtomicBool = AtomicBool::new(false);
    fn seen(pid: &u32) {
        OTHER_PROCESS.store(*pid != std::process::id(), Ordering::SeqCst);
    }
    let (a, b, c, d) = (again(), interval(), async_interval(), mp_interval());
    for worker in [&*a, &*b, &*c, &*d] {
        assert!(worker.start());
    }
    for worker in [&*a, &*b, &*c, &*d] {
        eventually(|| worker.runs() >= 5);
        worker.stop();
        assert!(worker.is_stopped());
    }
    assert!(OTHER_PROCESS.load(Ordering::SeqCst));
}

#[test]
fn queue_and_event_workers() {
    static SUM: AtomicU32 = AtomicU32::new(0);
    static EVENTS: AtomicU32 = AtomicU32::new(0);
    #[background_worker(queue)]
    fn queue(a: u32) {
        SUM.fetch_add(a, Ordering::SeqCst);
    }
    #[background_worker(event)]
    fn event() {
        EVENTS.fetch_add(1, Ordering::SeqCst);
    }
    let (q, e) = (queue(), event());
    q.start();
    e.start();
    for item in [2, 3, 4] {
        q.put(item).unwrap();
    }
    for n in 1..=2 {
        e.trigger();
        eventually(|| e.runs() == n);
    }
    eventually(|| q.runs() == 3);
    q.stop();
    e.stop();
    assert_eq!((SUM.load(Ordering::SeqCst), EVENTS.load(Ordering::SeqCst)), (9, 2));
}

#[test]
fn lock_times_out() {
    static LOCK: Locker = Locker::new("test");
    let critical = Arc::new(AtomicBool::new(false));
    let reported = Arc::clone(&critical);
    let lock = Arc::new(
        Locker::new("test")
            .timeout(Duration::from_millis(20))
            .on_critical(move || reported.store(true, Ordering::SeqCst)),
    );
    assert_eq!(LOCK.with(|| LOCK.with(|| 1)), Some(Some(1)));
    let guard = lock.lock().unwrap();
    let other = Arc::clone(&lock);
    let refused = std::thread::spawn(move || other.with(|| ()).is_none()).join().unwrap();
    drop(guard);
    assert!(refused && critical.load(Ordering::SeqCst));
    assert_eq!(lock.with(|| 2), Some(2));
}

#[test]
fn loop_runs_tasks() {
    let sup = Supervisor::builder().build();
    let test2 = sup.create_aloop("test2");
    let task = test2.spawn(async { std::thread::current().name().map(str::to_owned) });
    assert_eq!(task.join().unwrap().unwrap(), format!("supervisor_{}_aloop_test2", sup.id()));
    assert_eq!(test2.run(async { 2 * 2 }), 4);
    assert_eq!(supervisor().id(), "default");
}

#[test]
fn jobs_run_until_canceled() {
    let sup = Supervisor::builder().build();
    let every = || Job::every(Duration::from_millis(10)).aloop("jobs");
    let (first, second) =
        (sup.create_job(every(), async || ()), sup.create_job(every(), async || ()));
    eventually(|| first.runs() > 9 && second.runs() > 9);
    second.cancel();
    eventually(|| sup.info().jobs.len() == 1);
    let (one, two) = (first.runs(), second.runs());
    eventually(|| first.runs() > one + 3);
    assert_eq!(second.runs(), two);
}
