//! Reads values by the rules of the setters, so that a configuration that was read is accepted by
//! every supervisor.

#[cfg(feature = "mp")]
use std::collections::BTreeMap;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::rules;

pub(crate) fn min_size<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    rules::min_size(usize::deserialize(from)?).map_err(D::Error::custom)
}

pub(crate) fn max_size<'de, D: Deserializer<'de>>(from: D) -> Result<Option<usize>, D::Error> {
    optional(from, rules::max_size)
}

pub(crate) fn stack_size<'de, D: Deserializer<'de>>(from: D) -> Result<Option<usize>, D::Error> {
    optional(from, rules::stack_size)
}

fn optional<'de, D: Deserializer<'de>>(
    from: D,
    rule: fn(usize) -> Result<usize, String>,
) -> Result<Option<usize>, D::Error> {
    let value = Option::<usize>::deserialize(from)?;
    value.map(rule).transpose().map_err(D::Error::custom)
}

#[cfg(feature = "mp")]
pub(crate) fn zero_is_unlimited<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<u64>, D::Error> {
    Ok(Option::<u64>::deserialize(from)?.and_then(rules::zero_is_unlimited))
}

#[cfg(feature = "mp")]
pub(crate) fn env<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let env = BTreeMap::<String, String>::deserialize(from)?;
    for (key, value) in &env {
        rules::variable(key, value).map_err(D::Error::custom)?;
    }
    Ok(env)
}
