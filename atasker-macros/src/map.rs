//! `map!(items, f, ...)`: calls a function for each item, in parallel.
//!
//! | syntax | expands to |
//! |---|---|
//! | a closure or another expression | `MapOptions::new()..threads(items, closure)` |
//! | a path | the same, with a closure that passes an item as the function takes it |
//! | a path, `tt = "mp"` | an entry in the function table for chunks of items, and `MapOptions::new()..processes(..)` |

use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;
use syn::parse::{ParseStream, Parser};
use syn::spanned::Spanned;
use syn::{Expr, Token};

use crate::args::{Options, Place, Syntax};
use crate::background::{bare, local, without_groups};
use crate::check::{check_feature, check_place_keys};
use crate::errors::Errors;
use crate::expand::{check_inferred, hash, respan, table};
use crate::hygiene::{error_span, quote};
use crate::shim::{CalledBy, Generated, Shim};

const EXAMPLE: &str = "`map!(items, work, tt = \"mp\")`";

pub(crate) fn expand(input: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let parser = |input: ParseStream<'_>| -> syn::Result<(Expr, Expr, Options)> {
        if input.is_empty() {
            let message = format!("expected the items and a function: {EXAMPLE}");
            return Err(syn::Error::new(Span::call_site(), message));
        }
        let items: Expr = input.parse()?;
        if input.is_empty() {
            let message = format!("expected a function behind the items: {EXAMPLE}");
            return Err(syn::Error::new_spanned(items, message));
        }
        comma(input, "the function")?;
        if input.is_empty() || input.peek2(Token![=]) && !input.peek2(Token![==]) {
            return Err(input.error(format!("expected a function behind the items: {EXAMPLE}")));
        }
        let function: Expr = input.parse()?;
        if !input.is_empty() {
            comma(input, "the keys")?;
        }
        Ok((items, function, Options::parse(input, Syntax::Map, &mut errors)))
    };
    let code = match parser.parse2(input) {
        Ok((items, function, options)) if !errors.any() => {
            map(&items, bare(function), &options, &mut errors)
        }
        Ok(_) => quote!(),
        Err(error) => {
            errors.push(error);
            quote!()
        }
    };
    if errors.any() {
        // As an expression, `compile_error!` has any type, so that no type error follows.
        return errors.into_expression();
    }
    code
}

fn comma(input: ParseStream<'_>, before: &str) -> syn::Result<()> {
    if !input.peek(Token![,]) {
        return Err(input.error(format!("expected `,` before {before}")));
    }
    input.parse::<Token![,]>().map(drop)
}

fn map(items: &Expr, function: Expr, options: &Options, errors: &mut Errors) -> TokenStream {
    let (place, at) = options.tt.unwrap_or((Place::Thread, function.span()));
    if matches!(place, Place::Async | Place::Remote) {
        errors.at(
            at,
            "`map!` blocks until its items are done, on threads or in worker processes: use \
             tt = \"thread\" or tt = \"mp\", or start a task for each item with `bounded`",
        );
        return quote!();
    }
    check_feature(place, at, errors);
    check_place_keys(options, place, errors);
    if errors.any() {
        return quote!();
    }
    match (&function, place) {
        (Expr::Path(_), Place::Mp) => processes(items, &function, options, errors),
        (Expr::Path(_), _) => threads_by_path(items, &function, options),
        (Expr::Closure(_), Place::Mp) => {
            errors.on(
                &function,
                format!(
                    "a closure can't run in a worker process, which has none of this process's \
                     variables: write a function, and pass its path, {EXAMPLE}"
                ),
            );
            quote!()
        }
        (_, Place::Mp) => {
            errors.on(
                &function,
                match function {
                    Expr::Call(_) => {
                        format!("expected the path of a function, without arguments: {EXAMPLE}")
                    }
                    _ => format!("expected the path of a function: {EXAMPLE}"),
                },
            );
            quote!()
        }
        (Expr::Closure(closure), _) => {
            if let Some(token) = &closure.asyncness {
                errors.on(
                    token,
                    "`map!` runs on threads or in worker processes: start a task for each item, \
                     with `bounded`, to run futures",
                );
                return quote!();
            }
            if closure.inputs.len() != 1 {
                let wrong = match closure.inputs.is_empty() {
                    true => &closure.or1_token as &dyn quote::ToTokens,
                    false => &closure.inputs,
                };
                errors.on(wrong, "the closure of `map!` has one parameter, the item: `|item| ..`");
                return quote!();
            }
            // It must own what it captures. Errors about that point at the closure.
            let mut closure = closure.clone();
            let span = closure.or1_token.span;
            closure.capture.get_or_insert(Token![move](span));
            threads(items, &closure, options)
        }
        _ => threads(items, &function, options),
    }
}

/// Generates the options.
fn configured(options: &Options, name: Option<TokenStream>) -> TokenStream {
    let (krate, setters) = (&options.krate, options.setters());
    let name = options.name.as_ref().map(|name| quote!(#name)).or(name);
    let name = name.map(|name| quote!(.name(#name)));
    quote!(#krate::__private::MapOptions::new() #name #setters)
}

fn threads(items: &Expr, function: &dyn quote::ToTokens, options: &Options) -> TokenStream {
    let configured = configured(options, None);
    quote!(#configured.threads(#items, #function))
}

fn threads_by_path(items: &Expr, path: &Expr, options: &Options) -> TokenStream {
    let krate = &options.krate;
    let (path_at, items_at) = (error_span(path.span()), error_span(items.span()));
    let function = function(path, options);
    let check = quote_spanned!(path_at=> (&__result).__atasker_check_map(););
    let call = quote_spanned! {items_at=>
        (&&&&__fit).__atasker_call(&__function, __item)
    };
    let configured = configured(options, Some(quote!(__name)));
    quote!({
        let __function = #function;
        {
            #[allow(unused_imports)]
            use #krate::__private::{MapFuture as _, MapValue as _};
            let (_, __result) = #krate::__private::map_types(&__function);
            #check
        }
        #[allow(unused_variables)]
        let __name = #krate::__private::name_of(&__function);
        #configured.threads(#items, move |__item| {
            #[allow(unused_imports)]
            use #krate::__private::{FitAsRef as _, FitBorrow as _, FitNothing as _, FitSame as _};
            let (__p0, _) = #krate::__private::map_types(&__function);
            let __fit = #krate::__private::fit(&__item, __p0);
            #call
        })
    })
}

/// Generates the function, checked for the number of its parameters.
fn function(path: &Expr, options: &Options) -> TokenStream {
    let at = error_span(path.span());
    let krate = options.krate.at(at);
    quote_spanned!(at=> #krate::__private::map_function(#path))
}

fn processes(items: &Expr, path: &Expr, options: &Options, errors: &mut Errors) -> TokenStream {
    if let Expr::Path(path) = path
        && let Some(first) = path.path.segments.first().filter(|first| first.ident == "Self")
    {
        errors.on(
            first,
            "`Self` can't be named in the function table of worker processes: \
             write the name of the type",
        );
        return quote!();
    }
    let (krate, format) = (&options.krate, options.format());
    let items_at = error_span(items.span());
    let function = function(path, options);
    let bind = quote! {
        let __function = #function;
        let (__p0, __result) = #krate::__private::map_types(&__function);
    };
    let text = without_groups(quote!(#path)).to_string().replace(' ', "");
    let name = match options.literal_name() {
        Some(name) => quote!(#name),
        None => quote!(#text),
    };
    let table = table(krate, &name, hash(&format!("{format} map {text}")), None);
    let needs = options.needs_processes();
    let (types, values) = ([local("__p", 0)], [local("__a", 0)]);
    let shim = Shim {
        name: "__atasker_item",
        path: &quote!(#path),
        called_by: CalledBy::Path,
        bind,
        spans: &[items_at],
        types: &types,
        values: &values,
    };
    let Generated { shim, finished, reader } = shim.expand(&name, options);
    let (krate_items, format_items) = (krate.at(items_at), respan(format.clone(), items_at));
    let encode = quote_spanned! {items_at=>
        let __param = (&&&&__fit).__atasker_fit(&__item);
        let mut __output = #krate_items::__private::Output::<#format_items>::new();
        (&&&&__p0).__atasker_write(&*__param, &mut __output)?;
    };
    // A type that can't be sent is reported at the items, or at the function for the result.
    let inferred = std::iter::once((quote!(__p0), quote!(#items)));
    let check = check_inferred(krate, inferred, (quote!(__result), quote!(#path)));
    let configured = configured(options, None);
    quote!({
        #needs
        #shim
        fn __atasker_shim(
            __call: &mut #krate::__private::Call<'_>,
        ) -> ::core::result::Result<(), #krate::TaskError> {
            #krate::__private::run_chunk(__call, __atasker_item)
        }
        #table
        let __function = #function;
        let (__p0, __result) = #krate::__private::map_types(&__function);
        let __result = #finished;
        let __read = #reader;
        #check
        #configured.processes(
            &__ATASKER_FUNCTION,
            #items,
            |__item| {
                #[allow(unused_imports)]
                use #krate::__private::{
                    FitAsRef as _, FitBorrow as _, FitNothing as _, FitSame as _, NoWrite as _,
                    WriteBlock as _, WriteOwned as _, WriteRef as _,
                };
                let (__p0, _) = #krate::__private::map_types(&__function);
                let __fit = #krate::__private::fit(&__item, __p0);
                #encode
                ::core::result::Result::Ok(__output.into_payload())
            },
            __result,
            __read,
        )
    })
}
