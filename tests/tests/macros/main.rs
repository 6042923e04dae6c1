//! Tests of the attributes and of `background!`.

mod async_fns;
mod background;
mod checked_types;
mod hygiene;
mod in_macros;
pub mod lints;
mod mp;
mod thread;
mod worker;
