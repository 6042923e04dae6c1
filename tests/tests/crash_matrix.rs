//! Does every failure, at every stage of a call to a worker process, produce the right error with
//! its cause, for the affected task only, and leave a working pool?

use std::sync::Mutex;
use std::time::Duration;

use atasker::{
    CodecStage, MpPoolConfig, StopOptions, Supervisor, Task, TaskBuilder, TaskError,
    background_task,
};
use atasker_tests::mp::{pid, pool_of, supervisor};
use atasker_tests::processes::Process;
use atasker_tests::{FAR, Gate, Watchdog, eventually};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The memory limit of a worker process; `Memory` exceeds it.
const LIMIT: u64 = 256 << 20;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Way {
    Panic,
    Error,
    Exit0,
    Exit3,
    Abort,
    Segv,
    Overflow,
    Kill,
    Memory,
}

use Way::*;

const WAYS: [Way; 9] = [Panic, Error, Exit0, Exit3, Abort, Segv, Overflow, Kill, Memory];

impl Way {
    /// Fails in this way. Returns only for an error.
    fn fail(self) -> String {
        match self {
            Panic => panic!("asked to panic"),
            Error => return "asked to fail".into(),
            Exit0 => std::process::exit(0),
            Exit3 => std::process::exit(3),
            Abort => std::process::abort(),
            // SAFETY: none; this process is supposed to crash here.
            Segv => unsafe { std::ptr::without_provenance_mut::<u8>(16).write_volatile(1) },
            Overflow => {
                std::hint::black_box(down(std::hint::black_box(0)));
            }
            // SAFETY: sends a signal to this process.
            Kill => unsafe {
                libc::kill(libc::getpid(), libc::SIGKILL);
            },
            Memory => {
                let much = vec![1u8; 4 * LIMIT as usize];
                std::hint::black_box(&much);
            }
        }
        unreachable!("{self:?} did not end this process")
    }

    /// The cause in the error of a task whose worker process died in this way.
    fn cause(self) -> Option<&'static str> {
        Some(match self {
            Panic | Error => return None,
            Exit0 => "exit code 0",
            Exit3 => "exit code 3",
            Abort => "SIGABRT (6)",
            Memory => "memory limit, SIGABRT (6)",
            Segv => "SIGSEGV (11)",
            Overflow => "stack overflow, SIGABRT (6)",
            Kill => "SIGKILL (9)",
        })
    }

    /// Asserts that `error` is the expected error for this failure at this stage.
    #[track_caller]
    fn check(self, at: &str, stage: Option<CodecStage>, error: &TaskError) {
        match (self, error, stage) {
            (Panic, TaskError::Panicked { message, location, .. }, _) => {
                assert_eq!(message, "asked to panic", "{at}");
                assert!(location.as_ref().unwrap().contains("crash_matrix.rs:"), "{at}");
            }
            (Error, TaskError::Codec { stage: is, type_name, detail, .. }, Some(stage)) => {
                assert_eq!(*is, stage, "{at}");
                assert!(type_name.contains("Fussy"), "{at}: {type_name}");
                assert!(detail.contains("asked to fail"), "{at}: {detail}");
            }
            (_, TaskError::WorkerDied(death), _) => {
                assert_eq!(Some(death.cause().to_string().as_str()), self.cause(), "{at}");
                assert!(death.pid() > 0, "{at}");
                assert!(error.to_string().contains(self.cause().unwrap()), "{at}: {error}");
            }
            _ => panic!("{at} {self:?}: {error}"),
        }
    }
}

/// Exhausts the stack.
fn down(n: u64) -> u64 {
    let room = std::hint::black_box([n; 512]);
    if n == u64::MAX { 0 } else { down(n + 1) + room[(n % 512) as usize] }
}

/// A value whose encoding or decoding can fail, in either process.
#[derive(Clone, Debug, PartialEq)]
struct Fussy {
    encode: Option<Way>,
    decode: Option<Way>,
    /// Padding that precedes the failing value.
    bulk: Vec<u8>,
}

const FINE: Fussy = Fussy { encode: None, decode: None, bulk: Vec::new() };

impl Serialize for Fussy {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeTuple;
        let mut tuple = to.serialize_tuple(3)?;
        tuple.serialize_element(&self.bulk)?;
        if let Some(way) = self.encode {
            return Err(serde::ser::Error::custom(way.fail()));
        }
        tuple.serialize_element(&self.decode)?;
        tuple.serialize_element(&self.encode)?;
        tuple.end()
    }
}

impl<'de> Deserialize<'de> for Fussy {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (bulk, decode, encode): (Vec<u8>, Option<Way>, Option<Way>) =
            Deserialize::deserialize(from)?;
        match decode {
            Some(way) => Err(serde::de::Error::custom(way.fail())),
            None => Ok(Fussy { encode, decode, bulk }),
        }
    }
}

#[background_task(tt = "mp")]
fn takes(fussy: Fussy, then: Option<Way>) -> Result<usize, String> {
    match then {
        Some(way) => Err(way.fail()),
        None => Ok(fussy.bulk.len()),
    }
}

#[background_task(tt = "mp")]
fn gives(encode: Option<Way>, decode: Option<Way>, size: usize) -> Fussy {
    Fussy { encode, decode, bulk: vec![7; size] }
}

#[background_task(tt = "mp")]
fn twice(n: u64) -> u64 {
    2 * n
}

fn config(workers: usize) -> MpPoolConfig {
    // Backtraces of expected panics would take most of the time.
    pool_of(workers).memory_limit(LIMIT).env("RUST_BACKTRACE", "0")
}

/// Runs one case at a time, because deadlines apply to one case and not to all of them on a busy
/// machine.
static EXCLUSIVE: Mutex<()> = Mutex::new(());

fn exclusive(what: &str) -> (std::sync::MutexGuard<'static, ()>, Watchdog) {
    let guard = EXCLUSIVE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    (guard, Watchdog::new(what, 3 * FAR))
}

/// Runs a failing `victim` among other tasks, which all complete. Returns its error.
#[track_caller]
fn among_others<R: Send + 'static>(
    sup: &Supervisor,
    what: &str,
    victim: impl FnOnce() -> TaskBuilder<R>,
) -> Option<TaskError> {
    let _watchdog = Watchdog::new(what, FAR);
    let others = |count: u64| -> Vec<Task<u64>> {
        (0..count).map(|n| twice::builder(n).supervisor(sup).start()).collect()
    };
    let mut neighbors = others(20);
    let victim = victim().supervisor(sup).start();
    neighbors.extend(others(20));
    let error = victim.join().err();
    for (n, task) in neighbors.into_iter().enumerate() {
        assert_eq!(task.join().expect(what), 2 * (n as u64 % 20), "{what}");
    }
    // The pool still works.
    assert_eq!(twice::builder(21).supervisor(sup).start().join().expect(what), 42);
    error
}

#[test]
fn failure_while_decoding_arguments() {
    let _exclusive = exclusive("decoding arguments");
    let sup = supervisor(config(2));
    for size in [0, 100_000] {
        for way in WAYS {
            let fussy = Fussy { decode: Some(way), bulk: vec![1; size], ..FINE };
            let at = format!("decoding arguments, {size}, {way:?}");
            let error = among_others(&sup, &at, || takes::builder(fussy, None)).expect(&at);
            way.check(&at, Some(CodecStage::DecodeArguments), &error);
        }
    }
}

#[test]
fn failure_while_encoding_arguments() {
    let _exclusive = exclusive("encoding arguments");
    let sup = supervisor(config(1));
    for way in [Panic, Error] {
        let fussy = Fussy { encode: Some(way), ..FINE };
        let error = among_others(&sup, "encoding", || takes::builder(fussy, None)).unwrap();
        way.check("encoding arguments", Some(CodecStage::EncodeArguments), &error);
    }
    assert_eq!(sup.info().mp_pool.unwrap().restarts, 0);
}

#[test]
fn failure_while_running() {
    let _exclusive = exclusive("running");
    let sup = supervisor(config(2));
    for way in WAYS {
        let at = format!("running, {way:?}");
        let mut returned = None;
        let error = among_others(&sup, &at, || {
            let (sender, receiver) = std::sync::mpsc::channel();
            returned = Some(receiver);
            takes::builder(FINE, Some(way))
                .on_complete(move |result| sender.send(result.clone().ok()).unwrap())
        });
        let returned = returned.unwrap().recv().unwrap();
        match error {
            // An `Err` that the function returns is a result.
            None => assert_eq!((way, returned), (Error, Some(Err("asked to fail".into())))),
            Some(error) => {
                assert_eq!(returned, None);
                way.check(&at, None, &error);
            }
        }
    }
    assert_eq!(
        sup.info().mp_pool.unwrap().restarts,
        7,
        "a panic or an error must not restart a worker process"
    );
}

#[test]
fn failure_while_encoding_result() {
    let _exclusive = exclusive("encoding the result");
    let sup = supervisor(config(2));
    // With a large padding, half of the reply has been written when the failure occurs.
    for size in [0, 3_000_000] {
        for way in WAYS {
            let at = format!("encoding the result, {size}, {way:?}");
            let error = among_others(&sup, &at, || gives::builder(Some(way), None, size));
            way.check(&at, Some(CodecStage::EncodeResult), &error.expect(&at));
        }
    }
}

#[test]
fn failure_while_decoding_result() {
    let _exclusive = exclusive("decoding the result");
    let sup = supervisor(config(1));
    for size in [0, 3_000_000] {
        for way in [Panic, Error] {
            let error = among_others(&sup, "decoding", || gives::builder(None, Some(way), size));
            way.check("decoding the result", Some(CodecStage::DecodeResult), &error.unwrap());
        }
    }
    assert_eq!(sup.info().mp_pool.unwrap().restarts, 0);
}

/// A value that the parent cannot decode until the gate opens; the parent reads nothing from that
/// worker process meanwhile.
struct Slow;

static HOLD: Mutex<Option<(Gate, Gate)>> = Mutex::new(None);

impl Serialize for Slow {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for Slow {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        let (reached, gate) = HOLD.lock().unwrap().clone().expect("a test holds it");
        reached.open();
        gate.wait();
        Ok(Slow)
    }
}

#[background_task(tt = "mp")]
fn slow() -> Slow {
    Slow
}

/// Stops the parent from reading from its only worker process until the gate opens.
fn unread(sup: &Supervisor) -> (Task<Slow>, Gate) {
    let (reached, gate) = (Gate::new(), Gate::new());
    *HOLD.lock().unwrap() = Some((reached.clone(), gate.clone()));
    let slow = slow::builder().supervisor(sup).start();
    reached.wait();
    (slow, gate)
}

/// Worker processes started in this scope have no shared memory for large payloads, as under a file
/// size limit (`ulimit -f`). Such results use the socket.
struct BySocket(libc::rlimit);

impl BySocket {
    fn new() -> Self {
        let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: a valid pointer for the limit.
        assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut before) }, 0);
        Self::set(&libc::rlimit { rlim_cur: 64 << 20, ..before });
        BySocket(before)
    }

    fn set(limit: &libc::rlimit) {
        // SAFETY: a valid limit.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, limit) }, 0);
    }
}

impl Drop for BySocket {
    fn drop(&mut self) {
        Self::set(&self.0);
    }
}

/// Returns a result that is larger than the socket buffer. Another thread of the process calls `f`
/// when half of the reply has been written, which happens because the parent does not read.
fn while_written<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Vec<u8> {
    // SAFETY: no preconditions.
    let writer = unsafe { libc::gettid() };
    drop(atasker::supervisor().spawn(move || {
        eventually(|| {
            let call = std::fs::read_to_string(format!("/proc/self/task/{writer}/syscall"));
            let number = call.unwrap().split(' ').next().and_then(|number| number.parse().ok());
            number == Some(libc::SYS_sendto)
        });
        f()
    }));
    vec![5; 20_000_000]
}

#[background_task(tt = "mp")]
fn fails_in_its_reply(way: Way) -> Vec<u8> {
    while_written(move || way.fail())
}

#[background_task(tt = "mp")]
fn stops_in_its_reply() -> Vec<u8> {
    // SAFETY: sends a signal to this process.
    while_written(|| unsafe { libc::kill(libc::getpid(), libc::SIGSTOP) })
}

#[test]
fn failure_with_result_half_written() {
    let _exclusive = exclusive("half a result");
    let _by_socket = BySocket::new();
    let sup = supervisor(config(1));
    for way in WAYS.into_iter().filter(|way| way.cause().is_some()) {
        let at = format!("half a result written, {way:?}");
        let _watchdog = Watchdog::new(&at, FAR);
        let worker = pid::builder().supervisor(&sup).start().join().unwrap();
        let (slow, gate) = unread(&sup);
        let half = fails_in_its_reply::builder(way).supervisor(&sup).start();
        let next = twice::builder(4).supervisor(&sup).start();
        eventually(|| Process::is_gone(worker));
        gate.open();
        slow.join().unwrap();
        way.check(&at, None, &half.join().expect_err(&at));
        assert_eq!(next.join().unwrap(), 8);
    }
}

/// The worker process is stopped by SIGSTOP instead of ended: a kill and the time limit of the task
/// still reach it.
#[test]
fn worker_stopped_in_reply_is_killed() {
    let _exclusive = exclusive("stopped in its reply");
    let _by_socket = BySocket::new();
    let sup = supervisor(config(1));
    for limit in [None, Some(Duration::from_secs(2))] {
        let worker = pid::builder().supervisor(&sup).start().join().unwrap();
        let (slow, gate) = unread(&sup);
        let builder = stops_in_its_reply::builder().supervisor(&sup);
        let task = match limit {
            Some(limit) => builder.timeout(limit).start(),
            None => builder.start(),
        };
        eventually(|| Process::of(worker).unwrap().state == 'T');
        // The available bytes are read; the reply is incomplete, and no more bytes arrive.
        gate.open();
        slow.join().unwrap();
        let next = twice::builder(4).supervisor(&sup).start();
        let error = match limit {
            Some(_) => task.join().unwrap_err(),
            None => {
                task.kill().unwrap();
                task.join().unwrap_err()
            }
        };
        assert_eq!((error.is_timeout(), error.is_canceled()), (limit.is_some(), limit.is_none()));
        assert_eq!(next.join().unwrap(), 8);
        assert!(Process::is_gone(worker));
    }
}

/// `worker_init` or `worker_exit` of the pool fails in this way.
macro_rules! failing {
    ($config:expr, $setter:ident, $way:expr) => {
        match $way {
            Panic => Some($config.$setter(|| drop(Panic.fail()))),
            // A hook has no return value.
            Error => None,
            Exit0 => Some($config.$setter(|| drop(Exit0.fail()))),
            Exit3 => Some($config.$setter(|| drop(Exit3.fail()))),
            Abort => Some($config.$setter(|| drop(Abort.fail()))),
            Segv => Some($config.$setter(|| drop(Segv.fail()))),
            Overflow => Some($config.$setter(|| drop(Overflow.fail()))),
            Kill => Some($config.$setter(|| drop(Kill.fail()))),
            Memory => Some($config.$setter(|| drop(Memory.fail()))),
        }
    };
}

#[test]
fn failure_in_worker_init() {
    let _exclusive = exclusive("worker_init");
    let sup = supervisor(config(2));
    for way in WAYS {
        let Some(failing) = failing!(config(2), worker_init, way) else { continue };
        let at = format!("worker_init, {way:?}");
        let _watchdog = Watchdog::new(&at, FAR);
        let restarts = sup.info().mp_pool.unwrap().restarts;
        sup.set_mp_pool(failing);
        // The existing worker processes started without the hook.
        sup.stop(StopOptions::new());
        sup.start();
        let tasks: Vec<_> = (0..5).map(|n| twice::builder(n).supervisor(&sup).start()).collect();
        for task in tasks {
            let error = task.join().expect_err(&at);
            let TaskError::NotStarted { detail, .. } = &error else { panic!("{at}: {error}") };
            assert!(detail.contains(" in a row: "), "{at}: {detail}");
            let why = way.cause().unwrap_or("`worker_init` failed: the task panicked");
            assert!(detail.contains(why), "{at}: {detail}");
        }
        let tries = sup.info().mp_pool.unwrap().restarts - restarts;
        // A SIGKILL may be external, so more failures are required before the pool gives up. Two workers
        // are started at first, and a task that is launched after the pool has given up, because the
        // machine is slow, causes one more start.
        let least = if matches!(way, Kill) { 12 } else { 5 };
        let expected = least..=least + 1 + 5;
        assert!(expected.contains(&tries), "{at}: unexpected number of starts: {tries}");
        sup.set_mp_pool(config(2));
        assert_eq!(twice::builder(4).supervisor(&sup).start().join().expect(&at), 8);
    }
}

#[test]
fn failure_in_worker_exit() {
    let _exclusive = exclusive("worker_exit");
    for way in WAYS {
        let config = config(2).max_tasks_per_worker(2);
        let Some(config) = failing!(config, worker_exit, way) else { continue };
        let at = format!("worker_exit, {way:?}");
        let _watchdog = Watchdog::new(&at, FAR);
        let sup = supervisor(config);
        let tasks: Vec<_> = (0..11).map(|n| twice::builder(n).supervisor(&sup).start()).collect();
        for (n, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.join().expect(&at), 2 * n as u64, "{at}");
        }
        sup.stop(StopOptions::new());
        assert_eq!(sup.info().mp_pool.unwrap().workers.len(), 0, "{at}");
    }
}
