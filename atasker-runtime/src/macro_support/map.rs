//! Support for `map!`: the parameter of its function, and how items fit it.
//!
//! An item fits if it has the type of the parameter, or if the parameter is a reference to what the
//! item lends: a `String` fits `&str`, a `PathBuf` fits `&Path`, a `T` fits `&T`. Method lookup on
//! [`Fit`] selects the first of these traits that applies, because each is implemented for one
//! reference less than the one before:
//!
//! | trait | item, parameter |
//! |---|---|
//! | [`FitSame`] | `P`, `P` |
//! | [`FitBorrow`] | `T`, `&U`, where `T: Borrow<U>` |
//! | [`FitAsRef`] | `T`, `&U`, where `T: AsRef<U>`; for example `&String`, `&str` |
//! | [`FitNothing`] | anything else, which is reported |

use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use super::NotALauncher;
use crate::params::Arg;
use crate::task::handle::Task;

/// Implemented for functions, with their signature.
#[diagnostic::on_unimplemented(
    message = "`map!` calls a function for each item, and `{Self}` is none",
    label = "write the path of a function of one parameter, or a closure: `map!(items, |item| ..)`"
)]
pub trait MapFunction<Signature> {}

/// Implemented for the signatures of functions of one parameter.
#[diagnostic::on_unimplemented(
    message = "`map!` calls a function of one parameter, with one item at a time",
    label = "this function has another number of parameters"
)]
pub trait OneParameter {}

impl<A, R> OneParameter for fn(A) -> R {}

/// Implemented for signatures. If the number of parameters is wrong, the associated types are such
/// that this causes no further errors.
pub trait Signature<F> {
    /// The parameter.
    type Parameter;
    /// The result.
    type Returned;
    /// The function itself, if it has one parameter.
    type Function;
    /// Returns the function itself.
    fn same(function: F) -> Self::Function;
}

impl<F, A, R> Signature<F> for fn(A) -> R {
    type Parameter = A;
    type Returned = R;
    type Function = F;
    #[inline]
    fn same(function: F) -> F {
        function
    }
}

impl<F: Fn(A) -> R, A, R> MapFunction<fn(A) -> R> for F {}

/// The parameter of a function without parameters.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct NoParameter;

macro_rules! wrong_signatures {
    ($(($($p:ident)*) $first:ident;)*) => {$(
        impl<F: Fn($($p),*) -> R, $($p,)* R> MapFunction<fn($($p),*) -> R> for F {}

        impl<F, $($p,)* R> Signature<F> for fn($($p),*) -> R {
            type Parameter = $first;
            type Returned = R;
            type Function = fn($first) -> R;
            fn same(_: F) -> Self::Function {
                super::never()
            }
        }
    )*};
}

wrong_signatures! {
    () NoParameter;
    (A B) A;
    (A B C) A;
    (A B C D) A;
    (A B C D E) A;
    (A B C D E G) A;
}

/// Checks that a function has one parameter. Returns it.
#[inline]
pub fn map_function<F: MapFunction<S>, S: Signature<F> + OneParameter>(function: F) -> S::Function {
    S::same(function)
}

/// Returns the types of the parameter and of the result.
#[inline]
#[allow(clippy::type_complexity)]
pub fn map_types<F: MapFunction<S>, S: Signature<F>>(
    _: &F,
) -> (Arg<S::Parameter>, Arg<S::Returned>) {
    (Arg::new(), Arg::new())
}

/// The type of an item, and that of the parameter. See the module documentation.
pub struct Fit<T, P>(PhantomData<fn(T, P)>);

impl<T, P> fmt::Debug for Fit<T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fit")
    }
}

/// Returns both types.
#[inline]
pub fn fit<T, P>(_: &T, _: Arg<P>) -> Fit<T, P> {
    Fit(PhantomData)
}

/// A parameter that is a reference.
#[derive(Debug)]
pub struct Lend<P>(P);

impl<P> Deref for Lend<P> {
    type Target = P;
    fn deref(&self) -> &P {
        &self.0
    }
}

/// An item of the type of the parameter.
pub trait FitSame<P> {
    /// Returns a reference to the parameter.
    fn __atasker_fit<'i>(&self, item: &'i P) -> &'i P;
    /// Calls the function.
    fn __atasker_call<R>(&self, function: &impl Fn(P) -> R, item: P) -> R;
}

impl<P> FitSame<P> for &&&Fit<P, P> {
    #[inline]
    fn __atasker_fit<'i>(&self, item: &'i P) -> &'i P {
        item
    }
    #[inline]
    fn __atasker_call<R>(&self, function: &impl Fn(P) -> R, item: P) -> R {
        function(item)
    }
}

/// An item that lends what the parameter refers to.
pub trait FitBorrow<T, U: ?Sized> {
    /// Returns something that dereferences to the parameter.
    fn __atasker_fit<'i>(&self, item: &'i T) -> Lend<&'i U>;
    /// Calls the function.
    fn __atasker_call<R>(&self, function: &impl Fn(&U) -> R, item: T) -> R;
}

impl<T: Borrow<U>, U: ?Sized> FitBorrow<T, U> for &&Fit<T, &U> {
    #[inline]
    fn __atasker_fit<'i>(&self, item: &'i T) -> Lend<&'i U> {
        Lend(item.borrow())
    }
    #[inline]
    fn __atasker_call<R>(&self, function: &impl Fn(&U) -> R, item: T) -> R {
        function(item.borrow())
    }
}

/// An item that can be converted to what the parameter is.
pub trait FitAsRef<T, U: ?Sized> {
    /// Returns something that dereferences to the parameter.
    fn __atasker_fit<'i>(&self, item: &'i T) -> Lend<&'i U>;
    /// Calls the function.
    fn __atasker_call<R>(&self, function: &impl Fn(&U) -> R, item: T) -> R;
}

impl<T: AsRef<U>, U: ?Sized> FitAsRef<T, U> for &Fit<T, &U> {
    #[inline]
    fn __atasker_fit<'i>(&self, item: &'i T) -> Lend<&'i U> {
        Lend(item.as_ref())
    }
    #[inline]
    fn __atasker_call<R>(&self, function: &impl Fn(&U) -> R, item: T) -> R {
        function(item.as_ref())
    }
}

/// Never implemented. The bound exists for its error message.
#[diagnostic::on_unimplemented(
    message = "the items are of type `{Self}`, but the parameter of the function is `{P}`",
    label = "these items don't fit the function",
    note = "an item fits if it has the type of the parameter, or if the parameter is a reference to it \
            (`String` or `&str` for `&str`, `T` or `&T` for `&T`)"
)]
pub trait Fits<P> {}

/// Any other item.
pub trait FitNothing<T, P> {
    /// Never compiles: the bound reports the item.
    fn __atasker_fit<'i>(&self, item: &'i T) -> &'i P
    where
        T: Fits<P>;
    /// Never compiles: the bound reports the item.
    fn __atasker_call<F, R>(&self, function: &F, item: T) -> R
    where
        T: Fits<P>;
}

impl<T, P> FitNothing<T, P> for Fit<T, P> {
    fn __atasker_fit<'i>(&self, _: &'i T) -> &'i P
    where
        T: Fits<P>,
    {
        super::never()
    }
    fn __atasker_call<F, R>(&self, _: &F, _: T) -> R
    where
        T: Fits<P>,
    {
        super::never()
    }
}

/// Items for a function without parameters, which is reported by itself.
impl<T> Fit<T, NoParameter> {
    /// Never compiles.
    pub fn __atasker_fit<'i>(&self, _: &'i T) -> &'i NoParameter {
        super::never()
    }
    /// Never compiles.
    pub fn __atasker_call<R>(&self, _: &fn(NoParameter) -> R, _: T) -> R {
        super::never()
    }
}

// The result of a function on a thread: neither a launcher nor a future.

/// A result that is a value.
pub trait MapValue {
    /// Does nothing.
    fn __atasker_check_map(&self) {}
}

impl<R> MapValue for &Arg<R> {}

/// Rejects launchers: inherent methods are found before those of the traits.
impl<R: Send + 'static, I, O> Arg<Task<R, I, O>> {
    /// Never compiles: the bound reports the launcher.
    pub fn __atasker_check_map(&self)
    where
        Task<R, I, O>: NotALauncher,
    {
    }
}

/// Never implemented. The bound exists for its error message.
#[diagnostic::on_unimplemented(
    message = "this function is async: `map!` on threads would return futures that have not run",
    label = "use tt = \"mp\", or start a task for each item: `bounded(n, items.map(|item| \
             TaskBuilder::future(f(item))))`"
)]
pub trait NotAsync {}

/// A result that is a future.
pub trait MapFuture<F> {
    /// Never compiles: the bound reports the future.
    fn __atasker_check_map(&self)
    where
        F: NotAsync;
}

impl<F: Future> MapFuture<F> for Arg<F> {
    fn __atasker_check_map(&self)
    where
        F: NotAsync,
    {
    }
}
