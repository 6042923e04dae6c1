//! Is there never more than one live task per key, however many threads launch?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use atasker::{Supervisor, TaskBuilder, TaskError};
use atasker_tests::{FAR, Watchdog, pool};

const KEYS: usize = 3;

/// For each key, the number of tasks that are between their launch and their end.
#[derive(Default)]
struct Live {
    running: [AtomicUsize; KEYS],
    runs: AtomicU32,
}

impl Live {
    fn run(&self, key: usize) {
        let others = self.running[key].fetch_add(1, Ordering::SeqCst);
        assert_eq!(others, 0, "two tasks with the key {key} run");
        self.runs.fetch_add(1, Ordering::SeqCst);
        std::thread::yield_now();
        self.running[key].fetch_sub(1, Ordering::SeqCst);
    }
}

fn builder(sup: &Supervisor, live: &Arc<Live>, key: usize) -> TaskBuilder<()> {
    let live = Arc::clone(live);
    TaskBuilder::new(move || live.run(key)).name("job").unique(key).supervisor(sup)
}

#[test]
fn at_most_one_task_per_key_is_live() {
    const LAUNCHES: usize = 10_000;
    let watchdog = Watchdog::new("launches of unique tasks", 3 * FAR);
    let sup = pool(8);
    watchdog.watch(&sup);
    let live = Arc::new(Live::default());
    let won = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (sup, live, won) = (&sup, &live, &won);
            scope.spawn(move || {
                for n in 0..LAUNCHES {
                    let builder = builder(sup, live, (n + thread) % KEYS);
                    if n % 2 == 0 {
                        match builder.start_unique() {
                            Ok(task) => {
                                won.fetch_add(1, Ordering::SeqCst);
                                if n % 3 == 0 {
                                    task.join().expect("it had the key");
                                }
                            }
                            // It is one of this function, and ends.
                            Err(holder) if n % 4 == 0 => holder.wait().unwrap(),
                            Err(_) => {}
                        }
                    } else {
                        match builder.start().join() {
                            Ok(()) => _ = won.fetch_add(1, Ordering::SeqCst),
                            Err(TaskError::Duplicate { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            });
        }
    });
    sup.stop(atasker::StopOptions::new());
    assert_eq!(live.runs.load(Ordering::SeqCst), won.load(Ordering::SeqCst));
    // Each thread wins again and again, because keys are free in between.
    assert!(won.load(Ordering::SeqCst) > 100);
    sup.start();
    for key in 0..KEYS {
        builder(&sup, &live, key).start_unique().expect("all keys are free").join().unwrap();
    }
}

#[test]
fn key_is_free_for_a_thread_that_sees_the_end() {
    let sup = pool(4);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let sup = &sup;
            scope.spawn(move || {
                for n in 0..2_000 {
                    let task = TaskBuilder::new(move || n).name("own").unique(thread);
                    let task = task.supervisor(sup).start_unique();
                    let task = task.expect("the end of the previous task was visible");
                    while n % 2 == 0 && !task.is_completed() {
                        std::thread::yield_now();
                    }
                    assert_eq!(task.join().unwrap(), n);
                }
            });
        }
    });
}

#[test]
fn cancels_and_expiries_leave_no_key_behind() {
    let _watchdog = Watchdog::new("cancels of unique tasks", 3 * FAR);
    let sup = pool(2);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Cancels tasks in the middle of their launch.
            while !over.load(Ordering::SeqCst) {
                for info in sup.tasks() {
                    if let Some(task) = sup.task(info.id) {
                        task.cancel();
                    }
                }
            }
        });
        let launchers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    for n in 0..2_000u64 {
                        let builder = TaskBuilder::new(|| ()).name("job").unique(n % 3);
                        let builder = builder.expires(Duration::from_micros(n % 50));
                        let _ = builder.supervisor(&sup).start().join();
                    }
                })
            })
            .collect();
        launchers.into_iter().for_each(|launcher| launcher.join().unwrap());
        over.store(true, Ordering::SeqCst);
    });
    for key in 0..3u64 {
        let task = TaskBuilder::new(|| 1).name("job").unique(key).supervisor(&sup).start_unique();
        assert_eq!(task.expect("all keys are free").join().unwrap(), 1);
    }
}
