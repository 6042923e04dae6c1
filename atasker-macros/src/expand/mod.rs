//! Generates the code of `#[background_task]`.
//!
//! ```text
//! #[background_task(priority = "low")]          fn f(n: u64) -> Task<u64> { f::builder(n).start() }
//! fn f(n: u64) -> u64 { BODY }             =>   struct f { .. }
//!                                               impl f {
//!                                                   fn builder(n: u64) -> TaskBuilder<u64> {
//!                                                       TaskBuilder::new(move || f::f(n)).priority(..)
//!                                                   }
//!                                                   fn call(n: u64) -> u64 { f::f(n) }
//!                                                   fn f(n: u64) -> u64 { BODY }
//!                                               }
//! ```
//!
//! A struct with named fields exists in the type namespace only, so it can have the same name as
//! `fn f`, also inside the body of another function.

pub(crate) mod bounds;
mod builder;
mod companion;
mod entry;
mod launcher;
mod plain;
mod portable;
mod remote;

pub(crate) use builder::{numbered, respan, returned_err, unraw};
pub(crate) use companion::holder;
pub(crate) use entry::{Entry, Returns, hash, table};
pub(crate) use launcher::body;
pub(crate) use portable::check_inferred;

use proc_macro2::TokenStream;
use syn::parse::Parser;

use crate::args::{Options, Place, Syntax};
use crate::check;
use crate::errors::Errors;
use crate::hygiene::quote;
use crate::item::{Role, TaskFn};

/// A function with its options, ready to be expanded.
struct Plan {
    f: TaskFn,
    options: Options,
    place: Place,
    /// An error was reported: the launcher has the right signature, and a body that never runs.
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
        Ok(Options::parse(input, Syntax::Attribute, &mut errors))
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

/// Returns the parse error, or a better one if the item is not a function.
pub(crate) fn not_a_function(item: &TokenStream, error: syn::Error, works_on: &str) -> syn::Error {
    match syn::parse2::<syn::Item>(item.clone()) {
        Ok(syn::Item::Fn(_) | syn::Item::Verbatim(_)) | Err(_) => error,
        Ok(_) => syn::Error::new(proc_macro2::Span::call_site(), works_on),
    }
}
