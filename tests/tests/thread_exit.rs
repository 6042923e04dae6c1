//! Can destructors of thread-local values, and functions of `atexit`, use the library while a
//! thread or the program ends?

use std::cell::RefCell;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use atasker::{
    FunctionCollection, IntervalWorker, Job, Priority, QueueWorker, StopOptions, Supervisor, Task,
    TaskBuilder, TaskContext, WorkerContext, background_task, current, supervisor, wait_any,
};
use atasker_tests::{FAR, Watchdog, eventually};

/// How often the whole library was used.
static USED: AtomicU32 = AtomicU32::new(0);

#[background_task(tt = "mp")]
fn doubles(n: u32) -> u32 {
    2 * n
}

/// Uses every part of the library.
fn uses_everything(sup: &Supervisor) {
    assert!(current().is_none() || current().is_some());
    assert_eq!(sup.spawn(|| 1).join().unwrap(), 1);
    assert_eq!(sup.spawn_async(async { 2 }).join().unwrap(), 2);
    assert_eq!(doubles::builder(3).supervisor(sup).start().join().unwrap(), 6);
    assert!(sup.spawn(|| panic!("expected panic")).join().unwrap_err().is_panic());
    drop(sup.spawn(|| String::from("dropped")));
    let echoes = TaskBuilder::with_context(|ctx: &TaskContext<u32, u32>| {
        ctx.send(ctx.recv().unwrap()).unwrap();
    });
    let echoes = echoes.priority(Priority::High).supervisor(sup).start();
    echoes.send(4).unwrap();
    assert_eq!(echoes.recv().unwrap(), 4);
    echoes.wait_timeout(FAR).unwrap();
    let never = TaskBuilder::new(|| ()).delay(FAR).supervisor(sup).start();
    let now = sup.spawn(|| ());
    assert_eq!(wait_any!(&[&never, &now]).unwrap().0, 1);
    assert!(never.cancel());
    let reference = sup.spawn(|| String::from("cloned")).to_ref();
    reference.wait().unwrap();
    assert_eq!(reference.result_cloned::<String>().unwrap().unwrap(), "cloned");
    let queue = QueueWorker::builder().supervisor(sup).run(|_: &WorkerContext, _: u32| ());
    queue.start();
    queue.put(1).unwrap();
    queue.restart();
    queue.stop();
    let ticks = IntervalWorker::builder(Duration::from_millis(1)).supervisor(sup);
    let ticks = ticks.run(|_: &WorkerContext| ());
    ticks.start();
    ticks.stop();
    let job = sup.create_job(Job::every(Duration::from_millis(1)).times(1), || ());
    eventually(|| !job.is_active());
    let collection: FunctionCollection<u32> = FunctionCollection::new();
    collection.add("one", 1, || 1);
    assert!(collection.execute().all_ok);
    assert_eq!(sup.create_aloop("at the end").run(async { 5 }), 5);
    assert!(sup.info().active);
    let other = Supervisor::builder().id("other").build();
    other.spawn(|| ()).join().unwrap();
    assert_eq!(other.stop(StopOptions::new()).abandoned, 0);
    USED.fetch_add(1, Ordering::SeqCst);
}

/// Uses everything when its thread ends, and holds a task with a result to drop.
struct AtEnd(Option<Task<String>>);

impl Drop for AtEnd {
    fn drop(&mut self) {
        assert!(self.0.take().is_some_and(|task| task.is_completed()));
        // A pool thread of the default supervisor ends by a stop, which a start follows.
        eventually(|| supervisor().info().active);
        uses_everything(supervisor());
    }
}

thread_local! {
    static FIRST: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
    static LAST: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
}

fn hold(place: &'static std::thread::LocalKey<RefCell<Option<AtEnd>>>) {
    let task = supervisor().spawn(|| String::from("held"));
    task.wait().unwrap();
    // Bound first, so that the destructor of `PLACE` is registered now.
    place.with(|place| *place.borrow_mut() = Some(AtEnd(Some(task))));
}

/// Uses everything in a destructor that runs after the library's own, in one that runs before, or
/// in both. Destructors run in reverse order of first use.
fn use_at_end(which: u32) {
    if which & 1 != 0 {
        // Registered before any destructor of the library.
        FIRST.with(|place| drop(place.borrow_mut().take()));
    }
    uses_everything(supervisor());
    if which & 1 != 0 {
        hold(&FIRST);
    }
    if which & 2 != 0 {
        hold(&LAST);
    }
}

/// Waits until everything was used that often.
fn used(times: u32) {
    eventually(|| USED.load(Ordering::SeqCst) >= times);
}

#[background_task(tt = "mp")]
fn uses_in_a_worker(which: u32) -> u32 {
    std::thread::spawn(move || use_at_end(which)).join().unwrap();
    let pooled = supervisor().spawn(move || use_at_end(which));
    pooled.join().unwrap();
    // The pool thread ends with its pool.
    supervisor().stop(StopOptions::new());
    supervisor().start();
    std::process::id()
}

/// The body of one program, which is this test started again.
fn run(what: &str) {
    let which: u32 = what[what.len() - 1..].parse().unwrap();
    let ends = which.count_ones();
    match &what[..what.len() - 1] {
        "thread" => {
            std::thread::spawn(move || use_at_end(which)).join().unwrap();
            used(1 + ends);
        }
        "pool" => {
            let sup = Supervisor::builder().id("ends").build();
            sup.spawn(move || use_at_end(which)).join().unwrap();
            sup.stop(StopOptions::new());
            used(1 + ends);
        }
        "loop" => {
            let sup = Supervisor::builder().id("ends").build();
            // This thread may not block: its destructors use another thread.
            let on_the_loop = sup.spawn_async(async move {
                std::thread::spawn(move || use_at_end(which)).join().unwrap();
            });
            on_the_loop.join().unwrap();
            sup.stop(StopOptions::new());
            used(1 + ends);
        }
        "worker" => {
            let task = uses_in_a_worker(which);
            assert_ne!(task.join().unwrap(), std::process::id());
        }
        "main" => use_at_end(which),
        "atexit" => {
            extern "C" fn at_exit() {
                uses_everything(supervisor());
                println!("used at exit");
            }
            // Before or after any function of the library.
            let register = || {
                // SAFETY: a function without arguments that does not unwind: a panic in it aborts,
                // which the test detects.
                assert_eq!(unsafe { libc::atexit(at_exit) }, 0);
            };
            if which & 1 != 0 {
                register();
            }
            use_at_end(which);
            if which & 2 != 0 {
                register();
            }
        }
        other => panic!("{other}"),
    }
    println!("the end");
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(what) = arguments.iter().position(|argument| argument == "--run") {
        return run(&arguments[what + 1]);
    }
    if arguments.iter().any(|argument| argument == "--list") {
        return println!("thread_ends: test");
    }
    let mut count = 0;
    for what in ["thread", "pool", "loop", "worker", "main", "atexit"] {
        for which in 0..4_u32 {
            let _watchdog = Watchdog::new(format!("{what} {which}"), FAR);
            let program = std::env::current_exe().unwrap();
            let output =
                Command::new(program).args(["--run", &format!("{what}{which}")]).output().unwrap();
            let (out, err) = (
                String::from_utf8_lossy(&output.stdout).into_owned(),
                String::from_utf8_lossy(&output.stderr).into_owned(),
            );
            assert!(output.status.success(), "{what} {which}: {:?}\n{out}\n{err}", output.status);
            assert!(out.contains("the end"), "{what} {which}: {out}\n{err}");
            let at_exit = out.matches("used at exit").count() as u32;
            assert_eq!(at_exit, if what == "atexit" { which.count_ones() } else { 0 }, "{err}");
            count += 1;
        }
    }
    println!("test result: ok. {count} programs came to their ends");
}
