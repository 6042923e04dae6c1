//! Shared helpers of the integration tests.

use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub mod collected;
pub mod events;
pub mod forks;
pub mod mp;
pub mod processes;
pub mod random;
pub mod scratch;
pub mod spans;

use atasker::{PoolConfig, Priority, Supervisor, Task, TaskBuilder};

/// The time limit for everything in the tests: a longer wait indicates a deadlock.
pub const FAR: Duration = Duration::from_secs(60);

/// A gate that stays closed until it is opened. Waiting at a gate is not a wait of the library: a
/// pool thread keeps its slot.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub fn is_open(&self) -> bool {
        *self.0.0.lock().unwrap()
    }

    /// Blocks until the gate is open.
    ///
    /// # Panics
    /// If the gate is not opened within [`FAR`].
    #[track_caller]
    pub fn wait(&self) {
        let shut = self.0.0.lock().unwrap();
        let (open, _) = self.0.1.wait_timeout_while(shut, FAR, |open| !*open).unwrap();
        assert!(*open, "the gate was not opened");
    }
}

/// A supervisor with that many slots and no reserves.
pub fn pool(slots: usize) -> Supervisor {
    Supervisor::builder().id("t").thread_pool(PoolConfig::new(slots)).build()
}

/// A supervisor with this thread pool.
pub fn pool_with(config: PoolConfig) -> Supervisor {
    Supervisor::builder().id("t").thread_pool(config).build()
}

/// Occupies a slot until the gate is opened. The task has begun when this returns.
pub fn occupy(sup: &Supervisor, priority: Priority) -> (Task<()>, Gate) {
    let (begun, gate) = (Gate::new(), Gate::new());
    let (begins, waits) = (begun.clone(), gate.clone());
    let task = TaskBuilder::new(move || {
        begins.open();
        waits.wait();
    })
    .name("occupying")
    .priority(priority)
    .supervisor(sup)
    .start();
    begun.wait();
    (task, gate)
}

/// A deadline of [`FAR`]. The deadline is extended a few times while the machine delays a thread or
/// a worker process: on a machine that is busy, or short of memory or disk, a process may take
/// minutes to start or end.
pub struct Patience {
    end: Instant,
    left: u32,
}

impl Patience {
    pub fn new() -> Self {
        Patience { end: Instant::now() + FAR, left: 5 }
    }

    /// Whether the deadline has expired: nothing makes progress, or it was extended too often.
    pub fn is_over(&mut self) -> bool {
        if Instant::now() < self.end {
            return false;
        }
        if self.left == 0 || !processes::is_held_up() {
            return true;
        }
        *self = Patience { left: self.left - 1, ..Patience::new() };
        false
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self::new()
    }
}

/// Polls until the condition holds, where there is no event to wait for.
///
/// # Panics
/// If the condition never holds.
#[track_caller]
pub fn eventually(mut so: impl FnMut() -> bool) {
    let mut patience = Patience::new();
    while !so() {
        assert!(!patience.is_over(), "the condition did not become true\n{}", report(&[]));
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The state of every task and worker process of these supervisors, and of every thread and
/// descriptor of this process: for a test whose deadline has expired.
pub fn report(supervisors: &[Supervisor]) -> String {
    let mut text = String::new();
    for sup in supervisors {
        // The pool first: the shared page is shown as it was before the other queries.
        text += &format!("{}{:#?}\n", atasker::__private::show_mp_pool(sup), sup.info());
        for task in sup.tasks() {
            text += &format!("task {} {}: {task:?}\n", task.id, task.name);
        }
    }
    for (number, target) in processes::open_descriptors() {
        text += &format!("descriptor {number}: {target}\n");
    }
    text + &processes::threads()
}

/// Aborts the test program, after it has printed the state of every thread of the program and of
/// its worker processes, unless it is dropped in time.
pub struct Watchdog {
    watched: Arc<Mutex<Vec<Supervisor>>>,
    thread: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl Watchdog {
    /// Watches `what`, which must end within `limit`.
    pub fn new(what: impl Into<String>, limit: Duration) -> Self {
        let (sender, dropped) = mpsc::channel::<()>();
        let what = what.into();
        let watched = Arc::<Mutex<Vec<Supervisor>>>::default();
        let thread = std::thread::spawn({
            let watched = Arc::clone(&watched);
            move || {
                if dropped.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                    // The threads first, because a query of a supervisor may block.
                    eprintln!("not finished within {limit:?}: {what}\n{}", processes::threads());
                    eprintln!("{}", report(&watched.lock().unwrap()));
                    std::process::abort();
                }
            }
        });
        Watchdog { watched, thread: Some((sender, thread)) }
    }

    /// Also reports on this supervisor. The watchdog holds a handle of it until it is dropped.
    pub fn watch(&self, sup: &Supervisor) {
        self.watched.lock().unwrap().push(sup.clone());
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.thread.take() {
            drop(sender);
            // No thread is left behind.
            let _ = thread.join();
        }
    }
}
