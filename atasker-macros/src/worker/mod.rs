//! `#[background_worker(...)]`: the function becomes a constructor.
//!
//! ```text
//! #[background_worker(interval = "1s")]     fn f(own: A, kept: B) -> IntervalWorker {
//! fn f(own: A, kept: &mut B) { BODY }   =>      fn __atasker_body(own: A, kept: &mut B) { BODY }
//!                                               let builder = IntervalWorker::builder(1s).name("f");
//!                                               builder.run(move |_| __atasker_body(own.clone(), &mut kept))
//!                                           }
//! ```
//!
//! In between stands a function `__worker`, generic over the types of all that it is given: what a
//! type lacks is then reported at the argument that has it, which carries the span of the user's
//! parameter, and only there.

mod check;
mod expand;
mod keys;
mod own;

pub(crate) use keys::{WORDS, WorkerKeys};

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{ParseStream, Parser};

use crate::args::{Form, Options};
use crate::errors::Errors;
use crate::expand::not_a_function;
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
    let options = |input: ParseStream<'_>| Ok(Options::parse(input, Form::Worker, &mut errors));
    let options = options.parse2(args).expect("errors are gathered");
    if !errors.any() {
        check::check(&options, &f, &mut errors);
    }
    let code = expand::constructor(f, options, errors.any());
    let errors = errors.into_tokens();
    quote!(#errors #code)
}
