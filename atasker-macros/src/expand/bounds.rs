//! The checks that values can pass between threads (`Send`) and from run to run (`Clone`).
//!
//! See `macro_support::bounds`. A check stands in the function that passes the value, and its error is
//! at the same tokens as that of the call that requires the trait, so that only the first is shown.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident};
use syn::{Type, TypeParamBound};

use super::plain::is_plain;
use super::portable::{ends_with, types_in};
use crate::crate_path::CratePath;
use crate::hygiene::quote;
use crate::item::{Param, TaskFn, bare, impl_trait};

/// Where an expression begins and ends, for errors about it.
#[derive(Clone, Copy)]
pub(crate) struct At {
    first: Span,
    last: Span,
}

impl At {
    /// Returns the place of a single token.
    pub(crate) fn token(span: Span) -> At {
        At { first: span, last: span }
    }

    /// Returns the place of all of the tokens.
    pub(crate) fn all_of(tokens: &impl ToTokens) -> At {
        let tokens: Vec<TokenTree> = tokens.to_token_stream().into_iter().collect();
        match (tokens.first(), tokens.last()) {
            (Some(first), Some(last)) => At { first: first.span(), last: last.span() },
            _ => At::token(Span::mixed_site()),
        }
    }

    /// Returns the call `__atasker_unless(arguments)`, which begins and ends here.
    ///
    /// The spans are the user's, so that the error does not mention the macro.
    pub(crate) fn call(self, arguments: TokenStream) -> TokenStream {
        let function = Ident::new("__atasker_unless", self.first);
        let mut arguments = Group::new(Delimiter::Parenthesis, arguments);
        arguments.set_span(self.last);
        quote!(#function #arguments)
    }

    /// Returns an expression of the type `Arg<ty>`, which begins and ends here.
    pub(crate) fn arg(self, krate: &CratePath, ty: &impl ToTokens) -> TokenStream {
        self.call(quote!(#krate::__private::Fails, #krate::__private::Arg::<#ty>::new()))
    }
}

/// Returns the place for errors about a parameter that is not `Send`: the part of its type that is
/// known not to be, or the type.
pub(crate) fn param_at(param: &Param) -> Span {
    let at = match not_send(&param.ty) {
        Some((part, _)) => At::all_of(part).first,
        None => param.span(),
    };
    // As the name of the argument, which is the expression that fails in the call.
    param.name.span().located_at(at)
}

/// Returns the place for errors about a type that is not `Send`: the part that is known not to be, or
/// all of it.
pub(crate) fn type_at(ty: &Type) -> At {
    At::all_of(not_send(ty).map_or(ty, |(part, _)| part))
}

/// Returns statements with checks, which never run, and what these and [`At::call`] use.
pub(crate) fn statement(krate: &CratePath, checks: &[TokenStream]) -> TokenStream {
    quote! {
        #[allow(unused_imports)]
        use #krate::__private::{unless as __atasker_unless, IsSend as _, NotSend as _};
        let _ = || { #(#checks)* };
    }
}

/// Returns the check that a type is `Send`.
pub(crate) fn send(krate: &CratePath, ty: &Type, at: At) -> Option<TokenStream> {
    send_if(krate, &quote!(#krate::__private::Holds), ty, at)
}

/// Returns the check that a type is `Send` if a fact holds.
pub(crate) fn send_if(
    krate: &CratePath,
    fact: &TokenStream,
    ty: &Type,
    at: At,
) -> Option<TokenStream> {
    if !is_checked(ty) {
        return None;
    }
    let whole = quote!(#krate::__private::Arg::<#ty>::new());
    Some(match not_send(ty) {
        Some((part, by)) => {
            let by = format_ident!("{by}", span = Span::mixed_site());
            let checked = at.call(quote! {
                #fact.not().or((&&#whole).__atasker_send()), #krate::__private::Arg::<#part>::new()
            });
            quote!(#krate::__private::#by::__check(#checked);)
        }
        None => {
            let checked = at.call(quote!(#fact.not(), #whole));
            quote!(#krate::__private::sendable(#checked);)
        }
    })
}

/// Returns the check that the type of a parameter is `Clone`: by a trait, or in the words of the
/// compiler if it knows better, because it can suggest a bound for a generic parameter.
pub(crate) fn clone(
    krate: &CratePath,
    by: &str,
    f: &TaskFn,
    ty: &Type,
    at: At,
) -> Option<TokenStream> {
    if !is_checked(ty) {
        return None;
    }
    let arg = at.arg(krate, ty);
    if f.is_generic(ty) {
        return Some(quote!(#krate::__private::cloneable(#arg);));
    }
    let by = format_ident!("{by}", span = Span::mixed_site());
    Some(quote!(#krate::__private::#by::__check(#arg);))
}

/// Returns whether a type is checked. An `impl Trait` can't be named.
pub(crate) fn is_checked(ty: &Type) -> bool {
    impl_trait(ty).is_none() && !is_plain(ty)
}

/// Returns the part of a type that is likely not `Send`, and the check with the words about it.
fn not_send(ty: &Type) -> Option<(&Type, &'static str)> {
    let ty = bare(ty);
    let object = types_in(ty).into_iter().find(|ty| matches!(bare(ty), Type::TraitObject(_)));
    let name = match ty {
        Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
        _ => None,
    };
    match name.as_deref() {
        Some("Rc") => return Some((ty, "SendableRc")),
        Some("MutexGuard" | "RwLockReadGuard" | "RwLockWriteGuard") => {
            return Some((ty, "SendableGuard"));
        }
        _ => {}
    }
    match object {
        Some(object) if is_send(object) => None,
        Some(object) if ends_with(object, "Error") => Some((ty, "SendableError")),
        Some(_) => Some((ty, "SendableDyn")),
        None => types_in(ty).into_iter().find_map(not_send),
    }
}

/// Returns whether a trait object is `Send` as it is written.
fn is_send(object: &Type) -> bool {
    let Type::TraitObject(object) = bare(object) else { return false };
    object.bounds.iter().any(|bound| match bound {
        TypeParamBound::Trait(bound) => {
            bound.path.segments.last().is_some_and(|last| last.ident == "Send")
        }
        _ => false,
    })
}
