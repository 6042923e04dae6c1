//! The reply to a call, under construction in the worker. A large result is moved in without a
//! copy, and copied once, into the shared memory or the socket.

/// A reply under construction. The block comes first, then the appended bytes. See the module
/// documentation.
#[derive(Debug, Default)]
pub struct Reply {
    block: Vec<u8>,
    rest: Vec<u8>,
}

impl Reply {
    /// Creates a reply that appends to this buffer.
    #[allow(dead_code)]
    pub(crate) fn with_buffer(rest: Vec<u8>) -> Self {
        Reply { block: Vec::new(), rest }
    }

    /// Makes these bytes the beginning of an empty reply.
    pub(crate) fn set_block(&mut self, block: Vec<u8>) {
        debug_assert!(self.block.is_empty() && self.rest.is_empty());
        self.block = block;
    }

    /// The buffer to append to.
    pub(crate) fn rest_mut(&mut self) -> &mut Vec<u8> {
        &mut self.rest
    }

    pub(crate) fn len(&self) -> usize {
        self.block.len() + self.rest.len()
    }

    /// Returns the reply in two parts.
    #[allow(dead_code)]
    pub(crate) fn parts(&self) -> [&[u8]; 2] {
        [&self.block, &self.rest]
    }

    /// Replaces what was written, with an encoded error.
    #[allow(dead_code)]
    pub(crate) fn replace(&mut self, bytes: &[u8]) {
        self.block = Vec::new();
        self.rest.clear();
        self.rest.extend_from_slice(bytes);
    }

    /// Returns the buffer for reuse.
    #[allow(dead_code)]
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.rest
    }

    /// Returns the reply as one vector.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        if self.block.is_empty() {
            return self.rest;
        }
        let mut bytes = self.block;
        bytes.extend_from_slice(&self.rest);
        bytes
    }
}
