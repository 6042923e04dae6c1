//! The parts of a `unique` key: copied from the parameters before these are moved.
//!
//! A part has any type. Method lookup removes references first, so that `&str` becomes a `String`,
//! and then selects the copy of a type that can be in a key, or the error for one that can't.

use std::fmt;
use std::hash::Hash;

/// A part of a key, borrowed from the launcher's parameters.
pub struct KeyPart<'a, T: ?Sized>(&'a T);

impl<T: ?Sized> fmt::Debug for KeyPart<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPart")
    }
}

impl<'a, T: ?Sized> KeyPart<'a, T> {
    /// Borrows a part.
    pub fn new(part: &'a T) -> Self {
        KeyPart(part)
    }
}

impl<'a, T: ?Sized> KeyPart<'_, &'a T> {
    /// Removes a reference.
    pub fn __atasker_peel(&self) -> KeyPart<'a, T> {
        KeyPart(self.0)
    }
}

/// Implemented for all parts. Used for those that are no reference, because inherent methods are
/// found first.
pub trait PeelOther<'a, T: ?Sized> {
    /// Returns the same part.
    fn __atasker_peel(&self) -> KeyPart<'a, T>;
}

impl<'a, T: ?Sized> PeelOther<'a, T> for KeyPart<'a, T> {
    fn __atasker_peel(&self) -> KeyPart<'a, T> {
        KeyPart(self.0)
    }
}

impl<T> KeyPart<'_, T>
where
    T: ToOwned + ?Sized,
    T::Owned: Hash + Eq + Send + Sync + 'static,
{
    /// Copies the part.
    pub fn __atasker_key(&self) -> T::Owned {
        self.0.to_owned()
    }
}

/// Never implemented. The bound exists for its error message. It is a bound on `()`, because one on
/// the type would let the compiler suggest it for a generic parameter.
#[diagnostic::on_unimplemented(
    message = "a value of type `{T}` can't be a part of a `unique` key",
    label = "`unique` needs parts that are `Hash + Eq + Clone + Send + Sync + 'static`",
    note = "use a field or a method that identifies the value, such as `unique = (user.id)`"
)]
pub trait HasKeyPart<T: ?Sized> {}

/// Implemented for all parts. Used for those that can't be in a key.
pub trait UnusablePart<T: ?Sized> {
    /// Never compiles: the bound reports the type.
    fn __atasker_key(&self)
    where
        (): HasKeyPart<T>;
}

impl<T: ?Sized> UnusablePart<T> for KeyPart<'_, T> {
    fn __atasker_key(&self)
    where
        (): HasKeyPart<T>,
    {
    }
}
