//! Programs that show atasker in use. They are the examples of this package:
//!
//! - `survey`: a complete job on any tree of source code: worker processes, threads, priorities, a
//!   progress bar, Ctrl-C and crashes.
//! - `service`: answers questions over TCP, and shuts down gracefully on SIGTERM, Ctrl-C and
//!   SIGHUP.
//! - `web`: an HTTP service whose uploads are worked on in worker processes, with a dashboard.
//! - `prometheus`: metrics of tasks, served to Prometheus.
//! - `tour`: every kind of task once, with assertions.
//! - `workers`: a small system monitor made of background workers.
//! - `cluster`: the survey, on several machines.
//! - `in_memory`: a program for several machines, in one process.
//! - `talk`: messages to and from running tasks in every place.

/// The programs of the README are tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
