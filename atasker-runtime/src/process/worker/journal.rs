//! How a chunk of a map records what it has done, so that its parent knows it even if this process
//! dies. See `transport::journal`.

use crate::process::transport::journal::JOURNAL_BYTES;
use crate::process::worker::{WORKER, WorkerProcess, current_call};
use crate::wire::frame::ToParent;

/// The journal of the call that this process runs.
pub(crate) struct JournalWriter {
    process: &'static WorkerProcess,
    call: u64,
    /// The number of items of the call.
    items: u32,
    /// The number of items that were begun.
    begun: u32,
    /// The bytes of results that were recorded.
    recorded: usize,
}

/// Whether a result was recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Recorded {
    Yes,
    /// There is no room. The call has to reply before anything else runs.
    No,
}

/// Begins the journal of the call that this process runs for its parent. `None` for other tasks,
/// which end together with those that wait for them.
pub(crate) fn begin_journal(items: u32) -> Option<JournalWriter> {
    let process = WORKER.get()?;
    let call = current_call();
    if call == 0 {
        return None;
    }
    process.page.journal.begin(call, items);
    Some(JournalWriter { process, call, items, begun: 0, recorded: 0 })
}

impl JournalWriter {
    /// Begins the next item, before its function runs. Returns false if none is left here.
    /// `results` are those of all items that are finished.
    pub(crate) fn begin_item(&mut self, results: &[u8]) -> bool {
        if !self.process.over_sockets {
            return self.process.page.journal.begin_item();
        }
        if self.begun == self.items {
            return false;
        }
        self.begun += 1;
        // One frame for the end of an item and the begin of the next one. Nothing is sent after the
        // last item, because the reply follows.
        let new = &results[self.recorded..];
        self.process.write(&ToParent::Items { call: self.call, begun: self.begun, results: new });
        self.recorded = results.len();
        true
    }

    /// Records the result of the item that has begun, as the last of `results`.
    pub(crate) fn finish_item(&mut self, results: &[u8], done: u32) -> Recorded {
        let recorded = match self.process.over_sockets {
            true => results.len() <= JOURNAL_BYTES,
            false => {
                let recorded = self.process.page.journal.finish_item(results, self.recorded, done);
                self.recorded = results.len();
                recorded
            }
        };
        if recorded { Recorded::Yes } else { Recorded::No }
    }
}
