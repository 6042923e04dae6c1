//! Options of a task that say when it is run again, when it expires, and when it is one too many.

use std::hash::Hash;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::launch::TaskBuilder;
use crate::supervisor::Core;
use crate::task::TaskArc;
use crate::task::handle::Task;
use crate::task::reference::TaskRef;
use crate::task::unique::{Refused, slot_of};

impl<R: Send + 'static, I: Send + 'static, O: Send + 'static> TaskBuilder<R, I, O> {
    /// Sets pauses before retries that grow with each attempt. The last call of this and of
    /// [`retry_delay`](Self::retry_delay) applies.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::Duration;
    /// use atasker::{Backoff, TaskBuilder};
    /// let mut failures = 2;
    /// let task = TaskBuilder::repeatable(move || {
    ///     failures -= 1;
    ///     if failures > 0 { Err("not yet") } else { Ok("done") }
    /// })
    /// .retries(5)
    /// .retry_if(|result| result.is_err())
    /// .backoff(Backoff::exponential(Duration::from_millis(1), Duration::from_secs(30)))
    /// .start();
    /// assert_eq!(task.join().unwrap(), Ok("done"));
    /// ```
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.header_mut().policies_mut().backoff = Some(backoff);
        self
    }

    /// Lets the task expire if its first attempt has not begun this long after its launch, its
    /// [`delay`](Self::delay) not counted.
    ///
    /// The task then ends with [`TaskError::Expired`](crate::TaskError::Expired), whose `detail`
    /// says what it waited for, and never runs. It expires wherever it waits: in the queue, while
    /// its launch waits for room in a full queue, or in a worker process that has not begun it.
    /// An attempt that has begun does not expire, and neither do further ones.
    ///
    /// A remote task expires in its cluster, also when this process has ended. The time is measured
    /// from the moment at which the broker has stored the call, and the default is what the cluster's
    /// setting `keep` says.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::sync::mpsc;
    /// use std::time::Duration;
    /// use atasker::{PoolConfig, Supervisor, TaskBuilder};
    /// let sup = Supervisor::builder().thread_pool(PoolConfig::new(1)).build();
    /// let (done, wait) = mpsc::channel::<()>();
    /// let busy = sup.spawn(move || wait.recv()); // occupies the only slot
    /// let task = TaskBuilder::new(|| 42)
    ///     .expires(Duration::from_millis(10))
    ///     .supervisor(&sup)
    ///     .start();
    /// let error = task.join().unwrap_err();
    /// assert!(error.is_expired());
    /// assert!(error.to_string().contains("a slot of the thread pool"));
    /// # drop(done);
    /// # let _ = busy.join().unwrap();
    /// ```
    pub fn expires(mut self, after: Duration) -> Self {
        self.header_mut().policies_mut().expires = Some(after);
        self
    }

    /// Makes the task unique: while a task of the same name and an equal key has not ended in the
    /// supervisor, a launch starts nothing.
    ///
    /// [`start_unique`](Self::start_unique) then returns a reference to that task. With
    /// [`start`](Self::start), the new task ends with
    /// [`TaskError::Duplicate`](crate::TaskError::Duplicate). The key is free again before the end
    /// of its task is visible to any handle, however the task ends. Callbacks run before the end,
    /// so the key is not free there.
    ///
    /// The name is that of the function with the attribute, or what [`name`](Self::name) sets; tasks
    /// built from closures share the name `task` otherwise. Keys of different types are never
    /// equal. `Hash` and `Eq` of the key are called by the
    /// thread that launches. If one of them panics, the task ends with that panic as its error.
    /// Calling this again replaces the key.
    ///
    /// The key of a remote task holds in the whole namespace of its cluster. It is compared by a hash
    /// with 128 bits, so `Hash` must not depend on the process, and keys of different types with the
    /// same hash are equal. The key `unique` of the attribute hashes the encoding of its parts.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::sync::mpsc;
    /// use atasker::TaskBuilder;
    /// let (done, wait) = mpsc::channel::<()>();
    /// let first = TaskBuilder::new(move || wait.recv()).name("sync").unique(42).start();
    /// let second = TaskBuilder::new(|| ()).name("sync").unique(42).start();
    /// assert!(second.join().unwrap_err().is_duplicate());
    /// let other = TaskBuilder::new(|| ()).name("sync").unique(43).start();
    /// other.join().unwrap();
    /// # drop(done);
    /// # let _ = first.join().unwrap();
    /// ```
    pub fn unique(mut self, key: impl Hash + Eq + Send + Sync + 'static) -> Self {
        self.header_mut().policies_mut().unique.set(key);
        self
    }

    /// Launches the task, unless a task of the same name and [`unique`](Self::unique) key has not
    /// ended. Without a key, this is [`start`](Self::start).
    ///
    /// # Errors
    ///
    /// Returns a reference to the task that holds the key. Nothing was launched: function,
    /// arguments and callbacks are dropped, and nothing is counted, logged or reported to
    /// observers.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::sync::mpsc;
    /// use atasker::TaskBuilder;
    /// let (done, wait) = mpsc::channel::<()>();
    /// let sync = |user: u32, wait: Option<mpsc::Receiver<()>>| {
    ///     TaskBuilder::new(move || wait.map(|wait| wait.recv()).is_some()).name("sync").unique(user)
    /// };
    /// let first = sync(7, Some(wait)).start_unique().expect("the key is free");
    /// let held = sync(7, None).start_unique().expect_err("the first one has not ended");
    /// assert_eq!(held.id(), first.id());
    /// drop(done);
    /// assert!(first.join().unwrap());
    /// let next = sync(7, None).start_unique().expect("the key is free again");
    /// assert!(!next.join().unwrap());
    /// ```
    ///
    /// For a remote task, the key holds in the whole namespace of its cluster. This blocks until the
    /// cluster has answered, for at most five seconds, and the returned reference is a handle of the
    /// call that holds the key, whichever process has launched it. Without an answer in time, on an
    /// aloop, and for a task with a delay, this is [`start`](Self::start). Such a launch is counted
    /// and reported.
    pub fn start_unique(self) -> Result<Task<R, I, O>, TaskRef> {
        #[cfg(feature = "remote")]
        if self.is_elsewhere() {
            return self.start_unique_elsewhere();
        }
        self.start_if(claim)
    }
}

/// Claims the key of a task that is about to be launched. The launch reports any other problem.
fn claim(core: &Core, task: &TaskArc) -> Result<(), TaskRef> {
    loop {
        match core.unique.claim(task) {
            Ok(()) => return Ok(()),
            Err(Refused::Failed(error)) => {
                if let Some(slot) = slot_of(task.header()) {
                    slot.fail(error);
                }
                return Ok(());
            }
            Err(Refused::Held(holder)) => {
                let holder = TaskRef::new(holder);
                // Checked after the reference exists, which keeps the outcome from then on. If the
                // task has ended, its key is free.
                if !holder.is_completed() {
                    return Err(holder);
                }
            }
        }
    }
}
