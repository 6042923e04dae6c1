//! Shared helpers of the integration tests.

use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub mod collected;
pub mod processes;

use atasker::{PoolConfig, Priority, Supervisor, Task, TaskBuilder};

/// Nothing here takes that long: whoever still waits then is in a deadlock.
pub const FAR: Duration = Duration::from_secs(60);

/// A door that is shut until somebody opens it. To wait at it is none of the library's waits: a
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

    /// # Panics
    /// If nobody ever opens it.
    #[track_caller]
    pub fn wait(&self) {
        let shut = self.0.0.lock().unwrap();
        let (open, _) = self.0.1.wait_timeout_while(shut, FAR, |open| !*open).unwrap();
        assert!(*open, "nobody opened the gate");
    }
}

/// A supervisor with so many slots and no reserves.
pub fn pool(slots: usize) -> Supervisor {
    Supervisor::builder().id("t").thread_pool(PoolConfig::new(slots)).build()
}

/// Takes a slot until the gate is opened; has begun when this returns.
pub fn occupy(sup: &Supervisor, priority: Priority) -> (Task<()>, Gate) {
    let (begun, gate) = (Gate::new(), Gate::new());
    let (begins, waits) = (begun.clone(), gate.clone());
    let task = TaskBuilder::new(move || {
        begins.open();
        waits.wait();
    })
    .name("occupies")
    .priority(priority)
    .supervisor(sup)
    .start();
    begun.wait();
    (task, gate)
}

/// For what has no event to wait for: looks until it is so.
///
/// # Panics
/// If it never is.
#[track_caller]
pub fn eventually(mut so: impl FnMut() -> bool) {
    let end = Instant::now() + FAR;
    while !so() {
        assert!(Instant::now() < end, "it never came to that");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Ends the whole test program, and prints what every thread of it and of its worker processes
/// does, if it is not dropped in time.
pub struct Watchdog(Option<(mpsc::Sender<()>, JoinHandle<()>)>);

impl Watchdog {
    /// `what` is under way, and takes so long at most.
    pub fn new(what: impl Into<String>, limit: Duration) -> Self {
        let (sender, dropped) = mpsc::channel::<()>();
        let what = what.into();
        let thread = std::thread::spawn(move || {
            if dropped.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("not over in {limit:?}: {what}\n{}", processes::threads());
                std::process::abort();
            }
        });
        Watchdog(Some((sender, thread)))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.0.take() {
            drop(sender);
            // It leaves no trace.
            let _ = thread.join();
        }
    }
}
