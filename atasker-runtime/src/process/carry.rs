//! What is too large for a slot of the page stands in one of two *areas* behind it: arguments in the
//! one, which the parent writes, replies in the other, which the worker writes. Each side gives out
//! the places of its area, in the order of the calls ([`Ring`]), and knows by the page when they are
//! free again: arguments when their call is over, a reply when the parent has copied it.
//!
//! An area is address space without memory: what has been used is kept and used again, and given back
//! when the worker has had nothing to do for a moment ([`KEEP`]). A payload for which there is no
//! place, and all of them where the system spares no address space, go over the data socket.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use std::os::fd::AsFd;

use parking_lot::Mutex;

use crate::process::page::{Page, ReplyAt};
use crate::process::ring::Ring;
use crate::sys::mapping::{self, Area, Mapping};
use crate::wire::reply::Reply;

/// An area. Not memory: nothing that is not used costs any.
const SIZE: usize = if cfg!(target_pointer_width = "64") { 256 << 20 } else { 8 << 20 };

/// Of an area so much is usually used.
const USUAL: usize = 256 << 10;

/// Arguments up to here are copied where a call is sent; larger ones outside of the pool's lock.
pub(super) const AT_ONCE: usize = 80 << 10;

/// How long memory is kept that is not in use.
pub(super) const KEEP: Duration = Duration::from_millis(250);

/// How many bytes of areas a new worker process shall have.
pub(super) fn spared() -> usize {
    if mapping::is_unlimited((Mapping::<Page>::LENGTH + 2 * SIZE) as u64) { 2 * SIZE } else { 0 }
}

/// Both areas behind a page: of arguments, of replies.
pub(super) fn areas(spared: usize, in_worker: bool) -> (Area, Area) {
    let (begin, size) = (Mapping::<Page>::LENGTH, spared / 2);
    let args = Area::new(begin..begin + size, !in_worker);
    let replies = Area::new(begin + size..begin + 2 * size, in_worker);
    (args, replies)
}

/// The places in an area of so many spared bytes for both.
pub(super) fn ring(spared: usize) -> Ring {
    Ring::new(spared / 2, USUAL)
}

/// The worker's side.
pub(super) struct Carried {
    args: Area,
    replies: Mutex<Replies>,
    /// Memory is in use that nobody needs in between.
    is_warm: AtomicBool,
}

struct Replies {
    area: Area,
    ring: Ring,
    /// So many of them are known to be copied.
    copied: u64,
}

impl Carried {
    /// Maps both areas.
    pub(super) fn open(file: impl AsFd, spared: usize) -> std::io::Result<Self> {
        let (mut args, mut replies) = areas(spared, true);
        if spared > 0 {
            args.map_whole(&file)?;
            replies.map_whole(&file)?;
        }
        let replies = Replies { area: replies, ring: ring(spared), copied: 0 };
        Ok(Carried { args, replies: Mutex::new(replies), is_warm: AtomicBool::new(false) })
    }

    /// Arguments in their place.
    pub(super) fn args(&self, at: usize, len: usize) -> &[u8] {
        self.is_warm.store(true, Ordering::Relaxed);
        // SAFETY: this process has mapped the area to read only; and the parent writes there again
        // when the call is done, or passed over: until then the task thread has what this gives.
        unsafe { self.args.lend(at, len) }
    }

    /// Puts a reply into its area, if there is a place.
    pub(super) fn put(&self, page: &Page, call: u64, ok: bool, reply: &Reply) -> Option<ReplyAt> {
        let len = reply.len();
        let mut replies = self.replies.lock();
        let Replies { area, ring, copied } = &mut *replies;
        let now = page.copied();
        ring.free_first(now.saturating_sub(*copied));
        *copied = now;
        let at = ring.take(call, len)?;
        let [block, rest] = reply.parts();
        area.put(at, block);
        area.put(at + block.len(), rest);
        self.is_warm.store(true, Ordering::Relaxed);
        Some(ReplyAt::Area { ok, len, at })
    }

    /// Whether there may be memory to give back.
    pub(super) fn is_warm(&self) -> bool {
        self.is_warm.load(Ordering::Relaxed)
    }

    /// Gives the memory of copied replies back; nothing is done for a while.
    pub(super) fn cool(&self, page: &Page) {
        let mut replies = self.replies.lock();
        let now = page.copied();
        let news = now.saturating_sub(replies.copied);
        replies.ring.free_first(news);
        replies.copied = now;
        if replies.ring.is_free() {
            let used = replies.ring.take_used();
            replies.area.forget(used);
            self.is_warm.store(false, Ordering::Relaxed);
        }
    }
}
