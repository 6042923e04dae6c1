//! The functions that worker processes can call: a table that the linker builds (linkme).
//!
//! An entry is a shim beside the function, a plain `fn(&mut Call)`, which decodes the arguments,
//! runs the function and encodes the result. Both processes run the same image, so a call
//! identifies its function by the index in the table. A fingerprint of the whole table is compared
//! when a worker process starts.
//!
//! The programs of a cluster are different images, so a call from another machine identifies its
//! function by name and signature: see `by_name`. Only functions with `tt = "remote"` are found that
//! way.

use std::fmt;
use std::sync::Arc;

use crate::error::TaskError;
use crate::task::TaskArc;
use crate::task::context::TaskContext;
use crate::task::endpoint::{Channels, Codec};
use crate::wire::reply::Reply;

#[cfg(feature = "remote")]
pub(crate) use super::by_name::{Found, duplicate_of, remote, remote_duplicates, remote_functions};

/// A function that was registered by the attribute or by `background!`.
///
/// Constructed by generated code; not part of the public interface.
#[derive(Debug)]
pub struct Function {
    /// The `name` key, or the path.
    pub name: &'static str,
    /// The file of the definition. File, line and column distinguish functions with the same name.
    pub file: &'static str,
    /// The line of the definition.
    pub line: u32,
    /// The column of the definition.
    pub column: u32,
    /// A hash of the canonical text of the types and of the codec. For a remote function, also of the
    /// key `version`.
    pub signature: u64,
    /// Only for a function with `tt = "remote"`, which other programs can call.
    pub remote: Option<RemoteFunction>,
    /// Decodes the arguments, runs the function, encodes the result.
    pub call: fn(&mut Call<'_>) -> Result<(), TaskError>,
}

/// What a function with `tt = "remote"` has in addition.
#[derive(Debug)]
pub struct RemoteFunction {
    /// The canonical text of the types and of the codec, for messages. The signature is its hash.
    pub types: &'static str,
    /// The key `version`.
    pub version: u32,
}

/// Returns the signature of a remote function: the hash of its types and its codec, continued with
/// the key `version`.
pub const fn versioned(types: u64, version: u32) -> u64 {
    let (mut hash, bytes) = (types, version.to_le_bytes());
    let mut i = 0;
    while i < bytes.len() {
        hash = fnv_1a(hash, bytes[i]);
        i += 1;
    }
    hash
}

/// The FNV-1a hash, which is the same in every build, unlike std's hasher.
const fn fnv_1a(hash: u64, byte: u8) -> u64 {
    (hash ^ byte as u64).wrapping_mul(0x0100_0000_01b3)
}

/// A call in progress, in the process that runs it.
pub struct Call<'a> {
    args: &'a [u8],
    reply: Reply,
    task: &'a TaskArc,
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("task", &self.task.header().id()).finish_non_exhaustive()
    }
}

impl<'a> Call<'a> {
    pub(crate) fn new(args: &'a [u8], task: &'a TaskArc) -> Self {
        Call { args, reply: Reply::default(), task }
    }

    /// Like `new`, with a reply to write the encoded result to.
    #[allow(dead_code)]
    pub(crate) fn with_reply(args: &'a [u8], reply: Reply, task: &'a TaskArc) -> Self {
        Call { args, reply, task }
    }

    /// Returns the encoded arguments.
    pub fn args(&self) -> &'a [u8] {
        self.args
    }

    /// Returns the reply, to which the encoded result is written.
    pub fn reply_mut(&mut self) -> &mut Reply {
        &mut self.reply
    }

    /// Returns the task of the call.
    #[cfg_attr(not(has_processes), allow(dead_code))]
    pub(crate) fn task(&self) -> &'a TaskArc {
        self.task
    }

    pub(crate) fn into_reply(self) -> Reply {
        self.reply
    }

    /// Creates the context of the call, for a function that takes one.
    #[allow(dead_code)]
    pub(crate) fn context<I, O>(&self, codecs: (Codec<I>, Codec<O>)) -> TaskContext<I, O>
    where
        I: Send + 'static,
        O: Send + 'static,
    {
        let channels = self.task.header().channels();
        let bytes = channels.and_then(|channels| {
            Some((Arc::clone(channels.inbox_bytes()?), Arc::clone(channels.outbox_bytes()?)))
        });
        let channels = match bytes {
            Some((inbox, outbox)) => Channels::encoded(inbox, outbox, codecs),
            None => Channels::discarding(),
        };
        TaskContext::new(self.task.clone(), channels)
    }
}

/// The table of functions.
#[linkme::distributed_slice]
pub static FUNCTIONS: [Function];

/// Returns a hash of the whole table, which is the same in two processes that run the same program.
pub(crate) fn fingerprint() -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = fnv_1a(hash, *byte);
        }
    };
    for function in FUNCTIONS {
        add(function.name.as_bytes());
        add(&[0]);
        add(function.file.as_bytes());
        add(&[0]);
        add(&function.line.to_le_bytes());
        add(&function.column.to_le_bytes());
        add(&function.signature.to_le_bytes());
    }
    hash
}

/// Returns the index of a function in the table.
pub(crate) fn index_of(function: &'static Function) -> Option<u32> {
    let table: &[Function] = &FUNCTIONS;
    let offset = (function as *const Function as usize).checked_sub(table.as_ptr() as usize)?;
    let index = offset / size_of::<Function>();
    (index < table.len()).then_some(index as u32)
}
