//! The peers of this project. Built with the feature `peers`.
//!
//! | file | what |
//! |---|---|
//! | `threads` | pools that run closures on threads |
//! | `futures` | loops that run futures |
//! | `processes` | procspawn |
//! | `socketpair` | a hand-written pool of worker processes: the minimum over sockets |
//! | `exporters` | exporters of metrics |
//! | `python` | the pools of Python's standard library |

pub mod exporters;
pub mod futures;
pub mod processes;
pub mod python;
pub mod socketpair;
pub mod threads;

/// Does not return if this process is the worker process of a peer.
pub fn serve() {
    socketpair::serve();
    // SAFETY: all spawned functions are part of this executable.
    unsafe { procspawn::assert_spawn_is_safe() };
    procspawn::init();
}
