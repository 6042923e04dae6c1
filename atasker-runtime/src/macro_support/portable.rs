//! The check that types can be sent to and from worker processes, in front of serde's traits.
//!
//! Without it, a missing derive would be reported once for each of the places that encode or decode
//! the type, as a bound of generated code, with a list of types that have it. The traits of
//! `wire::args` therefore accept every type, and this check rejects those that lack serde's traits.
//! Facts about a type are found as there: by method lookup on [`Arg<P>`].

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::verdict::{Fails, Holds};
use crate::params::Arg;

/// A type that can be sent between processes. The traits exist for their error messages.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be sent to or from a worker process or another machine",
    label = "needs `serde::Serialize` and `serde::Deserialize`",
    note = "derive both, for it and for the types in it: `#[derive(serde::Serialize, serde::Deserialize)]`",
    note = "for a type of another crate, enable the feature `serde` of that crate, or send its parts"
)]
pub trait Portable {
    /// Checks the type.
    fn __check(_: Arg<Self>) {}
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> Portable for T {}

/// The same for an error.
#[diagnostic::on_unimplemented(
    message = "the error `{Self}` can't be sent to or from a worker process or another machine",
    label = "needs `serde::Serialize` and `serde::Deserialize`",
    note = "return `atasker::RemoteResult<T>`: `?` converts any error to its `RemoteError`, which can be sent",
    note = "or derive both for an error type of your own: `#[derive(serde::Serialize, serde::Deserialize)]`"
)]
pub trait PortableError {
    /// Checks the type.
    fn __check(_: Arg<Self>) {}
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> PortableError for T {}

/// The same for a pointer to shared memory.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be sent to or from a worker process or another machine",
    label = "another process shares no memory with the program",
    note = "send the value itself: the other process receives a copy",
    note = "for values that change, send messages through a `TaskContext<I, O>`, or use tt = \"thread\""
)]
pub trait PortableShared {
    /// Checks the type.
    fn __check(_: Arg<Self>) {}
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> PortableShared for T {}

/// The same for a function pointer or a `dyn Trait`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be sent to or from a worker process or another machine",
    label = "functions, closures and trait objects are not data",
    note = "send what tells the other process which of them to use, for example an enum"
)]
pub trait PortableData {
    /// Checks the type.
    fn __check(_: Arg<Self>) {}
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> PortableData for T {}

// Whether a type can be sent, also as a borrowed parameter, from the first trait that applies.

macro_rules! portable {
    ($($(#[$doc:meta])* $trait:ident $answer:ident: $([$($generics:tt)*] $ty:ty),+;)*) => {$(
        $(#[$doc])*
        pub trait $trait {
            /// Returns whether the type can be sent.
            fn __atasker_portable(&self) -> $answer {
                $answer
            }
        }
        $(impl<$($generics)*> $trait for $ty {})+
    )*};
}

portable! {
    /// A parameter that is encoded as one block of bytes.
    PortableBlock Holds: [] &&&&Arg<&[u8]>, [] &&&&Arg<&str>, [] &&&&Arg<&Path>;
    /// A borrowed slice.
    PortableSlice Holds: [T: Serialize + DeserializeOwned] &&&Arg<&[T]>;
    /// A borrowed value.
    PortableRef Holds: [T: Serialize + DeserializeOwned] &&Arg<&T>;
    /// An owned value.
    PortableOwned Holds: [T: Serialize + DeserializeOwned] &Arg<T>;
    /// Any other type.
    NotPortable Fails: [T: ?Sized] Arg<T>;
}

// The type at fault, if a type can't be sent, from the first trait that applies. It is the whole
// type, except where its parts are known.

macro_rules! faulty {
    ($($(#[$doc:meta])* $trait:ident: [$($generics:tt)*] $ty:ty, $value:ty, $error:ty;)*) => {$(
        $(#[$doc])*
        pub trait $trait {
            /// The type for the check by [`Portable`].
            type Value: ?Sized;
            /// The type for the check by [`PortableError`].
            type Error: ?Sized;
            /// Names the type for the check by [`Portable`].
            fn __atasker_faulty(&self) -> Arg<Self::Value> {
                Arg::new()
            }
            /// Names the type for the check by [`PortableError`].
            fn __atasker_faulty_error(&self) -> Arg<Self::Error> {
                Arg::new()
            }
        }
        impl<$($generics)*> $trait for $ty {
            type Value = $value;
            type Error = $error;
        }
    )*};
}

faulty! {
    /// A borrowed slice, whose items are at fault.
    FaultyItem: [T] &&&&Arg<&[T]>, T, ();
    /// A borrowed value.
    FaultyTarget: [T] &&&Arg<&T>, T, ();
    /// A `Result`, by any name, whose error can be sent.
    FaultyOk: [T, E: Serialize + DeserializeOwned] &&Arg<Result<T, E>>, T, ();
    /// A `Result`, by any name, whose error can't be sent.
    FaultyErr: [T, E] &Arg<Result<T, E>>, (), E;
    /// Any other type.
    FaultyWhole: [T: ?Sized] Arg<T>, T, ();
}
