//! What can be called by name from another process: the table of functions, the body of a task that
//! calls one of them, and calls that apply one to many items.

pub(crate) mod body;
#[cfg(feature = "remote")]
mod by_name;
pub(crate) mod chunk;
pub(crate) mod functions;
#[cfg(feature = "remote")]
pub(crate) mod returned;

#[cfg(all(test, feature = "remote"))]
mod tests;
