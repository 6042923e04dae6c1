//! The companion type: the builder of the task, and the original function.
//!
//! The body remains a function of the original name, as an associated function of the companion.
//! Attributes below ours (`#[instrument]`), backtraces and `type_name` therefore use that name. A
//! plain `f(..)` in the body still refers to the launcher, because associated functions are not in
//! scope.

use proc_macro2::TokenStream;
use quote::format_ident;
use syn::{Attribute, Ident};

use super::{Plan, unraw};
use crate::hygiene::quote;
use crate::item::effective_path;

impl Plan {
    pub(super) fn companion(&self) -> TokenStream {
        let Some(name) = self.companion_name() else {
            return quote!();
        };
        let (f, krate) = (&self.f, &self.options.krate);
        let (docs, everywhere) = (&f.attrs.docs, &f.attrs.everywhere);
        let (vis, ident, generics) = (&f.vis, &f.sig.ident, &f.sig.generics);
        let params = f.launcher_params();
        let (result, channels) = (f.result(), f.channels());
        let where_clause = self.where_clause();
        let turbofish = f.turbofish();
        let (call, body) = self.call(&name);
        let builder = if self.failed {
            self.no_builder(&quote!(#name::call #turbofish))
        } else {
            self.builder(&quote!(#name::#body #turbofish))
        };
        let remote = self.remote_items(&name, &quote!(#name::#body #turbofish));
        let type_doc = format!("The companion type of the function `{ident}`.");
        let builder_doc = format!("Returns a builder for a task that runs `{ident}`.");
        let never = Ident::new("__never", ident.span());
        quote! {
            #(#docs)*
            #[doc = ""]
            #[doc = #type_doc]
            #(#everywhere)*
            #[allow(non_camel_case_types, dead_code, missing_debug_implementations)]
            #vis struct #name { #never: ::core::convert::Infallible }

            #(#everywhere)*
            impl #name {
                #[doc = #builder_doc]
                #(#everywhere)*
                #[allow(dead_code, trivial_bounds, clippy::all, clippy::pedantic)]
                #vis fn builder #generics (#(#params),*)
                    -> #krate::TaskBuilder<#result #channels>
                #where_clause
                {
                    #builder
                }

                #remote

                #call
            }
        }
    }

    /// Returns the function `call`, with the body, and the name of the associated function that a
    /// task runs.
    fn call(&self, name: &Ident) -> (TokenStream, Ident) {
        let ident = &self.f.sig.ident;
        let (vis, call) = (&self.f.vis, format_ident!("call"));
        let doc = format!("Runs the body of `{ident}` on the calling thread.");
        // After an error, `call` is the body itself, because forwarding could repeat the error.
        if self.failed || unraw(ident) == "call" {
            let attrs = quote!(#[doc = #doc] #[allow(dead_code)]);
            return (self.body(&call, &quote!(#vis), &attrs), call);
        }
        let own_name = |vis| self.body(ident, &vis, &quote!(#[allow(dead_code)]));
        if self.is_taken(ident) {
            let holder = holder(&own_name(quote!()));
            return (self.forward(&doc, &holder, &quote!(__AtaskerBody)), call);
        }
        let call = self.forward(&doc, &quote!(), &quote!(#name));
        let body = own_name(quote!());
        (quote!(#call #body), ident.clone())
    }

    /// Generates `call`, which forwards its arguments to the body, an associated function of `to`.
    fn forward(&self, doc: &str, before: &TokenStream, to: &TokenStream) -> TokenStream {
        let f = &self.f;
        let (vis, everywhere, sig) = (&f.vis, &f.attrs.everywhere, &f.sig);
        let (ident, generics, output) = (&sig.ident, &sig.generics, &sig.output);
        let (asyncness, where_clause) = (&sig.asyncness, &generics.where_clause);
        let context = f.context_type().map(|ty| quote!(__context: #ty,));
        let given = f.context_type().map(|_| quote!(__context,));
        let params = f.launcher_params();
        let names = f.params.iter().map(|param| &param.name);
        let turbofish = f.turbofish();
        let wait = asyncness.map(|_| quote!(.await));
        let attrs = f.attrs.body.iter().filter(|attr| is_about_calls(attr));
        quote! {
            #[doc = #doc]
            #(#everywhere)*
            #(#attrs)*
            #[allow(dead_code, clippy::all, clippy::pedantic)]
            #vis #asyncness fn call #generics (#context #(#params),*) #output #where_clause {
                #before
                #to::#ident #turbofish (#given #(#names),*) #wait
            }
        }
    }
}

/// Returns whether an attribute applies to callers.
fn is_about_calls(attr: &Attribute) -> bool {
    ["must_use", "track_caller", "inline", "cold"]
        .iter()
        .any(|name| effective_path(attr).is_ident(name))
}

/// Generates a type with the function as an associated one, so that the function can have the same
/// name as the launcher.
pub(crate) fn holder(body: &TokenStream) -> TokenStream {
    quote! {
        #[allow(dead_code)]
        enum __AtaskerBody {}
        impl __AtaskerBody { #body }
    }
}
