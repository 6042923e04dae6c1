//! Tests of background workers and jobs.

mod jobs;
mod workers;
