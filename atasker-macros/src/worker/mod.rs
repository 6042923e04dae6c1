//! `#[background_worker(...)]`: turns a function into a constructor.
//!
//! ```text
//! #[background_worker(interval = "1s")]     fn f(a: A, b: B) -> IntervalWorker {
//! fn f(a: A, b: &mut B) { BODY }        =>      fn f(a: A, b: &mut B) { BODY } // in a holder type
//!                                               let builder = IntervalWorker::builder(1s).name("f");
//!                                               builder.run(move |_| Holder::f(a.clone(), &mut b))
//!                                           }
//! ```
//!
//! The constructor calls a generated function `__atasker_worker`, which is generic over the types
//! of its parameters. A missing trait is then reported at the argument of that type, which has the
//! span of the user's parameter, and only there.
//!
//! A run borrows state (`&mut T`) from the worker. On an aloop it does so through a lock, so that
//! the state survives a run that is dropped at an await.

mod captured;
mod check;
mod expand;
mod keys;

pub(crate) use keys::{KEYS, WorkerKeys};

use proc_macro2::TokenStream;
use syn::parse::{ParseStream, Parser};

use crate::args::{Options, Syntax};
use crate::errors::Errors;
use crate::expand::not_a_function;
use crate::hygiene::quote;
use crate::item::{Role, TaskFn};

pub(crate) fn background_worker(args: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let function = |input: ParseStream<'_>| TaskFn::parse(Role::Worker, input);
    let f = match function.parse2(item.clone()) {
        Ok(f) => f,
        Err(error) => {
            errors.push(not_a_function(&item, error, "#[background_worker] works on functions"));
            let errors = errors.into_tokens();
            return quote!(#errors #item);
        }
    };
    let options = |input: ParseStream<'_>| Ok(Options::parse(input, Syntax::Worker, &mut errors));
    let options = options.parse2(args).expect("errors are gathered");
    if !errors.any() {
        check::check(&options, &f, &mut errors);
    }
    let code = expand::constructor(f, options, errors.any());
    let errors = errors.into_tokens();
    quote!(#errors #code)
}
