//! Chunks of maps on platforms without worker processes: there are none.

use crate::error::TaskError;
use crate::remote::functions::Call;

/// Never called, because each use of `tt = "mp"` is a compile error on these platforms.
///
/// # Errors
///
/// Returns an error that says so.
#[doc(hidden)]
pub fn run_chunk(
    _call: &mut Call<'_>,
    _function: fn(&mut Call<'_>) -> Result<(), TaskError>,
) -> Result<(), TaskError> {
    Err(TaskError::not_started("this platform has no worker processes"))
}
