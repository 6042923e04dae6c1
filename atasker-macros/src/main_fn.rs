//! `#[atasker::main]`: runs code before and after the body of `main`.
//!
//! ```text
//! #[atasker::main(drain = "10s")]            fn main() -> R {
//! #[tokio::main]                                 let __guard = enter_main(Some(10s));
//! async fn main() -> R { BODY }         =>       #[tokio::main] async fn main() -> R { BODY }
//!                                                main()
//!                                            }
//! ```
//!
//! The other attributes stay on the inner function, so that a runtime that one of them builds is
//! built after a worker process is recognized, and is shut down before the guard waits for tasks.

use proc_macro2::TokenStream;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, Expr, Ident, ItemFn, Token};

use crate::args::{duration, without_groups};
use crate::crate_path::CratePath;
use crate::errors::{Errors, nearest};
use crate::hygiene::quote;

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
    let (drain, krate) = match options.parse2(args) {
        Ok(options) => options,
        Err(error) => {
            errors.push(error);
            (None, CratePath::default())
        }
    };
    check(&main, &mut errors);
    if errors.any() {
        let errors = errors.into_tokens();
        // Without `async`, because an async `main` without a runtime would be a second error.
        let mut plain = main;
        if runtime(&plain).is_none() && plain.sig.asyncness.take().is_some() {
            // Never executed: the errors above keep the program from being built.
            *plain.block = syn::parse_quote!({ ::core::unreachable!() });
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
            let __guard = #krate::__private::enter_main(#drain);
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

/// Returns an attribute that may provide a runtime for an async `main`.
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

fn options(input: ParseStream<'_>) -> syn::Result<(Option<TokenStream>, CratePath)> {
    const KEYS: [&str; 2] = ["drain", "crate"];
    let (mut drain, mut krate) = (None, None);
    while !input.is_empty() {
        let key = input
            .call(Ident::parse_any)
            .map_err(|error| syn::Error::new(error.span(), "expected `drain = \"10s\"`"))?;
        let name = key.to_string();
        let error = |message: String| Err(syn::Error::new(key.span(), message));
        if !KEYS.contains(&name.as_str()) {
            return error(match nearest(&name, &KEYS) {
                Some(suggestion) => format!("unknown key `{key}`: did you mean `{suggestion}`?"),
                None => format!("unknown key `{key}`: the keys are `drain = \"10s\"`, `crate`"),
            });
        }
        if (name == "drain" && drain.is_some()) || (name == "crate" && krate.is_some()) {
            return error(format!("`{key}` is given twice: keep one of the two"));
        }
        if !input.peek(Token![=]) {
            let example = if name == "drain" { "\"10s\"" } else { "my_name_for_atasker" };
            return error(format!("`{key}` needs a value: write `{key} = {example}`"));
        }
        input.parse::<Token![=]>()?;
        let value = without_groups(input.parse::<Expr>()?);
        match name.as_str() {
            "drain" => drain = Some(duration("drain", value)?),
            _ => krate = Some(CratePath::from_expr(&value)?),
        }
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
        }
    }
    Ok((drain, krate.unwrap_or_default()))
}
