//! Types of a function's parameters and result, without values, inferred from the function.

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;

/// The type of a parameter or result, without a value.
pub struct Arg<P: ?Sized>(PhantomData<fn(P)>);

impl<P: ?Sized> fmt::Debug for Arg<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(type_name::<P>())
    }
}

impl<P: ?Sized> Clone for Arg<P> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<P: ?Sized> Copy for Arg<P> {}

impl<P: ?Sized> Arg<P> {
    /// Names a type.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Arg(PhantomData)
    }
}

impl<P> Arg<P> {
    /// Gives a value this type, so that literals are inferred and references coerced.
    #[inline(always)]
    pub fn value(self, value: P) -> P {
        value
    }
}

/// Returns the compiler's name of a function: its path.
pub fn name_of<F>(_: &F) -> &'static str {
    type_name::<F>()
}

macro_rules! params {
    ($($name:ident $($p:ident)*;)*) => {$(
        /// Returns the types of a function's parameters and of its result.
        #[allow(clippy::type_complexity)]
        pub fn $name<F: Fn($($p),*) -> R, $($p,)* R>(_: &F) -> ($(Arg<$p>,)* Arg<R>,) {
            ($(Arg::<$p>::new(),)* Arg::new(),)
        }
    )*};
}

params! {
    params0;
    params1 A;
    params2 A B;
    params3 A B C;
    params4 A B C D;
    params5 A B C D E;
    params6 A B C D E G;
    params7 A B C D E G H;
    params8 A B C D E G H I;
    params9 A B C D E G H I J;
    params10 A B C D E G H I J K;
    params11 A B C D E G H I J K L;
    params12 A B C D E G H I J K L M;
}

/// Fails the compilation of a program that uses the function around it with the type `$T`.
///
/// The condition depends on the type, because an optimized build evaluates constants that depend on
/// no type even in functions that nothing uses.
#[cfg(feature = "mp")]
macro_rules! never_compiles {
    ($T:ty, $message:expr) => {{
        const { assert!(size_of::<$T>() == usize::MAX, $message) };
        unreachable!()
    }};
}
#[cfg(feature = "mp")]
pub(crate) use never_compiles;
