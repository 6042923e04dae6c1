//! Payloads that are too large for an entry of the page (more than 256 bytes). They are in one of
//! two *regions* behind the page, in the same sealed file: one for arguments, which the parent
//! writes, and one for replies, which the worker writes. Each side allocates space in its region in
//! the order of the calls ([`Ring`]), so that the same few pages are reused. Space is freed by what
//! the page shows: arguments when their call is over, a reply when the parent has copied it.
//!
//! The pool's lock guards the parent's allocator. Arguments of more than 80 KiB are copied outside
//! of that lock and then announced by a byte on the data socket, so that it remains exact which
//! calls can be withdrawn. The worker borrows arguments in place, from a read-only mapping. The
//! parent copies a reply into a buffer before it decodes it, so nothing that the worker writes
//! meanwhile matters.
//!
//! A region is address space without memory (256 MiB on 64-bit systems). Memory that has been used
//! is kept, because fresh pages cost several times as much as copying, and decommitted when the
//! worker has been idle for a moment ([`DECOMMIT_DELAY`]); the same holds for large buffers of
//! encoded arguments (`wire::buffer_pool`). A payload for which there is no space goes over the
//! data socket; so do all of them if `ulimit -v` or `-f` limits the space. Writing and reading the
//! same file by system calls, instead of mapping it, was a third as fast.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use std::os::fd::AsFd;

use crate::sync::lock::Mutex;

use crate::process::transport::entry::ReplyLocation;
use crate::process::transport::page::Page;
use crate::process::transport::ring::Ring;
use crate::sys::mapping::{self, Access, Mapping, Region};
use crate::wire::reply::Reply;

/// The size of a region in bytes. Untouched address space costs no memory.
const REGION_SIZE: usize = if cfg!(target_pointer_width = "64") { 256 << 20 } else { 8 << 20 };

/// Allocation wraps around after this many bytes if possible.
const WRAP_AT: usize = 256 << 10;

/// Arguments up to this size are copied under the pool's lock; larger ones outside of it.
pub(crate) const COPY_UNDER_LOCK_MAX: usize = 80 << 10;

/// How long unused memory is kept.
pub(crate) const DECOMMIT_DELAY: Duration = Duration::from_millis(250);

/// The bytes of both regions of a new worker process: at most its memory limit, because no limit of
/// the system counts what it writes there. 0 if address space or file sizes are limited.
pub(crate) fn region_bytes(memory_limit: Option<u64>) -> usize {
    let limit =
        memory_limit.map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    let region = (limit / 2).min(REGION_SIZE) >> 16 << 16;
    if mapping::has_no_limit((Mapping::<Page>::LENGTH + 2 * region) as u64) {
        2 * region
    } else {
        0
    }
}

/// A side of the shared memory. The parent writes the arguments, the worker the replies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Parent,
    Worker,
}

impl Side {
    /// Write access for the side that writes, read access for the other one.
    fn access_if(self, writer: Side) -> Access {
        if self == writer { Access::ReadWrite } else { Access::ReadOnly }
    }
}

/// The two regions behind a page: of arguments and of replies.
pub(crate) fn regions(region_bytes: usize, side: Side) -> (Region, Region) {
    let (begin, size) = (Mapping::<Page>::LENGTH, region_bytes / 2);
    let args = Region::new(begin..begin + size, side.access_if(Side::Parent));
    let replies = Region::new(begin + size..begin + 2 * size, side.access_if(Side::Worker));
    (args, replies)
}

/// The allocator for one of two regions that have `region_bytes` together.
pub(crate) fn ring(region_bytes: usize) -> Ring {
    Ring::new(region_bytes / 2, WRAP_AT)
}

/// The regions in the worker process.
pub(crate) struct ShmPayloads {
    args: Region,
    replies: Mutex<Replies>,
    /// Memory is in use that is not needed while idle. Relaxed, because only the task thread reads
    /// it.
    may_decommit: AtomicBool,
}

struct Replies {
    region: Region,
    ring: Ring,
    /// The number of replies known to be copied.
    copied: u64,
}

impl ShmPayloads {
    /// Maps both regions.
    pub(crate) fn open(file: impl AsFd, region_bytes: usize) -> std::io::Result<Self> {
        let (mut args, mut replies) = regions(region_bytes, Side::Worker);
        if region_bytes > 0 {
            args.map_all(&file)?;
            replies.map_all(&file)?;
        }
        let replies = Replies { region: replies, ring: ring(region_bytes), copied: 0 };
        Ok(ShmPayloads { args, replies: Mutex::new(replies), may_decommit: AtomicBool::new(false) })
    }

    /// Without regions, because nothing is shared.
    pub(crate) fn none() -> Self {
        let (args, replies) = regions(0, Side::Worker);
        let replies = Replies { region: replies, ring: ring(0), copied: 0 };
        ShmPayloads { args, replies: Mutex::new(replies), may_decommit: AtomicBool::new(false) }
    }

    /// Borrows arguments in place.
    pub(crate) fn args(&self, at: usize, len: usize) -> &[u8] {
        self.may_decommit.store(true, Ordering::Relaxed);
        // SAFETY: this process has mapped the region read-only. The parent writes there again only
        // after the call is done or skipped, and until then the task thread holds the returned
        // reference.
        unsafe { self.args.borrow(at, len) }
    }

    /// Copies a reply into its region, if there is space.
    pub(crate) fn put(
        &self,
        page: &Page,
        call: u64,
        ok: bool,
        reply: &Reply,
    ) -> Option<ReplyLocation> {
        let len = reply.len();
        let mut replies = self.replies.lock();
        let Replies { region, ring, copied } = &mut *replies;
        let now = page.replies_copied();
        ring.free_oldest(now.saturating_sub(*copied));
        *copied = now;
        let at = ring.alloc(call, len)?;
        let [block, rest] = reply.parts();
        region.write(at, block);
        region.write(at + block.len(), rest);
        self.may_decommit.store(true, Ordering::Relaxed);
        Some(ReplyLocation::Region { ok, len, at })
    }

    /// Whether there may be memory to decommit.
    pub(crate) fn may_decommit(&self) -> bool {
        self.may_decommit.load(Ordering::Relaxed)
    }

    /// Decommits the memory of copied replies, because nothing has happened for a while.
    pub(crate) fn decommit_idle(&self, page: &Page) {
        let mut replies = self.replies.lock();
        let now = page.replies_copied();
        let newly_copied = now.saturating_sub(replies.copied);
        replies.ring.free_oldest(newly_copied);
        replies.copied = now;
        if replies.ring.is_empty() {
            let end = replies.ring.take_high_water();
            replies.region.decommit(end);
            self.may_decommit.store(false, Ordering::Relaxed);
        }
    }
}
