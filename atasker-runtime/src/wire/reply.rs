//! The reply to a call as it is being made in the worker: a large result is handed over as it is,
//! and copied once, into what carries it.

/// See the module's documentation. The block comes first, then what was appended.
#[derive(Debug, Default)]
pub struct Reply {
    block: Vec<u8>,
    rest: Vec<u8>,
}

impl Reply {
    /// Appends in this buffer.
    #[allow(dead_code)]
    pub(crate) fn within(rest: Vec<u8>) -> Self {
        Reply { block: Vec::new(), rest }
    }

    /// Takes bytes as the begin of an empty reply.
    pub(crate) fn give_block(&mut self, block: Vec<u8>) {
        debug_assert!(self.block.is_empty() && self.rest.is_empty());
        self.block = block;
    }

    /// Where more is appended.
    pub(crate) fn rest_mut(&mut self) -> &mut Vec<u8> {
        &mut self.rest
    }

    pub(crate) fn len(&self) -> usize {
        self.block.len() + self.rest.len()
    }

    /// All of it, in two parts.
    #[allow(dead_code)]
    pub(crate) fn parts(&self) -> [&[u8]; 2] {
        [&self.block, &self.rest]
    }

    /// An error comes in the place of what was written.
    #[allow(dead_code)]
    pub(crate) fn replace(&mut self, bytes: &[u8]) {
        self.block = Vec::new();
        self.rest.clear();
        self.rest.extend_from_slice(bytes);
    }

    /// The buffer, to be used again.
    #[allow(dead_code)]
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.rest
    }

    /// All of it as one.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        if self.block.is_empty() {
            return self.rest;
        }
        let mut bytes = self.block;
        bytes.extend_from_slice(&self.rest);
        bytes
    }
}
