//! A collection that is filled here and in the tests.

use atasker::{FunctionCollection, collect, collection};

collection! {
    /// Filled by two crates.
    pub static ACROSS: FunctionCollection<&'static str>;
}

#[collect(ACROSS, name = "library")]
pub fn of_the_library() -> &'static str {
    "of the library"
}
