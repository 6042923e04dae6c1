//! The functions collected by `#[collect]`, in a table built by the linker.
//!
//! One table serves all collections of the program. An entry refers to its collection by a path in
//! code, so the compiler checks that the collection exists and that the types match. On first use,
//! a collection asks each entry whether it belongs to the collection, which is a static and
//! therefore identified by its address. The order of the table is up to the linker, so entries are
//! asked in the order of the source code.

use std::any::Any;
use std::fmt;

/// A function with the attribute `#[collect]`. Created by generated code.
#[derive(Debug)]
pub struct CollectedFn {
    /// The source file of the function.
    pub file: &'static str,
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
    /// Calls [`collected`](super::collected::collected).
    pub answer: fn(&mut Probe<'_>),
}

/// The table of all collected functions.
#[linkme::distributed_slice]
pub static COLLECTED: [CollectedFn];

/// The question of a collection to an entry: does this function belong to me?
pub struct Probe<'a> {
    /// The address of the collection.
    pub(super) collection: *const (),
    /// The entries of the collection so far, a `Vec<Entry<T>>`.
    pub(super) entries: &'a mut dyn Any,
}

impl fmt::Debug for Probe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe").finish_non_exhaustive()
    }
}

/// Asks all collected functions, in the order of the source code.
pub(super) fn ask(mut probe: Probe<'_>) {
    let mut table: Vec<&CollectedFn> = COLLECTED.iter().collect();
    table.sort_by_key(|entry| (entry.file, entry.line, entry.column));
    for entry in table {
        (entry.answer)(&mut probe);
    }
}
