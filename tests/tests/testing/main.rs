//! Tests of the module `testing`.

mod inline_async;
mod inline_kinds;
mod inline_launches;
mod inline_mp;
mod inline_policies;
mod pair;
mod paused_limits;
mod paused_policies;
mod paused_supervisors;
mod paused_tasks;
mod paused_workers;
