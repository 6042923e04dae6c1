//! Workers that spoil what they share, results that do harm, and kills that come too late.

use std::sync::Arc;

use super::*;
use crate::job::{Job, Place, WhenFull};
use crate::process::deal::Deeds;
use crate::process::lane::Why;
use crate::process::page::Step;
use crate::process::pool::ProcessPool;
use crate::task::AnyTask;
use crate::task::cell::Cell;
use crate::task::header::Header;
use crate::task::reference::TaskRef;
use crate::task::remote::{Remote, RemoteBody};
use crate::wire::encoded::seal;
use crate::wire::frame::{Message, ToParent};

remote!(spoil_entry, spoils, |_ctx: () => (), pattern: u64| -> u64 {
    crate::process::child::spoil_page(pattern);
    pattern
});
remote!(reply_entry, replies_for_another, |_ctx: () => (), _args: ()| -> () {
    crate::process::child::reply_for_another();
});
remote!(frames_entry, claims_frames, |_ctx: () => (), _args: ()| -> () {
    crate::process::child::claim_frames();
});
remote!(raw_entry, tells_raw, |_ctx: () => (), bytes: (Vec<u8>, Vec<u8>)| -> () {
    let (once, for_ever) = bytes;
    crate::process::child::tell_raw(&once);
    while !for_ever.is_empty() {
        crate::process::child::tell_raw(&for_ever);
    }
    loop {
        std::thread::park();
    }
});
// The frame's number is that of the call itself.
remote!(own_entry, tells_for_ever, |ctx: () => u64, what: String| -> () {
    ctx.send(1).unwrap();
    let (call, mut frame) = (crate::process::child::current_call(), Vec::new());
    match &*what {
        "message" => ToParent::Message { call, bytes: &[1] }.write(&mut frame),
        "reply" => ToParent::Reply { call, ok: true, bytes: &[1] }.write(&mut frame),
        "event" => {
            let (target, message, fields, file) = ("flood", "m", "", "");
            ToParent::Event { call, level: 3, target, message, fields, file, line: 1 }
                .write(&mut frame);
        }
        "taken" => ToParent::Taken { call, count: u64::MAX }.write(&mut frame),
        other => ToParent::Said { call, text: other }.write(&mut frame),
    }
    loop {
        crate::process::child::tell_raw(&frame);
    }
});
remote!(control_entry, tells_control, |_ctx: () => (), for_ever: bool| -> u32 {
    loop {
        crate::process::child::tell_control(&[0xff; 1000]);
        if !for_ever {
            return std::process::id();
        }
    }
});
remote!(close_entry, closes, |_ctx: () => (), which: Option<usize>| -> u32 {
    let all = crate::process::child::descriptors();
    for (index, fd) in all.into_iter().enumerate() {
        if which.is_none_or(|which| which == index) {
            // SAFETY: none; the point is what the owner does who finds it closed.
            unsafe { libc::close(fd) };
        }
    }
    7
});
remote!(bomb_entry, bombs, |_ctx: () => (), n: u64| -> Bomb { Bomb(n) });

/// Its destructor panics, in the parent only.
#[derive(serde::Deserialize)]
struct Bomb(u64);

impl Serialize for Bomb {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct("Bomb", &self.0)
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(crate::process::in_worker(), "bomb {}", self.0);
    }
}

#[test]
fn a_page_full_of_nonsense_harms_no_other_worker() {
    let patterns = [0, u64::MAX, 1, 0x0101_0101_0101_0101, 1 << 63, i64::MAX as u64, 0xdead << 3];
    for pattern in patterns {
        let sup = pool(MpPoolConfig::new(1));
        // Short ones first, so that calls are sent ahead.
        for n in 0..50 {
            assert_eq!(within(add((n, 1)).supervisor(&sup).start()).unwrap(), n + 1);
        }
        let spoiler = spoils(pattern).supervisor(&sup).start();
        let behind: Vec<_> = (0..50).map(|n| add((n, 1)).supervisor(&sup).start()).collect();
        for task in std::iter::once(spoiler).chain(behind) {
            let _ = task.wait_timeout(Duration::from_secs(30));
            let info = task.info();
            assert!(info.time_started.is_none_or(|started| info.time_queued <= started));
            assert!(info.time_started <= info.time_completed, "{info:?}");
            if let Err(error) = within(task) {
                assert!(error.is_worker_died(), "{pattern:x}: {error}");
            }
        }
        for n in 0..50 {
            assert_eq!(within(add((n, 1)).supervisor(&sup).start()).unwrap(), n + 1);
        }
        sup.stop(StopOptions::new());
    }
}

#[test]
fn a_reply_that_makes_no_sense_costs_its_worker() {
    let sup = pool(MpPoolConfig::new(1));
    let task = replies_for_another(()).supervisor(&sup).start();
    let error = within(task).unwrap_err();
    assert!(error.to_string().contains("a reply that no call asked for"), "{error}");
    let task = claims_frames(()).supervisor(&sup).start();
    let error = within(task).unwrap_err();
    assert!(error.to_string().contains("frames that never came"), "{error}");
    assert_eq!(within(add((1, 1)).supervisor(&sup).start()).unwrap(), 2);
}

/// A frame: its length, its kind, its fields.
fn framed(length: u64, kind: u8, fields: &[&[u8]]) -> Vec<u8> {
    let mut frame = length.to_le_bytes().to_vec();
    frame.push(kind);
    frame.extend_from_slice(&fields.concat());
    frame
}

fn written(message: &ToParent<'_>) -> Vec<u8> {
    let mut frame = Vec::new();
    message.write(&mut frame);
    frame
}

/// Rubbish of every kind on the data socket: its task fails and says what it was; the one that
/// runs in another worker process goes on, and the one behind it runs.
#[test]
fn rubbish_on_the_data_socket_costs_its_worker() {
    let sup = pool(MpPoolConfig::new(2));
    let other = until_stop(()).supervisor(&sup).start();
    let there = other.recv().unwrap();
    const NONE: u64 = 1 << 40;
    let number = |n: u64| n.to_le_bytes();
    let cases: [(&str, Vec<u8>, Vec<u8>); 15] = [
        ("an empty frame", vec![0; 8], vec![]),
        ("an empty frame", vec![], vec![0; 4096]),
        ("length of a frame", vec![0xff; 64], vec![]),
        ("length of a frame", framed(1 << 41, 3, &[]), vec![]),
        ("length of a frame", framed(1 << 21, 5, &[]), vec![]),
        ("length of a frame", framed(1 << 30, 7, &[]), vec![]),
        ("unknown kind", framed(1, 9, &[]), vec![]),
        ("cut off", framed(9, 5, &[&number(1)]), vec![]),
        ("cut off", framed(18, 4, &[&number(1), &number(2), &[1]]), vec![]),
        ("too long", framed(18, 5, &[&number(1), &number(2), &[1]]), vec![]),
        ("not UTF-8", framed(18, 6, &[&number(1), &number(1), &[0xff]]), vec![]),
        ("at the start, once more", written(&ToParent::Ready { pid: 1 }), vec![]),
        ("at the start, once more", written(&ToParent::Refused { reason: "no" }), vec![]),
        (
            "a reply that no call asked for",
            written(&ToParent::Reply { call: NONE, ok: true, bytes: b"x" }),
            vec![],
        ),
        // It would be long before all of it is there.
        (
            "a reply that no call asked for",
            framed(1 << 40, 3, &[&number(NONE), &[1], &number((1 << 40) - 18)]),
            vec![0; 1 << 16],
        ),
    ];
    let count = cases.len() as u64;
    for (wanted, once, for_ever) in cases {
        let task = tells_raw((once, for_ever)).supervisor(&sup).start();
        let next = add((1, 1)).supervisor(&sup).start();
        let error = within(task).unwrap_err();
        assert!(error.is_worker_died(), "{wanted}: {error}");
        let text = error.to_string();
        assert!(text.contains("bytes that make no sense") && text.contains(wanted), "{text}");
        assert_eq!(within(next).unwrap(), 2, "{wanted}");
    }
    assert_eq!(sup.info().mp_pool.unwrap().restarts, count);
    assert!(!is_gone(there));
    other.stop();
    assert_eq!(within(other).unwrap(), "stopped");
}

/// Frames that are as they should be, and no end of them.
#[test]
fn an_endless_stream_is_bounded_or_can_be_killed() {
    let sup = pool(MpPoolConfig::new(1));
    for what in ["message", "reply", "event", "taken", "said"] {
        let task = tells_for_ever(what.into()).supervisor(&sup).start();
        let wanted = match what {
            "message" => "more messages than there is room for",
            "reply" => "a reply that no call asked for",
            _ => {
                assert_eq!(task.recv().unwrap(), 1);
                task.kill().unwrap();
                assert!(within(task).unwrap_err().is_canceled());
                continue;
            }
        };
        let error = within(task).unwrap_err();
        assert!(error.to_string().contains(wanted), "{error}");
    }
    assert_eq!(within(add((1, 1)).supervisor(&sup).start()).unwrap(), 2);
}

/// Nobody listens there in the parent.
#[test]
fn rubbish_on_the_control_socket_harms_nobody() {
    let sup = pool(MpPoolConfig::new(1));
    let there = within(tells_control(false).supervisor(&sup).start()).unwrap();
    assert_eq!(within(pid(()).supervisor(&sup).start()).unwrap(), there);
    let limit = Duration::from_millis(100);
    let task = tells_control(true).supervisor(&sup).timeout(limit).start();
    assert!(within(task).unwrap_err().is_timeout());
    assert_eq!(within(add((1, 1)).supervisor(&sup).start()).unwrap(), 2);
}

/// As a task that closes whatever descriptors it finds.
#[test]
fn a_task_that_closes_what_is_ours_costs_its_worker_at_most() {
    for which in [Some(0), Some(1), Some(2), None] {
        let sup = pool(MpPoolConfig::new(1));
        let task = closes(which).supervisor(&sup).start();
        let result = within(task);
        assert!(matches!(&result, Ok(7) | Err(TaskError::WorkerDied(_))), "{which:?}: {result:?}");
        for n in 0..3 {
            // The first may come to the same worker before it is ended.
            let result = within(add((n, 1)).supervisor(&sup).start());
            let died = n == 0 && result.as_ref().is_err_and(TaskError::is_worker_died);
            assert!(died || result == Ok(n + 1), "{which:?}: {result:?}");
        }
        sup.stop(StopOptions::new());
    }
}

#[test]
fn a_result_whose_destructor_panics_harms_no_other_task() {
    let sup = pool(MpPoolConfig::new(1));
    for n in 0..20 {
        // Nobody holds the result: it is dropped where the reply is read, unless that was sooner.
        let task = bombs(n).supervisor(&sup).start();
        drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(task))));
        assert_eq!(within(add((n, 1)).supervisor(&sup).start()).unwrap(), n + 1);
    }
    assert_eq!(sup.info().mp_pool.unwrap().restarts, 0);
}

/// A task as its pool gets it.
fn bare<R: Send + 'static>(
    function: &'static Function,
    args: &impl Serialize,
    decode: crate::wire::args::Reader<R>,
) -> Arc<dyn AnyTask> {
    let header = Header::new(crate::TaskType::Mp);
    header.note_queued();
    assert!(header.state.launch(false));
    let args = seal(to_bytes(args).unwrap());
    Cell::<R, _>::new(header, RemoteBody(decode), Remote::new(function, args, decode))
}

#[test]
fn a_kill_that_comes_too_late_hits_nobody() {
    let pool = ProcessPool::new("late", None, MpPoolConfig::new(1));
    pool.open();
    let warm = bare(&add_entry::ENTRY, &(1u64, 2u64), read::<u64>);
    pool.start(Job::new(Arc::clone(&warm)), WhenFull::NoWait);
    TaskRef::new(warm).wait().unwrap();

    let short = bare(&add_entry::ENTRY, &(1u64, 2u64), read::<u64>);
    let long = bare(&sleep_entry::ENTRY, &500u64, read::<u64>);
    {
        let mut deeds = Deeds::default();
        // Nothing is taken in while we hold the lock.
        let mut inner = pool.inner.lock();
        let first = inner.lanes[0].next_call();
        for task in [&short, &long] {
            inner.send(0, Priority::Normal, Job::new(Arc::clone(task)), &mut deeds, &pool);
        }
        deeds.do_them();
        let worker = Arc::clone(inner.lanes[0].worker().unwrap());
        eventually("the second one runs", || worker.page.step(first + 1) == Some(Step::Begun));
        // Whoever killed the first one had seen it run.
        let mut deeds = Deeds::default();
        inner.doom(0, first, Why::Kill, &mut deeds);
        assert!(deeds.kill.is_empty());
    }
    TaskRef::new(short).wait().unwrap();
    TaskRef::new(long).wait().unwrap();
    pool.close();
}
