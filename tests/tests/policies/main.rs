//! Tests of the policies of tasks: when they are run again, when they expire, and when a launch is
//! one too many.

mod backoff;
mod expires;
mod expires_limits;
mod expires_mp;
mod result_types;
mod retry_if_key;
mod unique;
mod unique_frees_key;
mod unique_key_code;
mod unique_keys;
mod unique_race;
