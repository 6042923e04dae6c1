//! Tests of separate processes that lack descriptors, or threads and processes.

mod descriptors;
mod processes;
