//! What can be called by name from another process: the table of functions, and the body of a task
//! that calls one of them.

pub(crate) mod body;
pub(crate) mod functions;
