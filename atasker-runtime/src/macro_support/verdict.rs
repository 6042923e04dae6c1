//! Facts about types, as types, which decide whether a check of generated code applies.
//!
//! A check that fails is reported once, for the type that is to be changed: for `Vec<Point>`, that
//! is `Point`. Generated code therefore asks for facts (`x.__atasker_portable()`, selected by method
//! lookup), combines them, and gives the result to [`unless`].

use crate::params::Arg;

/// The fact holds.
#[derive(Clone, Copy, Debug)]
pub struct Holds;

/// The fact does not hold.
#[derive(Clone, Copy, Debug)]
pub struct Fails;

impl Holds {
    /// Returns whether one of two facts holds.
    pub const fn or<T: Copy>(self, _: T) -> Holds {
        Holds
    }
    /// Returns the opposite.
    pub const fn not(self) -> Fails {
        Fails
    }
}

impl Fails {
    /// Returns whether one of two facts holds.
    pub const fn or<T: Copy>(self, other: T) -> T {
        other
    }
    /// Returns the opposite.
    pub const fn not(self) -> Holds {
        Holds
    }
}

/// [`Holds`] or [`Fails`].
pub trait Verdict {
    /// The type to be checked: `T`, or `()`, which passes every check.
    type Checked<T: ?Sized>: ?Sized;
}

impl Verdict for Holds {
    type Checked<T: ?Sized> = ();
}

impl Verdict for Fails {
    type Checked<T: ?Sized> = T;
}

/// Returns the type to be checked: none if the fact holds.
pub fn unless<V: Verdict, T: ?Sized>(_: V, _: Arg<T>) -> Arg<V::Checked<T>> {
    Arg::new()
}
