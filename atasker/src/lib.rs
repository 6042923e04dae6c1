//! Background tasks.
pub use atasker_macros::{background, background_task, main};
pub use atasker_runtime::*;

#[doc(hidden)]
pub mod __private {
    pub use atasker_runtime::private::*;
}
