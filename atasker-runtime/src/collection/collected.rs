//! How `#[collect]` adds functions to a collection.

use super::functions::{Entry, Functions};
use super::priority::CollectionPriority;
use super::table::Probe;

/// The types that `#[collect]` can name. Sealed, because its types are not public.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a collection",
    label = "neither a `FunctionCollection` nor a `TaskCollection`",
    note = "a `TaskCollection<T>` needs `T: Send + 'static`, a `FunctionCollection<T>` `T: 'static`"
)]
pub trait Collection: Sized {
    /// The return type of the functions.
    type Output: 'static;
    /// An empty collection.
    const NEW: Self;
    /// Returns the functions of the collection.
    fn functions(&self) -> &Functions<Self::Output>;
}

/// Answers for one entry of the table.
pub fn collected<C: Collection>(
    probe: &mut Probe<'_>,
    collection: &'static C,
    about: impl FnOnce() -> (String, CollectionPriority),
    f: impl FnMut() -> C::Output + Send + 'static,
) {
    let functions = collection.functions();
    if functions.address() != probe.collection {
        return;
    }
    if let Some(entries) = probe.entries.downcast_mut::<Vec<Entry<C::Output>>>() {
        let (name, priority) = about();
        entries.push(Entry::new(&name, priority, f));
    }
}
