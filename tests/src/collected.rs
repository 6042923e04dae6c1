//! A collection with functions from this crate and from the tests.

use atasker::{FunctionCollection, collect, collection};

collection! {
    /// A collection that two crates add to.
    pub static ACROSS: FunctionCollection<&'static str>;
}

#[collect(ACROSS, name = "library")]
pub fn of_the_library() -> &'static str {
    "of the library"
}
