//! Tests of the slots, queue and threads of a thread pool.

mod idle_threads;
mod nested_waits;
mod queue_alarms;
mod queue_limits;
mod resize;
mod slots;
