//! The launcher: the function that replaces the user's, with the same signature except for the
//! context and the result.

use proc_macro2::{TokenStream, TokenTree};
use quote::format_ident;
use syn::{Attribute, Ident, Meta, Signature, parse_quote};

use super::{Plan, unraw};
use crate::args::Companion;
use crate::check;
use crate::hygiene::quote;
use crate::item::{TaskFn, map_meta};

impl Plan {
    /// Returns the name of the companion type, or `None` if there is none.
    pub(super) fn companion_name(&self) -> Option<Ident> {
        if self.f.receiver.is_some()
            || (self.failed && check::is_associated(&self.options, &self.f))
        {
            return None;
        }
        match &self.options.companion {
            Companion::Same => Some(self.f.sig.ident.clone()),
            Companion::Named(name) => Some(name.clone()),
            Companion::None => None,
        }
    }

    pub(super) fn launcher(&self) -> TokenStream {
        let (f, krate) = (&self.f, &self.options.krate);
        let (docs, everywhere, about) = (&f.attrs.docs, &f.attrs.everywhere, &f.attrs.launcher);
        let (vis, ident, generics) = (&f.vis, &f.sig.ident, &f.sig.generics);
        let params = f.launcher_params();
        let receiver = f.receiver.as_ref().map(|receiver| {
            // `mut self` applies to the body only.
            let mut receiver = receiver.clone();
            if receiver.reference.is_none() {
                receiver.mutability = None;
            }
            quote!(#receiver,)
        });
        let (result, channels) = (f.result(), f.channels());
        let where_clause = self.where_clause();
        let (body, helper) = self.launcher_body();
        quote! {
            #(#docs)* #(#everywhere)* #(#about)*
            #[allow(dead_code, trivial_bounds, clippy::all)]
            #vis fn #ident #generics (#receiver #(#params),*) -> #krate::Task<#result #channels>
            #where_clause
            {
                #body
            }
            #helper
        }
    }

    /// Returns the body of the launcher, and the items that it needs beside it.
    fn launcher_body(&self) -> (TokenStream, TokenStream) {
        let f = &self.f;
        let names: Vec<&Ident> = f.params.iter().map(|param| &param.name).collect();
        let turbofish = f.turbofish();
        if self.failed && !self.opaque_result() {
            return (self.never(), quote!());
        }
        if let Some(companion) = self.companion_name() {
            return (quote!(#companion::builder #turbofish (#(#names),*).start()), quote!());
        }
        if self.failed {
            // Only a body that compiles could determine the result type.
            return (self.never(), quote!());
        }
        if f.receiver.is_some() {
            // The body of a method moves to a hidden method, because only methods can use `Self`.
            let hidden = format_ident!("__atasker_{}", f.sig.ident);
            let builder = self.builder(&quote!(Self::#hidden #turbofish));
            let body = self.body(&hidden, &quote!(), &quote!(#[doc(hidden)]));
            (quote!({ #builder }.start()), body)
        } else {
            let ident = &f.sig.ident;
            let holder = super::holder(&self.body(ident, &quote!(), &quote!()));
            let builder = self.builder(&quote!(__AtaskerBody::#ident #turbofish));
            (quote!(#holder { #builder }.start()), quote!())
        }
    }

    /// Returns the original function, with another name.
    pub(super) fn body(&self, name: &Ident, vis: &TokenStream, extra: &TokenStream) -> TokenStream {
        let mut sig = self.f.sig.clone();
        if self.failed {
            // These errors are already reported.
            sig.variadic = None;
            sig.constness = None;
        }
        body(&self.f, sig, name, vis, extra)
    }

    /// Returns whether the result type is one that only the compiler can name.
    fn opaque_result(&self) -> bool {
        crate::item::impl_trait(&self.f.result()).is_some()
    }

    /// Returns an expression of any type, for code that doesn't compile anyway.
    fn never(&self) -> TokenStream {
        let krate = &self.options.krate;
        let names = self.f.params.iter().map(|param| &param.name);
        quote!({ let _ = (#(#names,)*); #krate::__private::never() })
    }

    /// Returns the same for a builder. `body` is the path of the original function.
    pub(super) fn no_builder(&self, body: &TokenStream) -> TokenStream {
        if !self.opaque_result() {
            return self.never();
        }
        let krate = &self.options.krate;
        let names = self.f.params.iter().map(|param| &param.name);
        let context = self.f.context.as_ref().map(|context| {
            let (receives, sends) = (&context.receives, &context.sends);
            let reference = context.by_ref.then(|| quote!(&));
            quote! {
                #reference #krate::__private::never::<#krate::TaskContext<#receives, #sends>>(),
            }
        });
        let never = match self.f.sig.asyncness {
            Some(_) => quote!(never_of_future),
            None => quote!(never_of),
        };
        quote!(#krate::__private::#never(move || #body(#context #(#names),*)))
    }

    /// Returns the bounds of the function, with `Send` bounds for its messages unless these are
    /// generic. A missing `Send` is then reported at the written type instead of inside generated
    /// code. That of the result is checked in the builder.
    pub(super) fn where_clause(&self) -> TokenStream {
        let f = &self.f;
        let messages = f.context.iter().filter(|_| !self.failed);
        let messages = messages.flat_map(|context| [&context.receives, &context.sends]);
        let bounds = messages.filter(|ty| !f.is_generic(ty)).map(|ty| {
            let span = syn::spanned::Spanned::span(ty);
            let ty = crate::item::elide_lifetimes(ty);
            quote::quote_spanned!(span=> #ty: ::core::marker::Send + 'static,)
        });
        let own = f.sig.generics.where_clause.as_ref().map(|clause| {
            let predicates = clause.predicates.iter();
            quote!(#(#predicates,)*)
        });
        quote!(where #own #(#bounds)*)
    }
}

/// Returns the original function, with another name and signature.
pub(crate) fn body(
    f: &TaskFn,
    mut sig: Signature,
    name: &Ident,
    vis: &TokenStream,
    extra: &TokenStream,
) -> TokenStream {
    let (everywhere, block) = (&f.attrs.everywhere, &f.block);
    let attrs = f.attrs.body.iter().filter(|attr| !crate::check::is_own_attribute(attr));
    let attrs = attrs.map(|attr| match *name == f.sig.ident {
        true => attr.clone(),
        false => named_span(attr, &f.sig.ident),
    });
    sig.ident = name.clone();
    sig.ident.set_span(f.sig.ident.span());
    quote!(#extra #(#everywhere)* #(#attrs)* #vis #sig #block)
}

/// Adds the original name to tracing's `#[instrument]`, unless it has one. `#[instrument]` uses the
/// name of the function below it, and the body of a method can't keep its name beside the launcher.
fn named_span(attr: &Attribute, ident: &Ident) -> Attribute {
    let name = unraw(ident);
    map_meta(attr, |meta| {
        let path = meta.path();
        if path.segments.last()?.ident != "instrument" {
            return None;
        }
        let has_name = |tokens: &TokenStream| {
            tokens.clone().into_iter().enumerate().any(|(i, token)| {
                matches!(&token, TokenTree::Ident(ident) if ident == "name")
                    || (i == 0 && matches!(token, TokenTree::Literal(_)))
            })
        };
        match meta {
            Meta::Path(_) => Some(parse_quote!(#path(name = #name))),
            Meta::List(list) if !has_name(&list.tokens) => {
                let tokens = &list.tokens;
                Some(parse_quote!(#path(name = #name, #tokens)))
            }
            _ => None,
        }
    })
}
