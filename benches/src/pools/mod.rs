//! What the rows ask of those who are measured, and this project's own way of doing it.
//!
//! | file | what |
//! |---|---|
//! | `threads` | pools that run closures on threads |
//! | `futures` | loops that run futures, with the same interface |
//! | `processes` | pools that run functions in worker processes |

pub mod futures;
pub mod processes;
pub mod threads;
