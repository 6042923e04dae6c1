//! Writes durations exactly, as `"250ms"`, and reads every spelling that the attributes accept.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::time::duration_syntax::{UNITS, parse};

pub(crate) fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    Text(*duration).serialize(to)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    Text::deserialize(from).map(|text| text.0)
}

/// The same for a duration that may be absent.
pub(crate) mod optional {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        duration.map(Text).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Text>::deserialize(from)?.map(|text| text.0))
    }
}

/// A duration that is written as its text: a whole number of the largest unit that divides it.
pub(super) struct Text(pub(super) Duration);

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        if nanos == 0 {
            return f.write_str("0s");
        }
        let divides = |(_, unit): &&(&str, u128)| nanos.is_multiple_of(*unit);
        let (name, unit) = UNITS.iter().rfind(divides).unwrap_or(&UNITS[0]);
        write!(f, "{}{name}", nanos / unit)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl Visitor<'_> for TextVisitor {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with its unit, in quotes: \"250ms\", \"5s\", \"2m\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
                parse(text).map(Text).map_err(|reason| {
                    E::custom(format!(
                        "{reason}: write a duration like \"250ms\", \"5s\" or \"2m\""
                    ))
                })
            }
        }

        from.deserialize_str(TextVisitor)
    }
}
