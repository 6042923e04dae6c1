//! The attributes of atasker. Use the `atasker` crate, which re-exports and documents them.
//!
//! The way of one attribute: `args` parses its keys, `item` the function, `check` knows the rules
//! that need both, and `expand` writes the code. Where something is wrong, one error points at it,
//! and the launcher is written all the same, so that its callers cause no second one.

mod args;
mod background;
mod check;
mod errors;
mod expand;
mod item;
mod main_fn;

use proc_macro::TokenStream;

/// Turns a function into one that runs in the background: on a pool thread, on an aloop, or in a
/// worker process.
#[proc_macro_attribute]
pub fn background_task(args: TokenStream, item: TokenStream) -> TokenStream {
    expand::background_task(args.into(), item.into()).into()
}

/// Launches a call, a closure or a future as a task, without an attribute at the function.
#[proc_macro]
pub fn background(input: TokenStream) -> TokenStream {
    background::expand(input.into()).into()
}

/// Prepares `fn main`: a worker copy of the program is recognised here, and with `drain = "10s"`
/// unfinished tasks may go on for so long when `main` returns.
#[proc_macro_attribute]
pub fn main(args: TokenStream, item: TokenStream) -> TokenStream {
    main_fn::expand(args.into(), item.into()).into()
}
