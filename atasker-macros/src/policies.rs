//! The keys that say when a task is run again, when it expires, and when it has to wait or is one
//! too many: `backoff`, `retry_if`, `limit`, `unique`. (`expires` is a plain duration.)
//!
//! The values of `limit` and `unique` are expressions over the parameters of the function. They are
//! evaluated before the parameters are moved into the task, and bound to variables that the setters
//! receive.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::quote_spanned;
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{Expr, ExprLit, ExprPath, Lit, Macro, Pat, PatIdent};

use crate::args::{function, nanoseconds, str_literal, without_groups};
use crate::crate_path::CratePath;
use crate::errors::Errors;
use crate::hygiene::{error_span, quote};
use crate::item::TaskFn;

/// The keys, with the values that setters alone can't express.
#[derive(Default)]
pub(crate) struct Policies {
    /// The key `retries`, even if its value is zero.
    pub(crate) retries: Option<Ident>,
    pub(crate) retry_delay: Option<Ident>,
    pub(crate) backoff: Option<Ident>,
    pub(crate) retry_if: Option<Ident>,
    pub(crate) limit: Option<(Ident, Expr)>,
    /// The parts of the key.
    pub(crate) unique: Option<(Ident, Vec<Expr>)>,
}

impl Policies {
    /// Reports keys that exclude or need each other.
    pub(crate) fn check(&self, errors: &mut Errors) {
        if let (Some(backoff), Some(_)) = (&self.backoff, &self.retry_delay) {
            errors.on(
                backoff,
                "`backoff` and `retry_delay` both set the pause before a retry: keep one of the two",
            );
        }
        if self.retries.is_some() {
            return;
        }
        for key in [&self.backoff, &self.retry_if].into_iter().flatten() {
            errors.on(key, format!("`{key}` applies to retries: add `retries = 3`"));
        }
    }

    /// Reports parameters in `limit` and `unique` that the launcher does not have.
    pub(crate) fn check_parameters(&self, f: &TaskFn, errors: &mut Errors) {
        let limit = self.limit.iter().map(|(key, value)| (key, value));
        let unique =
            self.unique.iter().flat_map(|(key, parts)| parts.iter().map(move |part| (key, part)));
        let context = f.context.as_ref().and_then(|context| context.name.as_ref());
        let in_patterns = f.params.iter().flat_map(|param| match &*param.arg.pat {
            Pat::Ident(pat) if pat.subpat.is_none() => Vec::new(),
            pat => bound(|search| search.visit_pat(pat)),
        });
        let in_patterns: Vec<Ident> = in_patterns.collect();
        for (key, value) in limit.chain(unique) {
            if let Some(used) = context.and_then(|context| mention(value, context)) {
                errors.at(
                    used,
                    format!(
                        "the context does not exist before the task has begun: `{key}` can use the \
                         other parameters"
                    ),
                );
            }
            for name in &in_patterns {
                if let Some(used) = mention(value, name) {
                    errors.at(
                        used,
                        format!(
                            "`{name}` does not exist before the task has begun, because it is part \
                             of a pattern: give the parameter a name, and use that in `{key}`"
                        ),
                    );
                }
            }
        }
    }

    /// Returns the statements that evaluate the expressions. The key of a remote task is encoded.
    pub(crate) fn bindings(&self, krate: &CratePath, is_remote: bool) -> TokenStream {
        let limit = self.limit.as_ref().map(|(_, value)| quote!(let __limit = #value;));
        let unique = self.unique.as_ref().map(|(_, parts)| {
            if is_remote {
                return encoded(parts, krate);
            }
            let parts: Vec<_> = parts.iter().map(|part| owned_part(part, krate)).collect();
            let key = match &parts[..] {
                [part] => quote!(#part),
                parts => quote!((#(#parts),*)),
            };
            quote! {
                #[allow(clippy::let_unit_value)]
                let __unique = {
                    #[allow(unused_imports)]
                    use #krate::__private::{PeelOther as _, UnusablePart as _};
                    #key
                };
            }
        });
        quote!(#limit #unique)
    }

    /// Returns the calls of the setters that receive their values, `unique` only on request.
    pub(crate) fn setters(&self, with_unique: bool) -> TokenStream {
        let limit = self.limit.as_ref().map(|(key, _)| {
            let method = Ident::new("limit", key.span());
            quote!(.#method(__limit))
        });
        let unique = self.unique.as_ref().filter(|_| with_unique).map(|(key, _)| {
            let method = Ident::new("unique", key.span());
            quote!(.#method(__unique))
        });
        quote!(#limit #unique)
    }
}

/// Returns an expression for an owned copy of a part, which has any type. An error about the type
/// is reported at the part.
fn owned_part(part: &Expr, krate: &CratePath) -> TokenStream {
    let at = error_span(part.span());
    let krate = krate.at(at);
    // References to references are rare, and more of them are not used.
    quote_spanned! {at=>
        #krate::__private::KeyPart::new(&#part)
            .__atasker_peel()
            .__atasker_peel()
            .__atasker_peel()
            .__atasker_key()
    }
}

/// Returns the statements that encode the parts. An error about the type of one is reported at it.
fn encoded(parts: &[Expr], krate: &CratePath) -> TokenStream {
    let parts = parts.iter().map(|part| {
        let at = error_span(part.span());
        let krate = krate.at(at);
        quote_spanned!(at=> #krate::__private::KeyEncoder::part(&mut __unique, &#part);)
    });
    quote! {
        #[allow(unused_mut)]
        let mut __unique = #krate::__private::KeyEncoder::new();
        #(#parts)*
    }
}

/// Parses the value of `backoff`: a range of durations, or an expression of type `Backoff`.
pub(crate) fn backoff(value: Expr, krate: &CratePath) -> syn::Result<TokenStream> {
    const EXAMPLE: &str = "write `backoff = \"100ms..30s\"`";
    let Some(text) = str_literal(&value) else {
        return match &value {
            Expr::Lit(_) | Expr::Range(_) => Err(syn::Error::new(
                value.span(),
                format!(
                    "a back-off is a range of durations in quotes, or an expression of type \
                     `Backoff`: {EXAMPLE}"
                ),
            )),
            _ => Ok(quote!(#value)),
        };
    };
    let error = |message| Err(syn::Error::new(text.span(), message));
    let range = text.value();
    let Some((min, max)) = range.split_once("..") else {
        return error(match nanoseconds(&range) {
            Ok(_) => format!(
                "a back-off grows from one duration to another: {EXAMPLE}, or `retry_delay = \
                 \"{range}\"` for the same pause each time"
            ),
            Err(_) => format!("\"{range}\" is not a range of durations: {EXAMPLE}"),
        });
    };
    let (min, max) = match (nanoseconds(min), nanoseconds(max)) {
        (Ok(min), Ok(max)) => (min, max),
        (Err(reason), _) | (_, Err(reason)) => return error(format!("{reason}: {EXAMPLE}")),
    };
    if min > max {
        return error(format!("the shortest pause is longer than the longest: {EXAMPLE}"));
    }
    let duration = |nanos| quote!(::core::time::Duration::from_nanos(#nanos));
    let (min, max) = (duration(min), duration(max));
    Ok(quote!(#krate::Backoff::exponential(#min, #max)))
}

/// Checks the value of `retry_if`.
pub(crate) fn retry_if(value: Expr) -> syn::Result<TokenStream> {
    function(&value, "`retry_if`", "R", " -> bool", "retry_if", "is_busy")?;
    Ok(quote!(#value))
}

/// Checks the value of `limit`.
pub(crate) fn limit(value: Expr) -> syn::Result<Expr> {
    match &value {
        Expr::Lit(_) | Expr::Unary(_) => Err(syn::Error::new(
            value.span(),
            "a limit is shared by the tasks that it limits, so it is an expression of type \
             `&Limit`: write `limit = &RATE`, with `static RATE: Limit = Limit::concurrency(4)`",
        )),
        _ => Ok(value),
    }
}

/// Returns the parts of the value of `unique`.
pub(crate) fn unique(value: Expr) -> syn::Result<Vec<Expr>> {
    match value {
        Expr::Tuple(tuple) => Ok(tuple.elems.into_iter().map(without_reference).collect()),
        Expr::Paren(paren) => Ok(vec![without_reference(*paren.expr)]),
        Expr::Lit(ExprLit { lit: Lit::Bool(_), .. }) => Err(syn::Error::new(
            value.span(),
            "`unique` lists what makes a task unique: write `unique = (user_id)`, or `unique = ()` \
             for at most one task of the function",
        )),
        value => Ok(vec![without_reference(value)]),
    }
}

/// Removes `&`, because parts are borrowed anyway, so that errors point at what is behind it.
fn without_reference(part: Expr) -> Expr {
    match without_groups(part) {
        Expr::Reference(reference)
            if reference.mutability.is_none() && reference.attrs.is_empty() =>
        {
            without_reference(*reference.expr)
        }
        part => part,
    }
}

/// Returns the variables that patterns bind.
fn bound(visit: impl FnOnce(&mut Bound)) -> Vec<Ident> {
    let mut search = Bound::default();
    visit(&mut search);
    search.0
}

#[derive(Default)]
struct Bound(Vec<Ident>);

impl Visit<'_> for Bound {
    fn visit_pat_ident(&mut self, pat: &PatIdent) {
        self.0.push(pat.ident.clone());
        syn::visit::visit_pat_ident(self, pat);
    }
}

/// Returns where an expression uses this variable, unless it binds one of that name itself.
fn mention(value: &Expr, name: &Ident) -> Option<Span> {
    struct Search<'a> {
        name: &'a Ident,
        found: Option<Span>,
    }
    impl Visit<'_> for Search<'_> {
        fn visit_expr_path(&mut self, path: &ExprPath) {
            if path.qself.is_none() && path.path.is_ident(self.name) {
                self.found.get_or_insert(path.span());
            }
        }
        fn visit_macro(&mut self, mac: &Macro) {
            let found = in_tokens(mac.tokens.clone(), self.name);
            self.found = self.found.or(found);
        }
    }
    /// The arguments of a macro are not parsed. A name behind a dot is that of a field or a method.
    fn in_tokens(tokens: TokenStream, name: &Ident) -> Option<Span> {
        let mut behind_dot = false;
        tokens.into_iter().find_map(|token| {
            let found = match &token {
                TokenTree::Ident(ident) if ident == name && !behind_dot => Some(ident.span()),
                TokenTree::Group(group) => in_tokens(group.stream(), name),
                _ => None,
            };
            behind_dot = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '.');
            found
        })
    }
    if bound(|search| search.visit_expr(value)).contains(name) {
        return None;
    }
    let mut search = Search { name, found: None };
    search.visit_expr(value);
    search.found
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    #[test]
    fn variables_are_found_where_they_are_used() {
        let ctx: Ident = parse_quote!(ctx);
        let uses: [Expr; 5] = [
            parse_quote!(ctx),
            parse_quote!(&ctx.id()),
            parse_quote!(f(a, ctx)),
            parse_quote!(format!("{}", ctx.id())),
            parse_quote!(vec![(a, ctx)]),
        ];
        for expr in uses {
            assert!(mention(&expr, &ctx).is_some(), "{}", quote!(#expr));
        }
        let others: [Expr; 5] = [
            parse_quote!(a),
            parse_quote!(a.ctx),
            parse_quote!(format!("{}", a.ctx)),
            parse_quote!(list.iter().map(|ctx| ctx.id)),
            parse_quote!(m::ctx),
        ];
        for expr in others {
            assert!(mention(&expr, &ctx).is_none(), "{}", quote!(#expr));
        }
    }

    #[test]
    fn a_key_has_any_number_of_parts() {
        let parts = |value| unique(value).unwrap().len();
        assert_eq!(parts(parse_quote!(())), 0);
        assert_eq!(parts(parse_quote!((a))), 1);
        assert_eq!(parts(parse_quote!(a)), 1);
        assert_eq!(parts(parse_quote!((a,))), 1);
        assert_eq!(parts(parse_quote!((a, &b.c))), 2);
        assert!(unique(parse_quote!(true)).is_err());
    }

    /// Returns the code for a function with these keys, without spaces.
    fn expand(keys: TokenStream, item: TokenStream) -> String {
        crate::expand::background_task(keys, item).to_string().replace(char::is_whitespace, "")
    }

    #[test]
    fn limit_is_evaluated_before_the_parameters_are_moved() {
        for (keys, moved) in [
            (quote!(limit = TENANT.key(&tenant)), "Arg::<()>::new(),tenant,"),
            (quote!(limit = TENANT.key(&tenant), tt = "mp"), "let__args="),
        ] {
            let code = expand(
                keys,
                quote!(
                    fn work(tenant: String) {}
                ),
            );
            let evaluated = code.find("let__limit=TENANT.key(&tenant);").expect(&code);
            assert!(evaluated < code.find(moved).expect(&code), "{code}");
            assert!(code.contains(".limit(__limit)"), "{code}");
        }
        let code = expand(
            quote!(limit = &RATE),
            quote!(
                async fn work(n: u32) {}
            ),
        );
        assert!(code.contains("let__limit=&RATE;"), "{code}");
        let call = quote!(work(tenant), limit = TENANT.key(&tenant));
        let code = crate::background::expand(call).to_string().replace(char::is_whitespace, "");
        let evaluated = code.find("let__limit=TENANT.key(&tenant);").expect(&code);
        assert!(evaluated < code.find(".value(tenant)").expect(&code), "{code}");
        assert!(code.contains(".limit(__limit)"), "{code}");
    }
}
