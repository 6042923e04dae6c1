//! Tests of tasks: their handles, contexts and information about them.

mod callbacks;
mod channel_close;
mod context;
mod control;
mod current_task;
mod debug_output;
mod delays;
mod info;
mod send_sync;
mod task_ref;
mod thread_tasks;
