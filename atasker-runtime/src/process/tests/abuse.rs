//! Tests of workers that corrupt shared memory or violate the protocol, of harmful results, and of
//! kills that come too late.

use std::sync::Arc;

use super::*;
use crate::job::Job;
use crate::place::{Closing, Place, WhenFull};
use crate::process::pool::ProcessPool;
use crate::process::pool::actions::Actions;
use crate::process::pool::call::KillReason;
use crate::process::tracing::tests::described;
use crate::process::transport::entry::CallState;
use crate::remote::body::{Remote, RemoteBody};
use crate::task::TaskArc;
use crate::task::cell::Cell;
use crate::task::header::Header;
use crate::task::reference::TaskRef;
use crate::task::state::Phase;
use crate::wire::frame::{Message, ParentSpan, ToParent};
use crate::wire::payload::finish;

remote!(spoil_entry, spoils, |_ctx: () => (), pattern: u64| -> u64 {
    crate::process::worker::faults::corrupt_page(pattern);
    pattern
});
remote!(reply_entry, replies_for_another, |_ctx: () => (), _args: ()| -> () {
    crate::process::worker::faults::reply_for_another();
});
remote!(frames_entry, claims_frames, |_ctx: () => (), _args: ()| -> () {
    crate::process::worker::faults::claim_frames();
});
remote!(raw_entry, tells_raw, |_ctx: () => (), bytes: (Vec<u8>, Vec<u8>)| -> () {
    let (once, endless) = bytes;
    crate::process::worker::faults::send_raw(&once);
    while !endless.is_empty() {
        crate::process::worker::faults::send_raw(&endless);
    }
    loop {
        std::thread::park();
    }
});
// The frames have the number of the call itself.
remote!(own_entry, sends_endlessly, |ctx: () => u64, what: String| -> () {
    ctx.send(1).unwrap();
    let (call, mut frame) = (crate::process::worker::current_call(), Vec::new());
    match &*what {
        "message" => ToParent::Message { call, bytes: &[1] }.write(&mut frame),
        "reply" => ToParent::Reply { call, ok: true, bytes: &[1] }.write(&mut frame),
        "event" => {
            crate::process::worker::faults::send_raw(&first_callsite(false));
            let parent = ParentSpan::Task;
            ToParent::Event { call, callsite: 0, parent, values: &[] }.write(&mut frame);
        }
        "spans" => {
            let (parent, values) = (ParentSpan::Task, &[]);
            let mut bytes = first_callsite(true);
            for span in 1.. {
                ToParent::SpanOpened { call, span, callsite: 0, parent, values }.write(&mut bytes);
                crate::process::worker::faults::send_raw(&bytes);
                bytes.clear();
            }
        }
        "callsites" => {
            for number in 0.. {
                frame.clear();
                let description = described(true, "abuse");
                ToParent::Callsite { call, number, description }.write(&mut frame);
                crate::process::worker::faults::send_raw(&frame);
            }
        }
        "taken" => ToParent::Ack { call, count: 1 }.write(&mut frame),
        "large" => ToParent::Message { call, bytes: &vec![1; 16 << 20] }.write(&mut frame),
        "too large" => {
            // The header, followed by an endless body.
            ToParent::Message { call, bytes: &[] }.write(&mut frame);
            frame[..8].copy_from_slice(&(1u64 << 30).to_le_bytes());
        }
        "progress" => ToParent::Progress { call, done: 1, total: 2 }.write(&mut frame),
        other => ToParent::ProgressMessage { call, text: other }.write(&mut frame),
    }
    loop {
        crate::process::worker::faults::send_raw(&frame);
    }
});
remote!(stray_entry, tells_and_returns, |_ctx: () => (), bytes: Vec<u8>| -> u64 {
    crate::process::worker::faults::send_raw(&bytes);
    7
});
remote!(control_entry, tells_control, |_ctx: () => (), endless: bool| -> u32 {
    loop {
        crate::process::worker::faults::send_control(&[0xff; 1000]);
        if !endless {
            return std::process::id();
        }
    }
});
remote!(close_entry, closes, |_ctx: () => (), which: Option<usize>| -> u32 {
    let all = crate::process::worker::faults::descriptors();
    for (index, fd) in all.into_iter().enumerate() {
        if which.is_none_or(|which| which == index) {
            // SAFETY: none; the test is about the owner finding it closed.
            unsafe { libc::close(fd) };
        }
    }
    7
});
remote!(turn_entry, out_of_turn, |_ctx: () => (), what: String| -> () {
    let call = crate::process::worker::current_call();
    let (begun, ended) = (|call| ToParent::Begun { call, at: 1 }, ToParent::Ended { call, at: 1 });
    let progress = |call| ToParent::Progress { call, done: 1, total: 1 };
    let reply = |call| ToParent::Reply { call, ok: true, bytes: &[0; 3000] };
    let frames = match &*what {
        "begun again" => vec![begun(call)],
        "the next begun" => vec![begun(call + 1)],
        "ended twice" => vec![ended.clone(), ended],
        "another ended" => vec![ToParent::Ended { call: call + 256, at: 1 }],
        "progress after the end" => vec![ended, progress(call)],
        "another's progress" => vec![progress(call + 1)],
        "a reply before the end" | "half of a reply" => vec![reply(call)],
        _ => vec![ended, reply(call + 1)],
    };
    let mut bytes = Vec::new();
    frames.iter().for_each(|frame| frame.write(&mut bytes));
    if what == "half of a reply" {
        let end = written(&ToParent::Ended { call, at: 1 });
        crate::process::worker::faults::send_raw(&[&end[..], &bytes[..bytes.len() / 2]].concat());
        std::process::abort();
    }
    crate::process::worker::faults::send_raw(&bytes);
    loop {
        std::thread::park();
    }
});
remote!(bomb_entry, bombs, |_ctx: () => (), n: u64| -> Bomb { Bomb(n) });

/// A result whose destructor panics, in the parent only.
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
fn corrupt_page_affects_only_its_worker() {
    let patterns = [0, u64::MAX, 1, 0x0101_0101_0101_0101, 1 << 63, i64::MAX as u64, 0xdead << 3];
    for pattern in patterns {
        let sup = pool(MpPoolConfig::new(1));
        // Short calls first, so that calls are sent in advance.
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
fn invalid_reply_fails_its_worker() {
    let sup = pool(MpPoolConfig::new(1));
    let task = replies_for_another(()).supervisor(&sup).start();
    let error = within(task).unwrap_err();
    assert!(error.to_string().contains("a reply to no outstanding call"), "{error}");
    let task = claims_frames(()).supervisor(&sup).start();
    let error = within(task).unwrap_err();
    assert!(error.to_string().contains("frames that never arrived"), "{error}");
    assert_eq!(within(add((1, 1)).supervisor(&sup).start()).unwrap(), 2);
}

/// Encodes a frame: its length, its kind, its fields.
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

/// The description of the first callsite of a worker process.
fn first_callsite(is_span: bool) -> Vec<u8> {
    let description = described(is_span, "abuse");
    written(&ToParent::Callsite { call: 0, number: 0, description })
}

/// Any invalid data on the data socket: the task fails with the reason, a task in another worker
/// process goes on, and the task behind it runs.
#[test]
fn invalid_data_frames_fail_their_worker() {
    let sup = pool(MpPoolConfig::new(2));
    let other = until_stop(()).supervisor(&sup).start();
    let there = other.recv().unwrap();
    const NONE: u64 = 1 << 40;
    let number = |n: u64| n.to_le_bytes();
    let values = &[0xff, 0xff];
    let (call, span, callsite, parent) = (NONE, 1, 0, ParentSpan::Task);
    let event = written(&ToParent::Event { call, callsite, parent, values });
    let opened = written(&ToParent::SpanOpened { call, span, callsite, parent, values });
    let cases: [(&str, Vec<u8>, Vec<u8>); 23] = [
        ("an empty frame", vec![0; 8], vec![]),
        ("an empty frame", vec![], vec![0; 4096]),
        ("a frame with an invalid length", vec![0xff; 64], vec![]),
        ("a frame with an invalid length", framed(1 << 41, 3, &[]), vec![]),
        ("a frame with an invalid length", framed(1 << 21, 5, &[]), vec![]),
        ("a frame with an invalid length", framed(1 << 30, 7, &[]), vec![]),
        ("unknown kind", framed(1, 99, &[]), vec![]),
        ("a truncated field", framed(9, 5, &[&number(1)]), vec![]),
        ("a truncated field", framed(18, 4, &[&number(1), &number(2), &[1]]), vec![]),
        ("a frame with extra bytes", framed(18, 5, &[&number(1), &number(2), &[1]]), vec![]),
        ("not UTF-8", framed(18, 6, &[&number(1), &number(1), &[0xff]]), vec![]),
        ("a start-up message after the start", written(&ToParent::Ready { pid: 1 }), vec![]),
        (
            "a start-up message after the start",
            written(&ToParent::StartFailed { reason: "no" }),
            vec![],
        ),
        ("a message of a template", written(&ToParent::Declined { reason: "no" }), vec![]),
        // Only sent where no page is shared.
        ("a call state out of order", written(&ToParent::Begun { call: NONE, at: 1 }), vec![]),
        (
            "a reply to no outstanding call",
            written(&ToParent::Reply { call: NONE, ok: true, bytes: b"x" }),
            vec![],
        ),
        ("a callsite that was not described", event.clone(), vec![]),
        ("a callsite that was not described", opened.clone(), vec![]),
        ("a callsite out of order", first_callsite(true).repeat(2), vec![]),
        ("a callsite of another kind", [first_callsite(true), event.clone()].concat(), vec![]),
        ("a value of a field", [first_callsite(false), event].concat(), vec![]),
        ("a value of a field", [first_callsite(true), opened].concat(), vec![]),
        // It would take long until all of it has arrived.
        (
            "a reply to no outstanding call",
            framed(1 << 40, 3, &[&number(NONE), &[1], &number((1 << 40) - 18)]),
            vec![0; 1 << 16],
        ),
    ];
    let count = cases.len() as u64;
    for (wanted, once, endless) in cases {
        let task = tells_raw((once, endless)).supervisor(&sup).start();
        let next = add((1, 1)).supervisor(&sup).start();
        let error = within(task).unwrap_err();
        assert!(error.is_worker_died(), "{wanted}: {error}");
        let text = error.to_string();
        assert!(text.contains("it violated the protocol") && text.contains(wanted), "{text}");
        assert_eq!(within(next).unwrap(), 2, "{wanted}");
    }
    assert_eq!(sup.info().mp_pool.unwrap().restarts, count);
    assert!(!is_gone(there));
    other.stop();
    assert_eq!(within(other).unwrap(), "stopped");
}

/// Valid frames about spans that are not open, and of calls that do not run.
#[test]
fn stray_tracing_frames_are_ignored() {
    for over_sockets in [false, true] {
        let sup = pool(MpPoolConfig::new(1).__over_sockets(over_sockets));
        let mut bytes = first_callsite(true);
        for (span, call) in [(1, 0), (2, 1), (3, u64::MAX), (4, 1 << 40), (5, 0)] {
            let (callsite, parent) = (0, ParentSpan::Span(99 - span));
            let frames = [
                ToParent::SpanOpened { call, span, callsite, parent, values: &[] },
                ToParent::SpanFollows { call, span, from: parent },
                ToParent::SpanFollows { call, span: 98, from: parent },
                ToParent::SpanRecorded { span: 97, values: &[0xff] },
                ToParent::SpanClosed { span: 96 },
                ToParent::SpansClosed { call: call ^ 1 },
            ];
            frames.iter().for_each(|frame| frame.write(&mut bytes));
        }
        let there = within(pid(()).supervisor(&sup).start()).unwrap();
        assert_eq!(within(tells_and_returns(bytes).supervisor(&sup).start()).unwrap(), 7);
        for n in 0..5 {
            assert_eq!(within(add((n, 1)).supervisor(&sup).start()).unwrap(), n + 1);
        }
        assert_eq!(within(pid(()).supervisor(&sup).start()).unwrap(), there);
    }
}

/// Where no page is shared, the worker reports the states of a call by frames.
#[test]
fn states_out_of_order_fail_the_worker() {
    let sup = pool(MpPoolConfig::new(1).__over_sockets(true));
    let cases = [
        ("begun again", "a call state out of order"),
        ("the next begun", "a call state out of order"),
        ("ended twice", "a call state out of order"),
        ("another ended", "a call state out of order"),
        ("progress after the end", "a call state out of order"),
        ("another's progress", "a call state out of order"),
        ("a reply before the end", "a reply to no outstanding call"),
        ("another's reply", "a reply to no outstanding call"),
        ("half of a reply", "SIGABRT (6)"),
    ];
    let count = cases.len() as u64;
    for (what, wanted) in cases {
        let task = out_of_turn(what.into()).supervisor(&sup).start();
        let next = add((1, 1)).supervisor(&sup).start();
        let error = within(task).unwrap_err();
        assert!(error.is_worker_died(), "{what}: {error}");
        assert!(error.to_string().contains(wanted), "{what}: {error}");
        assert_eq!(within(next).unwrap(), 2, "{what}");
    }
    assert_eq!(sup.info().mp_pool.unwrap().restarts, count);
}

/// Valid frames without end.
#[test]
fn endless_frames_are_bounded_or_can_be_killed() {
    let sup = pool(MpPoolConfig::new(1));
    let kinds = ["message", "large", "too large", "reply", "event", "spans", "callsites", "taken"];
    for what in kinds.into_iter().chain(["progress", "said"]) {
        let task = sends_endlessly(what.into()).supervisor(&sup).start();
        let wanted = match what {
            "message" | "large" => "more messages than the channel holds",
            "too large" => "a frame with an invalid length",
            "taken" => "more messages acknowledged than sent",
            "progress" => "a call state out of order",
            "reply" => "a reply to no outstanding call",
            "callsites" => "a callsite out of order",
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

/// The parent does not read from that socket.
#[test]
fn writes_to_the_control_socket_are_ignored() {
    let sup = pool(MpPoolConfig::new(1));
    let there = within(tells_control(false).supervisor(&sup).start()).unwrap();
    assert_eq!(within(pid(()).supervisor(&sup).start()).unwrap(), there);
    let limit = Duration::from_millis(100);
    let task = tells_control(true).supervisor(&sup).timeout(limit).start();
    assert!(within(task).unwrap_err().is_timeout());
    assert_eq!(within(add((1, 1)).supervisor(&sup).start()).unwrap(), 2);
}

/// Like a task that closes any descriptors it finds.
#[test]
fn task_that_closes_descriptors_fails_at_most_its_worker() {
    for which in [Some(0), Some(1), Some(2), None] {
        let sup = pool(MpPoolConfig::new(1));
        let task = closes(which).supervisor(&sup).start();
        let result = within(task);
        assert!(matches!(&result, Ok(7) | Err(TaskError::WorkerDied(_))), "{which:?}: {result:?}");
        for n in 0..3 {
            // The first call may be sent to the same worker before it has ended.
            let result = within(add((n, 1)).supervisor(&sup).start());
            let died = n == 0 && result.as_ref().is_err_and(TaskError::is_worker_died);
            assert!(died || result == Ok(n + 1), "{which:?}: {result:?}");
        }
        sup.stop(StopOptions::new());
    }
}

#[test]
fn panicking_result_destructor_affects_no_other_task() {
    let sup = pool(MpPoolConfig::new(1));
    for n in 0..20 {
        // The result has no owner: it is dropped by the thread that decodes the reply, unless that
        // was earlier.
        let task = bombs(n).supervisor(&sup).start();
        drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(task))));
        assert_eq!(within(add((n, 1)).supervisor(&sup).start()).unwrap(), n + 1);
    }
    assert_eq!(sup.info().mp_pool.unwrap().restarts, 0);
}

/// A task as its pool receives it.
pub(super) fn bare<R: Send + 'static>(
    function: &'static Function,
    args: &impl Serialize,
    decode: crate::wire::args::Reader<R>,
) -> TaskArc {
    let header = Header::new(crate::TaskType::Mp, crate::TaskId::next());
    header.record_queued();
    assert!(header.state.launch(Phase::Queued));
    let args = finish(to_bytes(args).unwrap());
    Cell::<R, _>::allocate(header, RemoteBody(decode), Remote::new(function, args, decode)).erase()
}

#[test]
fn late_kill_affects_no_later_call() {
    let pool = ProcessPool::new("late", None, MpPoolConfig::new(1));
    pool.open();
    let warm = bare(&add_entry::ENTRY, &(1u64, 2u64), read::<u64>);
    pool.start(Job::new(warm.clone()), WhenFull::NoWait);
    TaskRef::new(warm).wait().unwrap();

    let short = bare(&add_entry::ENTRY, &(1u64, 2u64), read::<u64>);
    let long = bare(&sleep_entry::ENTRY, &500u64, read::<u64>);
    {
        let mut actions = Actions::default();
        // While the lock is held, nothing is taken out.
        let mut inner = pool.inner.lock();
        let first = inner.lanes[0].next_call();
        for task in [&short, &long] {
            let ticket = inner.backlog.issue_ticket(Priority::Normal);
            let job = Job::new(task.clone());
            inner.send(0, Priority::Normal, ticket, job, crate::time::clock::now(), &mut actions);
        }
        actions.perform(&pool);
        let worker = Arc::clone(inner.lanes[0].worker().unwrap());
        eventually("the second one runs", || {
            worker.page.state(first + 1) == Some(CallState::Begun)
        });
        // The kill was requested while the first call was running.
        let mut actions = Actions::default();
        inner.kill_for(0, first, KillReason::Kill, crate::time::clock::now(), &mut actions);
        assert!(!actions.kills());
    }
    TaskRef::new(short).wait().unwrap();
    TaskRef::new(long).wait().unwrap();
    pool.close(&Closing::default());
}
