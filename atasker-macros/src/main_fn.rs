//! `#[atasker::main]`: something runs before anything else of the program.
//!
//! ```text
//! #[atasker::main(drain = "10s")]            fn main() -> R {
//! #[tokio::main]                                 let __guard = enter_main(Some(10s));
//! async fn main() -> R { BODY }         =>       #[tokio::main] async fn main() -> R { BODY }
//!                                                main()
//!                                            }
//! ```
//!
//! The other attributes stay with the inner function: so a runtime that one of them makes is made
//! after a worker copy was recognised, and is gone before the guard waits for tasks.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, Expr, Ident, ItemFn, Token};

use crate::args::duration;
use crate::errors::{Errors, nearest};

pub(crate) fn expand(args: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let main: ItemFn = match syn::parse2(item.clone()) {
        Ok(main) => main,
        Err(_) => {
            errors.at(proc_macro2::Span::call_site(), "#[atasker::main] belongs on `fn main`");
            let errors = errors.into_tokens();
            return quote!(#errors #item);
        }
    };
    let drain = match (|input: ParseStream<'_>| options(input)).parse2(args) {
        Ok(drain) => drain,
        Err(error) => {
            errors.push(error);
            None
        }
    };
    check(&main, &mut errors);
    if errors.any() {
        let errors = errors.into_tokens();
        // Without an `async` that nobody can run, lest that be a second error.
        let mut plain = main;
        if runtime(&plain).is_none() && plain.sig.asyncness.take().is_some() {
            *plain.block = syn::parse_quote!({ ::core::unimplemented!() });
        }
        return quote!(#errors #plain);
    }

    let drain = match drain {
        Some(drain) => quote!(::core::option::Option::Some(#drain)),
        None => quote!(::core::option::Option::None),
    };
    let (outside, inside): (Vec<&Attribute>, Vec<&Attribute>) =
        main.attrs.iter().partition(|attr| attr.path().is_ident("doc") || is_cfg(attr));
    let lints = main.attrs.iter().filter(|attr| is_lint(attr));
    let (vis, sig, block) = (&main.vis, &main.sig, &main.block);
    let (ident, output) = (&sig.ident, &sig.output);
    quote! {
        #(#outside)*
        #(#lints)*
        #vis fn #ident() #output {
            let __guard = ::atasker::__private::enter_main(#drain);
            #(#inside)*
            #sig #block
            #ident()
        }
    }
}

fn is_cfg(attr: &Attribute) -> bool {
    attr.path().is_ident("cfg")
}

fn is_lint(attr: &Attribute) -> bool {
    ["allow", "warn", "deny", "forbid"].iter().any(|lint| attr.path().is_ident(lint))
}

/// An attribute that might make `main` run a future.
fn runtime(main: &ItemFn) -> Option<&Attribute> {
    main.attrs.iter().find(|attr| {
        !is_lint(attr)
            && !is_cfg(attr)
            && !attr.path().is_ident("doc")
            && !attr.path().is_ident("expect")
    })
}

fn check(main: &ItemFn, errors: &mut Errors) {
    if main.sig.ident != "main" {
        errors.on(&main.sig.ident, "#[atasker::main] belongs on `fn main`");
    } else if !main.sig.inputs.is_empty() {
        errors.on(&main.sig.inputs, "`main` takes no arguments");
    } else if let Some(token) = &main.sig.asyncness
        && runtime(main).is_none()
    {
        errors.on(
            token,
            "an `async fn main` needs a runtime: put `#[tokio::main]` below #[atasker::main]",
        );
    }
}

fn options(input: ParseStream<'_>) -> syn::Result<Option<TokenStream>> {
    let mut drain = None;
    while !input.is_empty() {
        let key: Ident = input
            .parse()
            .map_err(|error| syn::Error::new(error.span(), "expected `drain = \"10s\"`"))?;
        if key != "drain" {
            let message = match nearest(&key.to_string(), &["drain"]) {
                Some(meant) => format!("unknown key `{key}`: did you mean `{meant}`?"),
                None => format!("unknown key `{key}`: the only key is `drain = \"10s\"`"),
            };
            return Err(syn::Error::new(key.span(), message));
        }
        if drain.is_some() {
            return Err(syn::Error::new(key.span(), "`drain` is given twice: keep one of the two"));
        }
        if !input.peek(Token![=]) {
            return Err(syn::Error::new(
                key.span(),
                "`drain` needs a value: write `drain = \"10s\"`",
            ));
        }
        input.parse::<Token![=]>()?;
        drain = Some(duration("drain", input.parse::<Expr>()?)?);
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
        }
    }
    Ok(drain)
}
