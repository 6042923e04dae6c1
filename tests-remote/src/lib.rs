//! Functions that several programs share, as the programs of a cluster do.

use atasker::{TaskContext, background_task};
use serde::{Deserialize, Serialize};

/// A message.
#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
pub struct Frame(pub u32);

/// Sends a frame for each character.
#[background_task(tt = "remote", priority = "high", retries = 3, timeout = "10m")]
pub fn transcode(ctx: &TaskContext<(), Frame>, input: &str) -> Result<usize, String> {
    if input.is_empty() {
        return Err("nothing to do".to_owned());
    }
    for (i, _) in input.chars().enumerate() {
        ctx.send(Frame(i as u32)).map_err(|error| error.to_string())?;
    }
    Ok(input.len())
}
