//! What the attribute turns a function into.
//!
//! ```text
//! #[background_task(priority = "low")]          fn f(n: u64) -> Task<u64> { f::builder(n).start() }
//! fn f(n: u64) -> u64 { BODY }             =>   struct f { .. }
//!                                               impl f {
//!                                                   fn builder(n: u64) -> TaskBuilder<u64> {
//!                                                       TaskBuilder::new(move || f::call(n)).priority(..)
//!                                                   }
//!                                                   fn call(n: u64) -> u64 { BODY }
//!                                               }
//! ```
//!
//! A struct with named fields has a name among the types only, so it can stand beside `fn f`, also
//! inside another function's body.

mod builder;
mod companion;
mod entry;
mod launcher;

pub(crate) use builder::{respan, returned_err, unraw};
pub(crate) use entry::{Entry, hash, table};
pub(crate) use launcher::body;

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::Parser;

use crate::args::{Form, Options, Place};
use crate::check;
use crate::errors::Errors;
use crate::item::{Role, TaskFn};

/// A function with what was said about it, ready to be written.
struct Plan {
    f: TaskFn,
    options: Options,
    place: Place,
    /// Something is wrong: the launcher is written with the right signature and without insides.
    failed: bool,
}

pub(crate) fn background_task(args: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let function = |input: syn::parse::ParseStream<'_>| TaskFn::parse(Role::Task, input);
    let f: TaskFn = match function.parse2(item.clone()) {
        Ok(f) => f,
        Err(error) => {
            errors.push(not_a_function(
                &item,
                error,
                "#[background_task] works on functions and on methods with an owned receiver",
            ));
            let errors = errors.into_tokens();
            return quote!(#errors #item);
        }
    };
    let parser = |input: syn::parse::ParseStream<'_>| {
        Ok(Options::parse(input, Form::Attribute, &mut errors))
    };
    let options = parser.parse2(args).expect("errors are gathered");
    if !errors.any() {
        check::check(&options, &f, &mut errors);
    }
    let plan = Plan { place: check::place(&options, &f), f, options, failed: errors.any() };
    let code = plan.expand();
    let errors = errors.into_tokens();
    quote!(#errors #code)
}

impl Plan {
    fn expand(&self) -> TokenStream {
        let launcher = self.launcher();
        let companion = self.companion();
        quote!(#launcher #companion)
    }
}

/// The function could not be parsed: is it one at all?
pub(crate) fn not_a_function(item: &TokenStream, error: syn::Error, works_on: &str) -> syn::Error {
    match syn::parse2::<syn::Item>(item.clone()) {
        Ok(syn::Item::Fn(_) | syn::Item::Verbatim(_)) | Err(_) => error,
        Ok(_) => syn::Error::new(proc_macro2::Span::call_site(), works_on),
    }
}
