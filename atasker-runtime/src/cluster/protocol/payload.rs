//! Arguments and results: small ones within entries and records, large ones in blocks.

use super::member::Member;
use super::record::Payload;
use crate::cluster::broker::{BrokerError, Kept};
use crate::id::TaskId;

/// The largest block.
const BLOCK: usize = 512 << 10;

/// Blocks that are under way at the same time.
const WINDOW: usize = 16;

/// The largest arguments and the largest result.
pub(super) const LIMIT: u64 = 1 << 30;

/// The key of the blocks of the arguments of a call.
pub(super) fn args_key(id: TaskId) -> String {
    format!("{id}_a")
}

/// The key of the blocks of the arguments of a dead letter.
pub(super) fn dead_key(id: TaskId) -> String {
    format!("{id}_d")
}

/// The key of the blocks of the result of one run.
pub(super) fn result_key(id: TaskId, claim: u64) -> String {
    format!("{id}_r{claim:x}")
}

impl Member {
    /// Returns whether a payload is stored in blocks.
    pub(super) fn is_large(&self, bytes: &[u8]) -> bool {
        bytes.len() > self.shared.limits.large_after
    }

    /// Stores the blocks of a payload, if it is large, and repeats that until it is done.
    pub(super) async fn put_payload(
        &self,
        bytes: Vec<u8>,
        key: impl FnOnce() -> String,
    ) -> Payload {
        if !self.is_large(&bytes) {
            return Payload::Inline(bytes);
        }
        // In a box, because most payloads need no room for it.
        Box::pin(self.put_blocks(Kept::AsRecords, &bytes, key())).await
    }

    /// Stores the blocks of a payload, and repeats that until it is done.
    pub(super) async fn put_blocks(&self, kept: Kept, bytes: &[u8], key: String) -> Payload {
        let put_key = key.as_str();
        let put = bytes.chunks(BLOCK).zip(0..).map(|(block, index)| async move {
            let put = || self.broker.put_block(kept, put_key, index, block.to_vec());
            self.surely("put a block", put).await;
        });
        let count = super::all(WINDOW, put).await;
        Payload::Blocks { kept, key, count, bytes: bytes.len() as u64 }
    }

    /// Returns the bytes of a payload, or an error if blocks of it are gone.
    pub(super) async fn get_payload(&self, payload: Payload) -> Result<Vec<u8>, BrokerError> {
        let (kept, key, count, length) = match payload {
            Payload::Inline(bytes) => return Ok(bytes),
            Payload::Blocks { kept, key, count, bytes } => (kept, key, count, bytes),
        };
        let blocks = self.surely("get blocks", || {
            let blocks = self.broker.get_blocks(kept, &key, count);
            Box::pin(async {
                match blocks.await {
                    Ok(blocks) => Ok(Ok(blocks)),
                    // They will not be there later either.
                    Err(error @ BrokerError::NotFound(_)) => Ok(Err(error)),
                    Err(error) => Err(error),
                }
            })
        });
        let bytes = blocks.await?;
        if bytes.len() as u64 != length {
            return Err(BrokerError::NotFound(format!("a part of `{key}`")));
        }
        Ok(bytes)
    }

    /// Removes the blocks of a payload, if it has any.
    pub(super) async fn remove_payload(&self, payload: &Payload) -> Result<(), BrokerError> {
        match payload {
            Payload::Inline(_) => Ok(()),
            Payload::Blocks { kept, key, .. } => self.broker.remove_blocks(*kept, key).await,
        }
    }
}
