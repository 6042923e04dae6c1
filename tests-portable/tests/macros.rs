//! The tests of the attributes and of `background!` that use no worker processes.
//!
//! The path of this program is part of the names of their tasks, so it is that of `tests/tests/macros`.

#[path = "../../tests/tests/macros/async_fns.rs"]
mod async_fns;
#[path = "../../tests/tests/macros/background.rs"]
mod background;
#[path = "../../tests/tests/macros/thread.rs"]
mod thread;
