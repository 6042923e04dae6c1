//! The journal of a call that runs many items, a chunk of a map: which of them it has begun, and
//! the results of those that it has finished. It is in the shared page, so it outlives the worker
//! process: after its death it shows which item was running, and no result is lost.
//!
//! A worker process runs one call at a time, so there is one journal per page. One word holds the
//! call, the number of items that have begun, and a limit:
//!
//! ```text
//!   | call (24 bits) | begun (20 bits) | limit (20 bits) |
//! ```
//!
//! The worker begins an item, and the parent lowers the limit to take back items that have not
//! begun, by compare-and-swap of that word. So an item is begun here or taken back, never both. The
//! call protects the next chunk from a parent that is late: it is in the word, and the parent makes
//! its change under the pool's lock, so that no more than [`CAPACITY`](super::page::CAPACITY) calls
//! can follow meanwhile.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::remote::chunk::Salvaged;

/// The results that fit into a journal, in bytes. A chunk with more ends early.
pub(crate) const JOURNAL_BYTES: usize = 128 << 10;

/// The most items of a chunk.
pub(crate) const MAX_ITEMS: u32 = (1 << ITEM_BITS) - 1;

const ITEM_BITS: u32 = 20;
const CALL_BITS: u32 = 64 - 2 * ITEM_BITS;

/// See the module documentation.
#[repr(C, align(64))]
pub(crate) struct Journal {
    items: AtomicU64,
    /// The number of finished items, whose results are below.
    done: AtomicU64,
    /// The length of their results, in bytes.
    len: AtomicU64,
    results: [AtomicU64; JOURNAL_BYTES / 8],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Items {
    call: u64,
    begun: u32,
    limit: u32,
}

impl Items {
    fn pack(self) -> u64 {
        debug_assert!(self.begun <= MAX_ITEMS && self.limit <= MAX_ITEMS);
        call_tag(self.call) << (2 * ITEM_BITS)
            | u64::from(self.begun) << ITEM_BITS
            | u64::from(self.limit)
    }

    fn unpack(word: u64) -> Items {
        let number = |word: u64| (word as u32) & MAX_ITEMS;
        let call = word >> (2 * ITEM_BITS);
        Items { call, begun: number(word >> ITEM_BITS), limit: number(word) }
    }
}

fn call_tag(call: u64) -> u64 {
    call & ((1 << CALL_BITS) - 1)
}

/// The worker's side.
impl Journal {
    /// Begins the journal of a call with that many items.
    pub(crate) fn begin(&self, call: u64, items: u32) {
        self.done.store(0, Ordering::Relaxed);
        self.len.store(0, Ordering::Relaxed);
        // Release: the parent that sees the call does not see what is left of an earlier one.
        self.items.store(Items { call, begun: 0, limit: items }.pack(), Ordering::Release);
    }

    /// Begins the next item. Returns false if none is left.
    pub(crate) fn begin_item(&self) -> bool {
        let begin = |word| {
            let items = Items::unpack(word);
            let begun = items.begun + 1;
            (begun <= items.limit).then(|| Items { begun, ..items }.pack())
        };
        // AcqRel: what the item does comes neither before this nor before the end of the last one.
        self.items.fetch_update(Ordering::AcqRel, Ordering::Acquire, begin).is_ok()
    }

    /// Records that the item that has begun is finished. `results` are those of all finished items,
    /// of which the journal has `recorded` bytes. Returns false if there is no room for them.
    #[must_use]
    pub(crate) fn finish_item(&self, results: &[u8], recorded: usize, done: u32) -> bool {
        if results.len() > JOURNAL_BYTES {
            return false;
        }
        let first = recorded / 8;
        let (words, rest) = results[8 * first..].as_chunks::<8>();
        let mut to = self.results[first..].iter();
        for (word, to) in words.iter().zip(to.by_ref()) {
            to.store(u64::from_ne_bytes(*word), Ordering::Relaxed);
        }
        if let (false, Some(to)) = (rest.is_empty(), to.next()) {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            to.store(u64::from_ne_bytes(last), Ordering::Relaxed);
        }
        self.len.store(results.len() as u64, Ordering::Relaxed);
        // Release: an item counts as finished only when its result is here.
        self.done.store(done.into(), Ordering::Release);
        true
    }
}

/// The parent's side. What is read is not trusted.
impl Journal {
    /// Takes back the later half of the items that a call has not begun. The range is empty if
    /// there are none. `None` if that is the journal of another call.
    pub(crate) fn take_back(&self, call: u64) -> Option<Range<u32>> {
        let mut word = self.items.load(Ordering::Acquire);
        loop {
            let items = Items::unpack(word);
            if items.call != call_tag(call) {
                return None;
            }
            let left = items.limit.saturating_sub(items.begun);
            if left == 0 {
                return Some(items.limit..items.limit);
            }
            let limit = items.begun + left / 2;
            let new = Items { limit, ..items }.pack();
            match self.items.compare_exchange(word, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(limit..items.limit),
                Err(now) => word = now,
            }
        }
    }

    /// Returns what the worker process, which is dead, has finished of this call. `None` if that is
    /// the journal of another call.
    pub(crate) fn salvage(&self, call: u64) -> Option<Salvaged> {
        let items = Items::unpack(self.items.load(Ordering::Acquire));
        if items.call != call_tag(call) {
            return None;
        }
        let done = u32::try_from(self.done.load(Ordering::Acquire)).unwrap_or(u32::MAX);
        // The length may be that of one item more, if it died while it recorded that.
        let len = self.len.load(Ordering::Relaxed).min(JOURNAL_BYTES as u64) as usize;
        let mut results = Vec::with_capacity(len.next_multiple_of(8));
        for word in &self.results[..len.div_ceil(8)] {
            results.extend_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        results.truncate(len);
        Some(Salvaged { begun: items.begun, done, results })
    }

    /// Overwrites everything with a pattern.
    #[cfg(all(test, feature = "pre-main"))]
    pub(super) fn corrupt(&self, pattern: u64) {
        for word in [&self.items, &self.done, &self.len].into_iter().chain(&self.results) {
            word.store(pattern, Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    fn journal() -> Box<Journal> {
        // Not on the stack first, which is small on some platforms.
        let results = std::iter::repeat_with(AtomicU64::default).take(JOURNAL_BYTES / 8);
        let results: Box<[AtomicU64]> = results.collect();
        let results: Box<[AtomicU64; JOURNAL_BYTES / 8]> = results.try_into().unwrap();
        Box::new(Journal {
            items: AtomicU64::new(0),
            done: AtomicU64::new(0),
            len: AtomicU64::new(0),
            results: *results,
        })
    }

    #[test]
    fn results_of_finished_items_are_salvaged() {
        let journal = journal();
        journal.begin(7, 3);
        assert_eq!(journal.salvage(7), Some(Salvaged::default()));
        assert_eq!(journal.salvage(6), None);
        let mut results = Vec::new();
        for (n, text) in (1..).zip(["abc", "", "a text of more than two words"]) {
            assert!(journal.begin_item());
            let salvaged = journal.salvage(7).unwrap();
            assert_eq!((salvaged.begun, salvaged.done), (n, n - 1));
            assert_eq!(salvaged.results, results);
            let recorded = results.len();
            results.extend_from_slice(text.as_bytes());
            assert!(journal.finish_item(&results, recorded, n));
        }
        assert!(!journal.begin_item(), "no item is left");
        assert_eq!(journal.salvage(7), Some(Salvaged { begun: 3, done: 3, results }));
        journal.begin(8, 1);
        assert_eq!(journal.salvage(8), Some(Salvaged::default()));
    }

    #[test]
    fn results_without_room_are_refused() {
        let journal = journal();
        journal.begin(1, 2);
        let results = vec![1; JOURNAL_BYTES + 1];
        assert!(journal.finish_item(&results[1..], 0, 1));
        assert!(!journal.finish_item(&results, JOURNAL_BYTES, 2));
        assert_eq!(journal.salvage(1).unwrap().results.len(), JOURNAL_BYTES);
    }

    #[test]
    fn later_half_of_what_has_not_begun_is_taken_back() {
        let journal = journal();
        let call = 1 << 60 | 5;
        journal.begin(call, 10);
        assert!(journal.begin_item());
        assert_eq!(journal.take_back(6), None);
        assert_eq!(journal.take_back(call), Some(5..10));
        assert_eq!(journal.take_back(call), Some(3..5));
        assert_eq!(journal.take_back(call), Some(2..3));
        assert!(journal.begin_item());
        assert!(!journal.begin_item());
        assert_eq!(journal.take_back(call), Some(2..2), "nothing is left");
        assert_eq!(journal.salvage(call).unwrap().begun, 2);
    }

    #[test]
    fn invalid_words_do_not_panic() {
        let journal = journal();
        for pattern in [u64::MAX, 0, 0x5555_5555_5555_5555, 0xffff_fff0_0000] {
            for word in [&journal.items, &journal.done, &journal.len] {
                word.store(pattern, Ordering::Relaxed);
            }
            for call in [0, 0x55_5555, 0xff_ffff, 1] {
                let _ = (journal.take_back(call), journal.salvage(call));
            }
        }
    }

    #[test]
    fn item_is_begun_or_taken_back() {
        let journal = journal();
        for call in 1..300 {
            let items = 40;
            journal.begin(call, items);
            let mut taken = Vec::new();
            let begun = std::thread::scope(|s| {
                let done = AtomicBool::new(false);
                let worker = s.spawn(|| (0..).take_while(|_| journal.begin_item()).count());
                while !worker.is_finished() && !done.load(Ordering::Relaxed) {
                    let range = journal.take_back(call).unwrap();
                    done.store(range.is_empty(), Ordering::Relaxed);
                    taken.extend(range);
                }
                worker.join().unwrap() as u32
            });
            taken.extend(0..begun);
            taken.sort();
            assert_eq!(taken, Vec::from_iter(0..items));
        }
    }
}
