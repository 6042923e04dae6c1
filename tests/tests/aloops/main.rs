//! Tests of aloops and of the futures that run on them.

mod async_tasks;
mod block_in_place;
mod lifecycle;
mod polling;
mod try_create_aloop;
