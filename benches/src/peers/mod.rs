//! Who is measured beside this project. Built with the feature `peers`.
//!
//! | file | what |
//! |---|---|
//! | `threads` | pools that run closures on threads |
//! | `futures` | loops that run futures |
//! | `processes` | procspawn |
//! | `socketpair` | a pool of worker processes by hand: the least that can be done |
//! | `python` | the pools of Python's standard library |

pub mod futures;
pub mod processes;
pub mod python;
pub mod socketpair;
pub mod threads;

/// Stays here, if this process is the worker process of a peer.
pub fn serve() {
    socketpair::serve();
    // SAFETY: all functions that are spawned stand in this executable.
    unsafe { procspawn::assert_spawn_is_safe() };
    procspawn::init();
}
