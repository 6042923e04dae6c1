//! Programs that show atasker at work. They are the examples of this package:
//!
//! - `survey`: a real job, on any tree of source code: worker processes, threads, priorities, a
//!   progress bar, Ctrl-C and crashes.
//! - `service`: answers questions over TCP, and ends in order on SIGTERM, Ctrl-C and SIGHUP.
//! - `tour`: every kind of task once, with what it does as assertions.
//! - `workers`: a small monitor of the machine, made of background workers.
//! - `talk`: tasks that are talked to, in every place.
