//! The parts of a `unique` key of a remote task, encoded.
//!
//! The key holds in the whole namespace, where programs of different builds must agree about it, so
//! a hash of the values in memory is of no use. All keys are encoded as MessagePack, whatever the
//! codec of the function is: integers of different types and strings of different types have one
//! encoding there, and so do a value and a reference to it.

use std::hash::{Hash, Hasher};

use serde::Serialize;

use crate::error::{CodecStage, TaskError};
use crate::launch::TaskBuilder;
use crate::unwind;
use crate::wire::codec::{Format, Msgpack};

/// A value that can be a part of a key. The trait exists for its error message.
#[diagnostic::on_unimplemented(
    message = "a value of type `{Self}` can't be a part of a `unique` key of a remote task",
    label = "needs `serde::Serialize`, because the key holds on all machines",
    note = "use a field or a method that identifies the value, such as `unique = (user.id)`"
)]
pub trait KeyData {
    /// Appends the encoded value.
    fn encode(&self, to: &mut Vec<u8>) -> Result<(), String>;
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + ?Sized> KeyData for T {
    fn encode(&self, to: &mut Vec<u8>) -> Result<(), String> {
        Msgpack::write(self, to)
    }
}

/// Encodes the parts of a key, one after the other.
#[derive(Debug)]
pub struct KeyEncoder(Result<Vec<u8>, TaskError>);

impl KeyEncoder {
    /// Creates the encoder of a key without parts.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        KeyEncoder(Ok(Vec::new()))
    }

    /// Adds a part. The launch fails if it can't be encoded.
    pub fn part<T: KeyData + ?Sized>(&mut self, part: &T) {
        let Ok(bytes) = &mut self.0 else { return };
        // A launch must not panic, even if a user's `Serialize` implementation does.
        let encoded = unwind::catch(|| part.encode(bytes)).and_then(|encoded| {
            encoded.map_err(|detail| TaskError::Codec {
                stage: CodecStage::EncodeArguments,
                type_name: std::any::type_name::<T>().to_owned(),
                detail: format!("a part of the key `unique`: {detail}"),
            })
        });
        if let Err(error) = encoded {
            self.0 = Err(error);
        }
    }

    /// Sets the key of the task. If a part could not be encoded, the task ends with that error as
    /// soon as it is started.
    pub fn unique<R, I, O>(self, builder: TaskBuilder<R, I, O>) -> TaskBuilder<R, I, O>
    where
        R: Send + 'static,
        I: Send + 'static,
        O: Send + 'static,
    {
        match self.0 {
            Ok(bytes) => builder.unique(EncodedKey(bytes)),
            Err(error) => builder.failing(error),
        }
    }
}

/// An encoded key.
#[derive(Debug, PartialEq, Eq)]
struct EncodedKey(Vec<u8>);

impl Hash for EncodedKey {
    /// Hashes the bytes alone, so that the hash depends on nothing but the encoding.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Serializer;

    fn key(parts: &[&dyn Fn(&mut KeyEncoder)]) -> Vec<u8> {
        let mut encoder = KeyEncoder::new();
        parts.iter().for_each(|part| part(&mut encoder));
        encoder.0.unwrap()
    }

    #[test]
    fn equal_values_of_different_types_are_equal_keys() {
        let name = "mail".to_owned();
        let of_u64 = key(&[&|key| key.part(&7_u64), &|key| key.part(&name)]);
        let of_u8 = key(&[&|key| key.part(&&7_u8), &|key| key.part("mail")]);
        assert_eq!(of_u64, of_u8);
        assert_ne!(of_u64, key(&[&|key| key.part(&name), &|key| key.part(&7_u64)]));
        assert_ne!(
            key(&[&|key| key.part("ab")]),
            key(&[&|key| key.part("a"), &|key| key.part("b")])
        );
        assert!(key(&[]).is_empty());
    }

    struct Refuses;
    impl Serialize for Refuses {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("not today"))
        }
    }

    struct Panics;
    impl Serialize for Panics {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            panic!("no encoding")
        }
    }

    #[test]
    fn part_without_encoding_is_the_error_of_the_task() {
        let end = |part: &dyn Fn(&mut KeyEncoder)| {
            let mut encoder = KeyEncoder::new();
            part(&mut encoder);
            encoder.part(&1);
            encoder.unique(TaskBuilder::new(|| ())).start().join().unwrap_err()
        };
        let error = end(&|key| key.part(&Refuses));
        assert!(error.to_string().contains("not today"), "{error}");
        assert!(end(&|key| key.part(&Panics)).is_panic());
    }
}
