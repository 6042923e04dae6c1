//! Decoding with bounded stack use, on any thread.
//!
//! A result is decoded by the thread that waits for it or by the reader thread of its worker
//! process, a message by the thread that receives it. Each may be a user's thread with a small
//! stack. A value is therefore decoded in place with at most half of the remaining stack. A deeper
//! value is decoded again on a thread that is started for it. A value that is too deep even for
//! that thread is rejected, with the same limit on every thread.

use serde::de::DeserializeOwned;

use crate::error::TaskError;
use crate::sys::stack;
use crate::thread_start::on_thread_start;
use crate::unwind;
use crate::wire::codec::{Format, ReadError};

/// With less stack left, nothing is decoded in place, because the value's own stack frames may be
/// large.
pub(crate) const MIN_STACK: usize = 96 << 10;

/// The stack size of a decoder thread, in bytes: twice the deepest value, because a type may
/// traverse what was decoded once more (untagged enums do).
const fn stack_size<F: Format>() -> usize {
    2 * F::MAX_STACK + (256 << 10)
}

/// Decodes a value from the front of the input, on this thread or on a dedicated one.
///
/// # Errors
/// Returns the outer error if the code of the value's type panicked on the other thread, or if no
/// thread could be started.
pub(crate) fn read<F: Format, T: DeserializeOwned + Send>(
    input: &mut &[u8],
) -> Result<Result<T, String>, TaskError> {
    let left = stack::left();
    if left >= MIN_STACK {
        match F::read(input, (left / 2).min(F::MAX_STACK)) {
            Err(ReadError::TooDeep) => {}
            other => return Ok(into_detail(other)),
        }
    }
    let decoded = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("atasker decoder".into());
        let thread = thread.stack_size(stack_size::<F>()).spawn_scoped(scope, || {
            on_thread_start();
            unwind::catch(|| F::read(input, F::MAX_STACK))
        });
        match thread {
            Ok(thread) => thread
                .join()
                .unwrap_or_else(|_| Ok(Err("the decoder thread ended without a result".into()))),
            Err(error) => Ok(Err(ReadError::Invalid(format!(
                "it needs more stack than this thread has, and no thread could be started: {error}"
            )))),
        }
    });
    decoded.map(into_detail)
}

/// Decodes a value from the front of the input on this thread, for a type that may not be `Send`:
/// an argument. A stack overflow costs only the worker process.
pub(crate) fn read_on_this_thread<F: Format, T: DeserializeOwned>(
    input: &mut &[u8],
) -> Result<T, String> {
    into_detail(F::read(input, F::MAX_STACK))
}

fn into_detail<T>(read: Result<T, ReadError>) -> Result<T, String> {
    read.map_err(|unreadable| match unreadable {
        ReadError::TooDeep => "it is nested too deeply (see the limit of the key `codec`)".into(),
        ReadError::Invalid(detail) => detail,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::codec::{Bincode, Msgpack};
    use serde::{Deserialize, Serialize};
    use std::collections::BTreeMap;
    use std::fmt::Debug;

    /// Types that contain one more value of the same type, or none.
    trait Nest: Serialize + DeserializeOwned + Send + 'static {
        fn end() -> Self;
        fn within(self) -> Self;
        /// Removes one level, so that dropping needs no stack.
        fn inner(self) -> Option<Self>;
    }

    #[derive(Serialize, Deserialize, Debug)]
    enum List {
        End,
        Next(Box<List>),
    }
    impl Nest for List {
        fn end() -> Self {
            List::End
        }
        fn within(self) -> Self {
            List::Next(Box::new(self))
        }
        fn inner(self) -> Option<Self> {
            match self {
                List::End => None,
                List::Next(inner) => Some(*inner),
            }
        }
    }

    #[derive(Serialize, Deserialize)]
    struct Node {
        name: String,
        numbers: [u64; 8],
        next: Option<Box<Node>>,
    }
    impl Nest for Node {
        fn end() -> Self {
            Node { name: "node".into(), numbers: [7; 8], next: None }
        }
        fn within(self) -> Self {
            Node { next: Some(Box::new(self)), ..Node::end() }
        }
        fn inner(mut self) -> Option<Self> {
            self.next.take().map(|next| *next)
        }
    }

    #[derive(Serialize, Deserialize)]
    struct Tree(Vec<Tree>);
    impl Nest for Tree {
        fn end() -> Self {
            Tree(vec![])
        }
        fn within(self) -> Self {
            Tree(vec![Tree(vec![]), self])
        }
        fn inner(mut self) -> Option<Self> {
            self.0.pop()
        }
    }

    #[derive(Serialize, Deserialize)]
    struct Map(BTreeMap<u8, (u16, Map)>);
    impl Nest for Map {
        fn end() -> Self {
            Map(BTreeMap::new())
        }
        fn within(self) -> Self {
            Map(BTreeMap::from([(1, (2, self))]))
        }
        fn inner(mut self) -> Option<Self> {
            self.0.remove(&1).map(|(_, inner)| inner)
        }
    }

    /// Only MessagePack supports this type, and serde traverses it twice.
    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Leaf(u8),
        Some { inner: Box<Untagged> },
    }
    impl Nest for Untagged {
        fn end() -> Self {
            Untagged::Leaf(1)
        }
        fn within(self) -> Self {
            Untagged::Some { inner: Box::new(self) }
        }
        fn inner(self) -> Option<Self> {
            match self {
                Untagged::Leaf(_) => None,
                Untagged::Some { inner } => Some(*inner),
            }
        }
    }

    fn on_stack<T: Send + 'static>(size: usize, f: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::Builder::new().stack_size(size).spawn(f).unwrap().join().unwrap()
    }

    fn encoded<F: Format, T: Nest>(levels: usize) -> Vec<u8> {
        on_stack(1 << 30, move || {
            let value = (0..levels).fold(T::end(), |value, _| value.within());
            let mut bytes = Vec::new();
            F::write(&value, &mut bytes).unwrap();
            take_apart(value);
            bytes
        })
    }

    /// Drops a value level by level, and counts the levels.
    fn take_apart<T: Nest>(value: T) -> usize {
        let mut levels = 0;
        let mut value = Some(value);
        while let Some(inner) = value.take().and_then(T::inner) {
            levels += 1;
            value = Some(inner);
        }
        levels
    }

    /// Decodes a value on a thread with `stack` bytes of stack. Returns its levels, or an error.
    fn decoded_on<F: Format, T: Nest>(stack: usize, bytes: Vec<u8>) -> Result<usize, String> {
        on_stack(stack, move || {
            let mut input = &bytes[..];
            let value = read::<F, T>(&mut input).unwrap()?;
            assert!(input.is_empty());
            Ok(take_apart(value))
        })
    }

    fn deep_values<F: Format, T: Nest>() {
        let mut refused = 0;
        for levels in [0, 1, 100, 300, 3000, 20_000] {
            let bytes = encoded::<F, T>(levels);
            for stack in [48 << 10, 128 << 10, 512 << 10, 2 << 20, 64 << 20] {
                match decoded_on::<F, T>(stack, bytes.clone()) {
                    Ok(there) => assert_eq!(there, levels),
                    Err(error) => {
                        assert!(levels > 300, "{levels} levels on {stack} bytes: {error}");
                        assert!(error.contains("nested too deeply"), "{error}");
                        refused += 1;
                    }
                }
            }
            assert!(refused % 5 == 0, "{levels} levels: on one thread but not on another");
        }
        assert!(refused > 0);
    }

    #[test]
    fn deep_value_is_decoded_or_rejected_alike_on_every_thread() {
        deep_values::<Bincode, List>();
        deep_values::<Bincode, Node>();
        deep_values::<Bincode, Tree>();
        deep_values::<Bincode, Map>();
        deep_values::<Msgpack, List>();
        deep_values::<Msgpack, Node>();
        deep_values::<Msgpack, Tree>();
        deep_values::<Msgpack, Map>();
        deep_values::<Msgpack, Untagged>();
    }

    /// Turns any error into a value.
    #[derive(Serialize)]
    struct Lenient(List);
    impl<'de> Deserialize<'de> for Lenient {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            Ok(Lenient(List::deserialize(from).unwrap_or(List::End)))
        }
    }

    #[test]
    fn type_cannot_hide_that_it_is_too_deep() {
        let bytes = encoded::<Bincode, List>(20_000);
        let error = read::<Bincode, Lenient>(&mut &bytes[..]).unwrap().map(|_| ()).unwrap_err();
        assert!(error.contains("nested too deeply"), "{error}");
    }

    #[derive(Serialize, Debug)]
    struct Panics(u8);
    impl<'de> Deserialize<'de> for Panics {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            panic!("no such value")
        }
    }

    #[test]
    fn panic_on_the_decoder_thread_is_the_error() {
        let error = on_stack(48 << 10, || read::<Bincode, Panics>(&mut &[1][..]).unwrap_err());
        assert!(error.is_panic() && error.to_string().contains("no such value"), "{error}");
    }
}
