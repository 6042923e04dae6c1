//! Shared helpers: terminals to which progress bars are drawn, a client of dashboards, and recorders
//! of metrics.

pub mod http;
pub mod metrics;
pub mod pty;
pub mod screen;
