//! Shared helpers: terminals to which progress bars are drawn.

pub mod pty;
pub mod screen;
