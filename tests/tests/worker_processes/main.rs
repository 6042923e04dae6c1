//! Tests of the pool of worker processes and of what tasks do to it.

mod control;
mod control_races;
// On other systems, descendants that have left the process group survive.
#[cfg(not(atasker_portable))]
mod descendants_are_killed;
mod failures;
mod forking_tasks;
mod hostile_tasks;
mod kill_descendants;
mod lifecycle;
mod lying_workers;
mod raised_signals;
mod reconfigure;
mod task_thread_exit;
