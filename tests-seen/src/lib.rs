//! Shared helpers: terminals to which progress bars are drawn, and a client of dashboards.

pub mod http;
pub mod pty;
pub mod screen;
