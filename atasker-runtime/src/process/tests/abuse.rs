//! Workers that spoil what they share, results that do harm, and kills that come too late.

use std::sync::Arc;

use super::*;
use crate::job::{Job, Place};
use crate::process::deal::Deeds;
use crate::process::lane::Why;
use crate::process::page::Step;
use crate::process::pool::ProcessPool;
use crate::task::AnyTask;
use crate::task::cell::Cell;
use crate::task::header::Header;
use crate::task::reference::TaskRef;
use crate::task::remote::{Remote, RemoteBody};

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
    decode: fn(&[u8]) -> Result<R, TaskError>,
) -> Arc<dyn AnyTask> {
    let header = Header::new(crate::TaskType::Mp);
    header.note_queued();
    assert!(header.state.launch(false));
    let args = to_bytes(args).unwrap();
    Cell::<R, _>::new(header, RemoteBody(decode), Remote::new(function, args, decode))
}

#[test]
fn a_kill_that_comes_too_late_hits_nobody() {
    let pool = ProcessPool::new("late", MpPoolConfig::new(1));
    pool.open();
    let warm = bare(&add_entry::ENTRY, &(1u64, 2u64), from_bytes::<u64>);
    pool.start(Job::new(Arc::clone(&warm)), false);
    TaskRef::new(warm).wait().unwrap();

    let short = bare(&add_entry::ENTRY, &(1u64, 2u64), from_bytes::<u64>);
    let long = bare(&sleep_entry::ENTRY, &500u64, from_bytes::<u64>);
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
