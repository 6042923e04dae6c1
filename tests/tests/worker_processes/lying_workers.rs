//! What can a worker process that lies about its calls, in the shared page or over its socket,
//! reach? The tests know the layout of both.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use atasker::{
    MpPoolConfig, RecvError, Supervisor, TaskContext, TaskError, WorkerStdio, background_task,
};
use atasker_tests::processes::Process;
use atasker_tests::{FAR, Watchdog, eventually};

const SENT: u64 = 1;
const BEGUN: u64 = 2;
const DONE: u64 = 4;

fn pool(config: MpPoolConfig) -> Supervisor {
    let config = config.stdio(WorkerStdio::Null).env("RUST_BACKTRACE", "0");
    Supervisor::builder().id("lies").mp_pool(config).build()
}

/// The entry of the call that runs: its state and the call.
fn own_entry() -> (&'static AtomicU64, u64) {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let page =
        maps.lines().find(|line| line.contains("memfd:atasker") && line.contains("rw-s 00000000"));
    let (begin, end) = page.unwrap().split(' ').next().unwrap().split_once('-').unwrap();
    let number = |text| usize::from_str_radix(text, 16).unwrap();
    for at in (number(begin) + 64..number(end)).step_by(64) {
        // SAFETY: within the page, which is mapped for as long as the process lives.
        let state = unsafe { &*(at as *const AtomicU64) };
        let value = state.load(Ordering::SeqCst);
        if value & 7 == BEGUN && value >> 3 < 1000 {
            return (state, value >> 3);
        }
    }
    panic!("no call has begun");
}

/// The word of an entry at this offset in bytes.
fn word(entry: &'static AtomicU64, offset: usize) -> &'static AtomicU64 {
    // SAFETY: within the entry.
    unsafe { &*(std::ptr::from_ref(entry).byte_add(offset)) }
}

/// The data socket: the lowest one.
fn data_socket() -> i32 {
    let is_socket = |fd: &i32| {
        let (mut kind, mut len) = (0i32, size_of::<i32>() as u32);
        // SAFETY: both pointers are to variables of the right size.
        unsafe {
            libc::getsockopt(
                *fd,
                libc::SOL_SOCKET,
                libc::SO_TYPE,
                (&raw mut kind).cast(),
                &raw mut len,
            ) == 0
        }
    };
    (0..50).find(is_socket).unwrap()
}

/// Sends all bytes. Returns `false` if the parent reads no more.
fn send(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        // SAFETY: the pointer and the length are of a slice.
        let sent = unsafe {
            libc::send(data_socket(), bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL)
        };
        let Ok(sent) = usize::try_from(sent) else { return false };
        bytes = &bytes[sent..];
    }
    true
}

/// A frame with a kind, a call, and a rest that the length includes, whether or not it is there.
fn frame(kind: u8, call: u64, more: &[u8], missing: u64) -> Vec<u8> {
    let mut frame = (9 + more.len() as u64 + missing).to_le_bytes().to_vec();
    frame.push(kind);
    frame.extend_from_slice(&call.to_le_bytes());
    frame.extend_from_slice(more);
    frame
}

#[background_task(tt = "mp")]
fn double(n: u64) -> u64 {
    2 * n
}

#[background_task(tt = "mp")]
fn takes_back_its_begin(ctx: &TaskContext<(), u32>, wait: bool) {
    let (state, call) = own_entry();
    if wait {
        ctx.send(std::process::id()).unwrap();
        while !ctx.stopped() {
            std::thread::yield_now();
        }
    }
    state.store(call << 3 | SENT, Ordering::SeqCst);
    ctx.progress(1, 1);
    loop {
        std::thread::park();
    }
}

/// Immediately, so that the parent has never seen that it began.
#[test]
#[cfg_attr(atasker_portable, ignore = "calls go over sockets, so there is no page")]
fn call_that_takes_back_its_begin_exceeds_its_time_limit() {
    let _watchdog = Watchdog::new("a call with a time limit that takes back its begin", FAR);
    let sup = pool(MpPoolConfig::new(1));
    let limit = Duration::from_millis(50);
    let task = takes_back_its_begin::builder(false).timeout(limit).supervisor(&sup).start();
    let error = task.join().unwrap_err();
    assert!(matches!(error, TaskError::TimedOut { .. }), "{error}");
    assert_eq!(double::builder(4).supervisor(&sup).start().join().unwrap(), 8);
}

#[test]
#[cfg_attr(atasker_portable, ignore = "calls go over sockets, so there is no page")]
fn call_seen_to_begin_that_takes_it_back_is_killed_with_its_worker() {
    let _watchdog = Watchdog::new("a call that takes back its begin", FAR);
    let sup = pool(MpPoolConfig::new(1));
    let task = takes_back_its_begin::builder(true).supervisor(&sup).start();
    let worker = task.recv().unwrap();
    // The parent looks at the page.
    eventually(|| task.is_started());
    task.stop();
    eventually(|| task.info().progress.is_some());
    task.kill().unwrap();
    let error = task.join().unwrap_err();
    // If the reader thread still handles the last message, it notices the lie before the kill.
    let noticed = error.to_string().contains("an invalid state in the shared page");
    assert!(error.is_canceled() || noticed, "{error}");
    assert!(Process::is_gone(worker));
    assert_eq!(double::builder(4).supervisor(&sup).start().join().unwrap(), 8);
}

#[background_task(tt = "mp")]
fn replies_with(len: u64) -> u64 {
    let (state, call) = own_entry();
    // The reply follows over the socket, after no other frame.
    word(state, 64 + 40).store(1, Ordering::SeqCst);
    word(state, 64 + 56).store(0, Ordering::SeqCst);
    state.store(call << 3 | DONE, Ordering::SeqCst);
    let mut more = vec![1];
    more.extend_from_slice(&len.to_le_bytes());
    assert!(send(&frame(3, call, &more, len)));
    let chunk = vec![7; 1 << 20];
    while send(&chunk) {}
    loop {
        std::thread::park();
    }
}

#[test]
#[cfg_attr(atasker_portable, ignore = "calls go over sockets, so there is no page")]
fn reply_longer_than_memory_limit_ends_its_worker() {
    let _watchdog = Watchdog::new("an endless reply", FAR);
    let sup = pool(MpPoolConfig::new(1).memory_limit(64 << 20));
    for len in [129 << 20, 1 << 39] {
        let error = replies_with::builder(len).supervisor(&sup).start().join().unwrap_err();
        let TaskError::WorkerDied(death) = &error else { panic!("{error}") };
        assert!(death.cause().to_string().contains("memory limit of its sender"), "{error}");
    }
    assert_eq!(double::builder(4).supervisor(&sup).start().join().unwrap(), 8);
}

#[background_task(tt = "mp")]
fn allocates(len: usize) -> Vec<u8> {
    vec![1; len]
}

#[test]
fn reply_within_memory_limit_arrives() {
    let _watchdog = Watchdog::new("a long reply", FAR);
    let sup = pool(MpPoolConfig::new(1).memory_limit(64 << 20));
    let task = allocates::builder(40 << 20).supervisor(&sup).start();
    assert_eq!(task.join().unwrap().len(), 40 << 20);
}

#[background_task(tt = "mp")]
fn speaks_for_the_next_call(count: u64) {
    let (_, call) = own_entry();
    // The parent counts frames only where a reply mentions them.
    for next in call + 1..=call + count {
        let text = b"\x05\0\0\0\0\0\0\0wrong";
        assert!(send(&frame(4, next, &[1, 0, 0, 0, 0, 0, 0, 0, 99], 0)));
        assert!(send(&frame(6, next, text, 0)));
    }
    // The calls behind this one are given back meanwhile.
    std::thread::sleep(Duration::from_millis(20));
}

#[background_task(tt = "mp")]
fn says_nothing(_ctx: &TaskContext<(), u8>) {}

#[test]
#[cfg_attr(atasker_portable, ignore = "calls go over sockets, so there is no page")]
fn call_that_has_not_begun_reports_nothing() {
    let _watchdog = Watchdog::new("reports for other calls", FAR);
    for _ in 0..20 {
        let sup = pool(MpPoolConfig::new(1));
        // Short calls are sent in advance, behind the one that lies.
        for n in 0..50 {
            double::builder(n).supervisor(&sup).start().join().unwrap();
        }
        let task = speaks_for_the_next_call::builder(4).supervisor(&sup).start();
        let others: Vec<_> =
            (0..4).map(|_| says_nothing::builder().supervisor(&sup).start()).collect();
        task.join().unwrap();
        for other in others {
            other.wait().unwrap();
            assert_eq!(other.try_recv(), Err(RecvError::Closed));
            assert_eq!(other.info().progress.and_then(|progress| progress.message), None);
        }
    }
}
