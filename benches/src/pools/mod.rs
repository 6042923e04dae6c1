//! The interface that rows use, and its implementation for this project.
//!
//! | file | what |
//! |---|---|
//! | `threads` | pools that run closures on threads |
//! | `futures` | loops that run futures, with the same interface |
//! | `processes` | pools that run functions in worker processes |

pub mod futures;
pub mod processes;
pub mod threads;
