//! Functions that `#[collect]` has gathered: a table that the linker puts together.
//!
//! One table serves all collections of the program. An entry knows its collection by a path in code,
//! so the compiler checks that it exists and that the types agree; at run time a collection asks
//! each entry, once, whether it is meant, and knows itself by its address: it is a static.

use std::any::Any;

use super::functions::{Entry, Functions};
use super::priority::CollectionPriority;

/// A function that was annotated with `#[collect]`. Generated code makes these.
#[derive(Debug)]
pub struct Collected {
    /// Where the function stands.
    pub file: &'static str,
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
    /// Calls [`collected`].
    pub answer: fn(&mut Ask<'_>),
}

/// The table.
#[linkme::distributed_slice]
pub static COLLECTED: [Collected];

/// A collection's question: is this function mine?
#[allow(missing_debug_implementations)]
pub struct Ask<'a> {
    collection: *const (),
    /// A `Vec<Entry<T>>`.
    mine: &'a mut dyn Any,
}

/// What `#[collect]` can name. Sealed: its types are not public.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a collection",
    label = "neither a `FunctionCollection` nor a `TaskCollection`",
    note = "a `TaskCollection<T>` needs `T: Send + 'static`, a `FunctionCollection<T>` `T: 'static`"
)]
pub trait Collection: Sized {
    /// What its functions return.
    type Output: 'static;
    /// An empty one.
    const NEW: Self;
    /// Its functions.
    fn functions(&self) -> &Functions<Self::Output>;
}

/// The answer of one entry of the table.
pub fn collected<C: Collection>(
    ask: &mut Ask<'_>,
    collection: &'static C,
    about: impl FnOnce() -> (String, CollectionPriority),
    f: impl FnMut() -> C::Output + Send + 'static,
) {
    let functions = collection.functions();
    if address(functions) != ask.collection {
        return;
    }
    if let Some(mine) = ask.mine.downcast_mut::<Vec<Entry<C::Output>>>() {
        let (name, priority) = about();
        mine.push(Entry::new(&name, priority, f));
    }
}

fn address<T>(functions: &Functions<T>) -> *const () {
    std::ptr::from_ref(functions).cast()
}

/// All that is meant for this collection, in the order of execution. Equal ones stand by name, and
/// by the place in the source: the linker's order means nothing.
pub(super) fn gather<T: 'static>(functions: &Functions<T>) -> Vec<Entry<T>> {
    let mut table: Vec<&Collected> = COLLECTED.iter().collect();
    table.sort_by_key(|entry| (entry.file, entry.line, entry.column));
    let mut mine: Vec<Entry<T>> = Vec::new();
    let mut ask = Ask { collection: address(functions), mine: &mut mine };
    for entry in table {
        (entry.answer)(&mut ask);
    }
    mine.sort_by(|a, b| (a.priority, &a.name).cmp(&(b.priority, &b.name)));
    mine
}
