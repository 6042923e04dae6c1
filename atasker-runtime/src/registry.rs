//! The functions that worker processes can call: a table that the linker gathers.
//!
//! Both processes run the same image, so a call names its function by its place in the table; a
//! fingerprint of the whole table is compared when a worker starts.

use std::sync::Arc;

use crate::error::TaskError;
use crate::task::AnyTask;
use crate::task::channel::{Links, Port};
use crate::task::context::TaskContext;
use crate::wire::reply::Reply;

/// A function that was registered by the attribute or by `background!`.
///
/// Generated code makes these; it is no part of the public interface.
#[derive(Debug)]
pub struct Function {
    /// The `name` key, or the path.
    pub name: &'static str,
    /// Where it stands: tells two functions apart that share path and name.
    pub file: &'static str,
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
    /// A hash of the signature's text.
    pub signature: u64,
    /// Decodes the arguments, runs the function, encodes the result.
    pub call: fn(&mut Call<'_>) -> Result<(), TaskError>,
}

/// One call under way in the process that runs it.
#[allow(missing_debug_implementations)]
pub struct Call<'a> {
    args: &'a [u8],
    reply: Reply,
    task: &'a Arc<dyn AnyTask>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(args: &'a [u8], task: &'a Arc<dyn AnyTask>) -> Self {
        Call { args, reply: Reply::default(), task }
    }

    /// The same with a reply to write the encoded result into.
    #[allow(dead_code)]
    pub(crate) fn with_reply(args: &'a [u8], reply: Reply, task: &'a Arc<dyn AnyTask>) -> Self {
        Call { args, reply, task }
    }

    /// The encoded arguments.
    pub fn args(&self) -> &'a [u8] {
        self.args
    }

    /// Where the encoded result is written.
    pub fn reply_mut(&mut self) -> &mut Reply {
        &mut self.reply
    }

    pub(crate) fn into_reply(self) -> Reply {
        self.reply
    }

    /// The context of the call, for a function that takes one.
    #[allow(dead_code)]
    pub(crate) fn context<I, O>(&self, ports: (Port<I>, Port<O>)) -> TaskContext<I, O>
    where
        I: Send + 'static,
        O: Send + 'static,
    {
        let links = self.task.header().links();
        let bytes = links.and_then(|links| {
            Some((Arc::clone(links.inbox_bytes()?), Arc::clone(links.outbox_bytes()?)))
        });
        let links = match bytes {
            Some((inbox, outbox)) => Links::coded(inbox, outbox, ports),
            None => Links::local(),
        };
        TaskContext::new(Arc::clone(self.task), links)
    }
}

/// The table.
#[linkme::distributed_slice]
pub static FUNCTIONS: [Function];

/// A hash of the whole table: equal in two processes that run the same program.
pub(crate) fn fingerprint() -> u64 {
    // FNV-1a: the same in every build, unlike std's hasher.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
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

/// The place of a function in the table.
pub(crate) fn index_of(function: &'static Function) -> Option<u32> {
    let table: &[Function] = &FUNCTIONS;
    let offset = (function as *const Function as usize).checked_sub(table.as_ptr() as usize)?;
    let index = offset / size_of::<Function>();
    (index < table.len()).then_some(index as u32)
}
