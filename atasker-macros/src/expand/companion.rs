//! The companion type: the task before its start, and the function as it was.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::Ident;

use super::Plan;

impl Plan {
    pub(super) fn companion(&self) -> TokenStream {
        let Some(name) = self.companion_name() else {
            return quote!();
        };
        let f = &self.f;
        let (docs, everywhere) = (&f.attrs.docs, &f.attrs.everywhere);
        let (vis, ident, generics) = (&f.vis, &f.sig.ident, &f.sig.generics);
        let params = f.launcher_params();
        let (result, channels) = (f.result(), f.channels());
        let where_clause = self.where_clause();
        let turbofish = f.turbofish();
        let builder = if self.failed {
            self.no_builder(&quote!(#name::call #turbofish))
        } else {
            self.builder(&quote!(#name::call #turbofish))
        };
        let call_doc =
            format!("Runs the body of `{ident}` here and now, as the plain function it was.");
        let call = self.body(
            &format_ident!("call"),
            &quote!(#vis),
            &quote!(#[doc = #call_doc] #[allow(dead_code)]),
        );
        let type_doc = format!("The companion of the function `{ident}`: `builder` and `call`.");
        let builder_doc = format!("The task of `{ident}` with its options, not started yet.");
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
                #[allow(dead_code, trivial_bounds, clippy::all)]
                #vis fn builder #generics (#(#params),*)
                    -> ::atasker::TaskBuilder<#result #channels>
                #where_clause
                {
                    #builder
                }

                #call
            }
        }
    }
}
