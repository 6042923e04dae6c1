//! The launcher: the function that stands where the user's stood, with the same signature except
//! for the context and the result.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Ident, Signature};

use super::Plan;
use crate::args::Companion;
use crate::item::TaskFn;

impl Plan {
    /// The name of the companion type; `None` if there is none.
    pub(super) fn companion_name(&self) -> Option<Ident> {
        if self.f.receiver.is_some() || (self.failed && self.f.names_self_type()) {
            return None;
        }
        match &self.options.companion {
            Companion::Same => Some(self.f.sig.ident.clone()),
            Companion::Named(name) => Some(name.clone()),
            Companion::None => None,
        }
    }

    pub(super) fn launcher(&self) -> TokenStream {
        let f = &self.f;
        let (docs, everywhere, about) = (&f.attrs.docs, &f.attrs.everywhere, &f.attrs.launcher);
        let (vis, ident, generics) = (&f.vis, &f.sig.ident, &f.sig.generics);
        let params = f.launcher_params();
        let receiver = f.receiver.as_ref().map(|receiver| {
            // `mut self` is the body's affair.
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
            #vis fn #ident #generics (#receiver #(#params),*) -> ::atasker::Task<#result #channels>
            #where_clause
            {
                #body
            }
            #helper
        }
    }

    /// The launcher's body, and what must stand beside it.
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
            // Its result is something that only a body that compiles could tell.
            return (self.never(), quote!());
        }
        if f.receiver.is_some() {
            // A method's body goes into a method beside it, for nothing else knows `Self`.
            let hidden = format_ident!("__atasker_{}", f.sig.ident);
            let builder = self.builder(&quote!(Self::#hidden #turbofish));
            let body = self.body(&hidden, &quote!(), &quote!(#[doc(hidden)]));
            (quote!({ #builder }.start()), body)
        } else {
            let hidden = format_ident!("__atasker_body");
            let body = self.body(&hidden, &quote!(), &quote!());
            let builder = self.builder(&quote!(#hidden #turbofish));
            (quote!(#body { #builder }.start()), quote!())
        }
    }

    /// The function as it was written, under another name.
    pub(super) fn body(&self, name: &Ident, vis: &TokenStream, extra: &TokenStream) -> TokenStream {
        let mut sig = self.f.sig.clone();
        if self.failed {
            // The mistake was reported; it must not be reported again.
            sig.variadic = None;
            sig.constness = None;
        }
        body(&self.f, sig, name, vis, extra)
    }

    /// The result's type is one that only the compiler can name.
    fn opaque_result(&self) -> bool {
        crate::item::impl_trait(&self.f.result()).is_some()
    }

    /// In place of what would be returned, if this compiled.
    fn never(&self) -> TokenStream {
        let names = self.f.params.iter().map(|param| &param.name);
        quote!({ let _ = (#(#names,)*); ::atasker::__private::never() })
    }

    /// The same for a builder: `body` names the function as it was.
    pub(super) fn no_builder(&self, body: &TokenStream) -> TokenStream {
        if !self.opaque_result() {
            return self.never();
        }
        let names = self.f.params.iter().map(|param| &param.name);
        let context = self.f.context.as_ref().map(|context| {
            let (receives, sends) = (&context.receives, &context.sends);
            let reference = context.by_ref.then(|| quote!(&));
            quote! {
                #reference ::atasker::__private::never::<::atasker::TaskContext<#receives, #sends>>(),
            }
        });
        let never = match self.f.sig.asyncness {
            Some(_) => quote!(never_of_future),
            None => quote!(never_of),
        };
        quote!(::atasker::__private::#never(move || #body(#context #(#names),*)))
    }

    /// The function's own bounds; and that its result and its messages can be sent, unless they are
    /// generic: one that can't be is reported where it is written, and not in the midst of what was
    /// generated.
    pub(super) fn where_clause(&self) -> TokenStream {
        let f = &self.f;
        let mut bounds = Vec::new();
        if !self.failed {
            let result = f.result();
            let span = syn::spanned::Spanned::span(&result);
            bounds.push((result, span));
            if let Some(context) = &f.context {
                for ty in [&context.receives, &context.sends] {
                    bounds.push((ty.clone(), syn::spanned::Spanned::span(ty)));
                }
            }
        }
        let bounds = bounds.into_iter().filter(|(ty, _)| !f.is_generic(ty)).map(|(ty, span)| {
            let ty = crate::item::elide_lifetimes(&ty);
            quote::quote_spanned!(span=> #ty: ::core::marker::Send + 'static,)
        });
        let own = f.sig.generics.where_clause.as_ref().map(|clause| {
            let predicates = clause.predicates.iter();
            quote!(#(#predicates,)*)
        });
        quote!(where #own #(#bounds)*)
    }
}

/// The function as it was written, under another name, with that signature.
pub(crate) fn body(
    f: &TaskFn,
    mut sig: Signature,
    name: &Ident,
    vis: &TokenStream,
    extra: &TokenStream,
) -> TokenStream {
    let (everywhere, block) = (&f.attrs.everywhere, &f.block);
    let attrs = f.attrs.body.iter().filter(|attr| !crate::check::is_ours(attr));
    sig.ident = Ident::new(&name.to_string(), f.sig.ident.span());
    quote!(#extra #(#everywhere)* #(#attrs)* #vis #sig #block)
}
