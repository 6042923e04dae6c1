//! Writes and reads the limit of a queue as a table: `{ tasks = 10, overflow = "reject" }`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::options::Overflow;

/// Defines a module for fields of the type `Option<($number, Overflow)>`.
macro_rules! limit {
    ($module:ident: $number:ty, $key:ident, $expecting:literal) => {
        pub(crate) mod $module {
            use super::*;

            #[derive(Serialize, Deserialize)]
            #[serde(deny_unknown_fields, expecting = $expecting)]
            struct Limit {
                $key: $number,
                #[serde(default)]
                overflow: Overflow,
            }

            pub(crate) fn serialize<S: Serializer>(
                limit: &Option<($number, Overflow)>,
                to: S,
            ) -> Result<S::Ok, S::Error> {
                limit.map(|($key, overflow)| Limit { $key, overflow }).serialize(to)
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
                from: D,
            ) -> Result<Option<($number, Overflow)>, D::Error> {
                let limit = Option::<Limit>::deserialize(from)?;
                Ok(limit.map(|limit| (limit.$key, limit.overflow)))
            }
        }
    };
}

limit!(tasks: usize, tasks, "a table like { tasks = 10, overflow = \"reject\" }");
#[cfg(feature = "mp")]
limit!(bytes: u64, bytes, "a table like { bytes = 1048576, overflow = \"reject\" }");
