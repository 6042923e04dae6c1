//! After the program forks, do library calls in the fork fail instead of blocking, and is the
//! original process unaffected by anything that the fork does?

use std::io::Read;
use std::os::fd::FromRawFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use atasker::{
    FunctionCollection, IntervalWorker, Job, JobHandle, MpPoolConfig, PoolConfig, QueueWorker,
    StopOptions, Supervisor, Task, TaskBuilder, TaskCollection, TaskContext, TaskSet,
    WorkerContext, as_completed, background_task, bounded, bounded_by, supervisor, wait_any,
    wait_completed,
};
use atasker_tests::forks::{fork, refused, wait_for};
use atasker_tests::mp::pool_of;
use atasker_tests::{FAR, Gate, Watchdog, checks, eventually};

/// The result of the fork: 0, or the line of the failed check.
type Checks = fn(&Program) -> i32;

/// A program that uses every part of the library, under load.
struct Program {
    sup: Supervisor,
    thread: Task<u32, u32, u32>,
    future: Task<u32>,
    process: Task<u32>,
    delayed: Task<u32>,
    ended: Task<u32>,
    chained: Task<u32>,
    set: Mutex<TaskSet<u32>>,
    queue: QueueWorker<u32>,
    ticks: IntervalWorker,
    job: JobHandle,
    gate: Gate,
}

#[background_task(tt = "mp")]
fn doubles(n: u32) -> u32 {
    2 * n
}

#[background_task(tt = "mp")]
fn waits_for(path: &str) -> u32 {
    while !std::path::Path::new(path).exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    3
}

impl Program {
    fn new(path: &str) -> Program {
        let sup = Supervisor::builder()
            .id("forked")
            .thread_pool(PoolConfig::new(6))
            .mp_pool(pool_of(2))
            .build();
        let gate = Gate::new();
        let waits = gate.clone();
        let thread = TaskBuilder::with_context(move |ctx: &TaskContext<u32, u32>| {
            waits.wait();
            let _ = ctx.send(5);
            ctx.recv().unwrap()
        });
        let waits = gate.clone();
        let future = TaskBuilder::future(async move {
            while !waits.is_open() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            2
        });
        let queue = QueueWorker::builder().supervisor(&sup).queue_limit(2);
        let waits = gate.clone();
        let queue = queue.run(move |_: &WorkerContext, _: u32| waits.wait());
        queue.start();
        let ticks = IntervalWorker::builder(Duration::from_millis(1)).supervisor(&sup);
        let ticks = ticks.run(|_: &WorkerContext| ());
        ticks.start();
        let ended = sup.spawn(|| 7);
        ended.wait().unwrap();
        let gated = |n| {
            let waits = gate.clone();
            sup.spawn(move || {
                waits.wait();
                n
            })
        };
        let mut set: TaskSet<u32> = [gated(8), sup.spawn(|| 9)].into_iter().collect();
        // Its waker is registered.
        assert_eq!(set.join_next().unwrap().1, Ok(9));
        let delayed = TaskBuilder::new(|| 4).delay(Duration::from_secs(3600));
        Program {
            thread: thread.supervisor(&sup).start(),
            future: future.supervisor(&sup).start(),
            process: waits_for::builder(path).supervisor(&sup).start(),
            delayed: delayed.supervisor(&sup).start(),
            ended,
            chained: gated(10).chain(|n| n + 1),
            set: Mutex::new(set),
            queue,
            ticks,
            job: sup.create_job(Job::every(Duration::from_millis(1)), || ()),
            gate,
            sup,
        }
    }

    /// Asserts that everything continues and completes.
    fn completes(self, path: &str) {
        let runs = self.job.runs();
        eventually(|| self.job.runs() > runs + 3);
        self.gate.open();
        std::fs::write(path, "").unwrap();
        self.thread.send(1).unwrap();
        assert_eq!(self.thread.recv().unwrap(), 5);
        assert_eq!(self.thread.join().unwrap(), 1);
        assert_eq!(self.future.join().unwrap(), 2);
        assert_eq!(self.process.join().unwrap(), 3);
        assert!(self.delayed.cancel());
        assert_eq!(self.ended.join().unwrap(), 7);
        assert_eq!(self.chained.join().unwrap(), 11);
        assert_eq!(self.set.lock().unwrap().join_next().unwrap().1, Ok(8));
        assert_eq!(doubles::builder(4).supervisor(&self.sup).start().join().unwrap(), 8);
        assert!(self.ticks.is_active());
        assert_eq!(self.sup.stop(StopOptions::new()).abandoned, 0);
        std::fs::remove_file(path).unwrap();
    }
}

/// Threads that launch, wait and query continuously, so that a fork finds locks held.
struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn on(sup: &Supervisor) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let work = |kind: u32| {
            let (sup, stop) = (sup.clone(), Arc::clone(&stop));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    match kind {
                        0 => assert_eq!(sup.spawn(|| 1).chain(|n| n + 1).join().unwrap(), 2),
                        1 => assert_eq!(sup.spawn_async(async { 2 }).join().unwrap(), 2),
                        2 => {
                            let task = doubles::builder(3).supervisor(&sup).start();
                            assert_eq!(task.join().unwrap(), 6);
                        }
                        _ => {
                            let delay = Duration::from_micros(100);
                            let task = TaskBuilder::new(|| 1).delay(delay).supervisor(&sup);
                            drop(task.start());
                            let _ = (sup.info(), Supervisor::builder().build());
                        }
                    }
                }
            })
        };
        let threads = (0..4).map(work).collect();
        Load { stop, threads }
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

fn panics<T>(f: impl FnOnce() -> T) -> bool {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_err()
}

/// Launches of all kinds.
fn launches(program: &Program) -> i32 {
    let sup = &program.sup;
    static COLLECTED: TaskCollection<u32> = TaskCollection::new();
    COLLECTED.add("one", 1, || 1);
    let called = Arc::new(AtomicU32::new(0));
    let calls = Arc::clone(&called);
    let callback = TaskBuilder::new(|| 1).on_complete(move |result| {
        calls.store(1 + u32::from(result.is_err()), Ordering::SeqCst);
    });
    let queue = QueueWorker::builder().supervisor(sup).run(|_: &WorkerContext, _: u32| ());
    checks![
        refused(sup.spawn(|| 1).join()),
        refused(sup.spawn_async(async { 1 }).join()),
        refused(doubles::builder(1).supervisor(sup).start().join()),
        refused(doubles(1).join()),
        refused(TaskBuilder::new(|| 1).start().join()),
        refused(TaskBuilder::new(|| 1).delay(FAR).supervisor(sup).start().join()),
        refused(TaskBuilder::repeatable(|| 1).retries(3).supervisor(sup).start().join()),
        refused(callback.supervisor(sup).start().join()),
        called.load(Ordering::SeqCst) == 2,
        refused(supervisor().spawn(|| 1).join()),
        refused(Supervisor::builder().build().spawn(|| 1).join()),
        refused(futures_lite::future::block_on(sup.spawn(|| 1))),
        !COLLECTED.execute().all_ok,
        !queue.start(),
        queue.put(1).is_err(),
        !sup.create_job(Job::every(FAR), || ()).is_active(),
        !sup.start(),
        !sup.is_active(),
        panics(|| program.sup.create_aloop("new")),
        refused(sup.try_create_aloop("new")),
        sup.aloop("default").is_none(),
    ]
}

/// Waits, messages and queries about the program's tasks.
fn waits(program: &Program) -> i32 {
    let Program { sup, thread, future, process, delayed, ended, .. } = program;
    let second = Duration::from_secs(3600);
    let reference = thread.to_ref();
    let both = [future, process];
    static DIRECT: FunctionCollection<u32> = FunctionCollection::new();
    checks![
        refused(thread.wait()),
        refused(future.wait()),
        refused(process.wait()),
        refused(delayed.wait()),
        refused(reference.wait()),
        thread.wait_timeout(second).is_err(),
        ended.wait().is_ok_and(|n| *n == 7),
        ended.to_ref().result_cloned::<u32>().is_some_and(|n| n.unwrap() == 7),
        wait_completed!(&both[..]).is_err(),
        wait_any!(&both, timeout = second).is_err(),
        as_completed(both).all(|(_, outcome)| refused(outcome)),
        thread.send(1).is_err(),
        thread.try_send(1).is_err(),
        thread.recv().is_err(),
        thread.recv_timeout(second).is_err(),
        futures_lite::future::block_on(thread.recv_async()).is_err(),
        !thread.cancel(),
        process.kill().is_err(),
        {
            thread.stop();
            future.stop();
            let _ = (thread.info(), process.info(), process.progress(), sup.info());
            sup.tasks().is_empty() && sup.task(thread.id()).is_none()
        },
        sup.stop(StopOptions::new()).completed == 0,
        futures_lite::future::block_on(sup.stop_async(StopOptions::new())).completed == 0,
        {
            sup.block();
            sup.set_thread_pool(PoolConfig::new(1));
            sup.set_mp_pool(pool_of(1));
            sup.on_queued_for(second, |_| ());
            DIRECT.add("direct", 1, || 1);
            let _ = DIRECT.execute();
            true
        },
        sup.thread_pool() == PoolConfig::default(),
        sup.mp_pool() == MpPoolConfig::default(),
        program.queue.put(1).is_err(),
        program.queue.try_put(1).is_err(),
        futures_lite::future::block_on(program.queue.put_async(1)).is_err(),
        {
            program.queue.stop();
            program.ticks.stop();
            program.ticks.restart();
            program.job.cancel();
            !program.job.is_active() && !program.ticks.is_active()
        },
    ]
}

/// Chained tasks, sets, streams, and launches that wait as futures.
fn chains_and_sets(program: &Program) -> i32 {
    use futures_lite::StreamExt;
    use futures_lite::future::block_on;
    let Program { sup, chained, set, .. } = program;
    let builders = || (0..3).map(|_| TaskBuilder::new(|| 1_u32).supervisor(sup));
    let tasks = || (0..3).map(|_| sup.spawn(|| 1_u32));
    let mut ours: TaskSet<u32> = tasks().collect();
    let mut theirs = set.lock().unwrap();
    checks![
        refused(chained.wait()),
        !chained.cancel() && chained.kill().is_err(),
        {
            chained.stop();
            !chained.is_completed()
        },
        refused(sup.spawn(|| 1).chain(|n| n + 1).join()),
        refused(sup.spawn(|| Ok::<_, ()>(1)).try_chain(|n| Ok(n + 1)).join()),
        ours.join_next().is_some_and(|(_, outcome)| refused(outcome)),
        ours.try_join_next().is_some_and(|(_, outcome)| refused(outcome)),
        block_on(ours.join_next_async()).is_some_and(|(_, outcome)| refused(outcome)),
        ours.join_next().is_none(),
        {
            theirs.stop_all();
            theirs.kill_all();
            theirs.len() == 1
        },
        theirs.try_join_next().is_some_and(|(_, outcome)| refused(outcome)),
        bounded_by(2, builders().enumerate()).all(|(_, outcome)| refused(outcome)),
        block_on(bounded(2, builders()).into_stream().all(|(_, outcome)| refused(outcome))),
        block_on(as_completed(tasks()).into_stream().all(|(_, outcome)| refused(outcome))),
        refused(block_on(builders().next().unwrap().start_async()).join()),
        block_on(sup.spawn(|| 1).into_message_stream().next()).is_none(),
        {
            drop(as_completed([chained]).cancel_on_drop());
            theirs.extend(tasks());
            *theirs = TaskSet::new().kill_on_drop();
            !chained.is_completed()
        },
    ]
}

fn goes_on(exits: bool, rounds: usize, checks: Checks) {
    let path = std::env::temp_dir().join(format!(
        "atasker-{}-{exits}-{}",
        std::process::id(),
        checks as *const () as usize
    ));
    let path = path.to_str().unwrap();
    let program = Program::new(path);
    let load = Load::on(&program.sup);
    for round in 0..rounds {
        let _watchdog = Watchdog::new(format!("round {round}"), FAR * 2);
        assert_eq!(fork(exits, || checks(&program)), 0, "round {round}");
    }
    let _watchdog = Watchdog::new("the program's own tasks", FAR);
    load.end();
    program.completes(path);
}

#[test]
fn launch_in_fork_fails() {
    goes_on(false, 100, launches);
    goes_on(true, 100, launches);
}

#[test]
fn wait_in_fork_fails() {
    goes_on(false, 100, waits);
    goes_on(true, 100, waits);
}

#[test]
fn set_and_chain_in_fork_fail() {
    goes_on(false, 100, chains_and_sets);
    goes_on(true, 100, chains_and_sets);
}

#[test]
fn fork_may_drop_everything() {
    let path = std::env::temp_dir().join(format!("atasker-{}-drops", std::process::id()));
    let path = path.to_str().unwrap();
    let mut program = Some(Program::new(path));
    let load = Load::on(&program.as_ref().unwrap().sup);
    for round in 0..100 {
        let _watchdog = Watchdog::new(format!("round {round}"), FAR * 2);
        assert_eq!(
            fork(round % 2 == 0, || {
                let Program { thread, future, process, delayed, ended, chained, set, .. } =
                    program.take().unwrap();
                drop((chained.kill_on_drop(), set.into_inner().unwrap().kill_on_drop()));
                drop((thread.kill_on_drop(), future.stop_on_drop(), process.kill_on_drop()));
                drop((delayed, ended));
                0
            }),
            0
        );
    }
    load.end();
    program.unwrap().completes(path);
}

#[test]
fn fork_of_fork_may_exec() {
    let path = std::env::temp_dir().join(format!("atasker-{}-exec", std::process::id()));
    let path = path.to_str().unwrap();
    let program = Program::new(path);
    for _ in 0..20 {
        let _watchdog = Watchdog::new("forks of forks", FAR);
        assert_eq!(fork(false, || fork(true, || launches(&program))), 0);
        let mut command = std::process::Command::new("true");
        // With `pre_exec`, std forks.
        // SAFETY: the closure does nothing.
        unsafe { std::os::unix::process::CommandExt::pre_exec(&mut command, || Ok(())) };
        assert!(command.status().unwrap().success());
        assert_eq!(
            fork(false, || {
                use std::os::unix::process::CommandExt;
                let _error = std::process::Command::new("true").exec();
                98
            }),
            0
        );
    }
    program.completes(path);
}

/// A task forks, and the fork returns from the function: the fork exits there.
#[test]
fn fork_returning_from_task_exits() {
    static RUNS: OnceLock<i32> = OnceLock::new();
    let _watchdog = Watchdog::new("forks in tasks", FAR * 2);
    let mut fds = [0; 2];
    // SAFETY: the array has room for two descriptors.
    assert_eq!(unsafe { libc::pipe(fds.as_mut_ptr()) }, 0);
    let [read, write] = fds;
    RUNS.set(write).unwrap();
    let tell = || {
        // SAFETY: the descriptor is open, and the byte is static.
        unsafe { libc::write(*RUNS.get().unwrap(), b"r".as_ptr().cast(), 1) };
    };
    let forks = || {
        // SAFETY: the fork does only what this test verifies.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        child
    };
    let sup = Supervisor::builder().id("tasks").thread_pool(PoolConfig::new(1)).build();
    for _ in 0..10 {
        let on_a_thread = sup.spawn(forks);
        let on_a_loop = sup.spawn_async(async move { forks() });
        let before_an_await = sup.spawn_async(async move {
            let child = forks();
            tokio::task::yield_now().await;
            child
        });
        // Tasks queued behind the forking ones: the forks must not run them.
        let behind: Vec<_> =
            (0..5).map(|_| (sup.spawn(tell), sup.spawn_async(async move { tell() }))).collect();
        for task in [on_a_thread, on_a_loop, before_an_await] {
            assert_eq!(wait_for(task.join().unwrap()), 1);
        }
        for (thread, future) in behind {
            thread.join().unwrap();
            future.join().unwrap();
        }
    }
    // SAFETY: both descriptors are open; the file owns the reader from here on.
    let mut pipe = unsafe {
        libc::close(write);
        std::fs::File::from_raw_fd(read)
    };
    let mut seen = Vec::new();
    pipe.read_to_end(&mut seen).unwrap();
    assert_eq!(seen.len(), 100);
}
