//! A function on other machines.
//!
//! Its entry in the function table is needed by the builder, and by `attach`, which finds a call that
//! was launched elsewhere. So there is a function that returns it:
//!
//! ```text
//! impl f {
//!     fn __atasker_function() -> &'static Function { SHIM; TABLE; &__ATASKER_FUNCTION }
//!     fn builder(args) -> TaskBuilder<R> { .. Self::__atasker_function() .. }
//!     fn attach(cluster: &Cluster, id: TaskId) -> Result<Task<R>, ClusterError> { .. }
//! }
//! ```
//!
//! Without a companion type, it is in the launcher, and there is no `attach`.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::Ident;

use super::entry::{RemoteEntry, hash, table};
use super::{Plan, unraw};
use crate::args::Place;
use crate::hygiene::quote;

impl Plan {
    /// Returns a block that evaluates to a `TaskBuilder`.
    pub(super) fn remote(&self, body: &TokenStream) -> TokenStream {
        let (krate, entry) = (&self.options.krate, self.entry(body));
        let (local, function) = match self.companion_name() {
            Some(name) => (quote!(), quote!(#name::__atasker_function())),
            None => (self.remote_function(body), quote!(__atasker_function())),
        };
        let (check, written, read) = (entry.check(), entry.written(), entry.reader());
        let result = &entry.result;
        let arg = quote!((&&#krate::__private::Arg::<#result>::new()));
        let made = match entry.codecs() {
            None => quote!(#arg.__atasker_remote_call(#function, __args, #read)),
            Some((incoming, outgoing)) => quote! {
                #arg.__atasker_remote_call_with_context(
                    #function, __args, #read, #incoming, #outgoing,
                )
            },
        };
        quote!({
            #check
            #local
            let __args = #written;
            #[allow(unused_imports)]
            use #krate::__private::{RemoteNotSend as _, RemoteSend as _};
            #made
        })
    }

    /// Generates the function that returns the entry in the function table.
    fn remote_function(&self, body: &TokenStream) -> TokenStream {
        let (krate, entry) = (&self.options.krate, self.entry(body));
        let (shim, types) = (entry.shim(), entry.types());
        let remote = RemoteEntry { types: &types, version: self.options.remote.version() };
        let table = table(krate, &entry.name, hash(&types), Some(remote));
        quote! {
            fn __atasker_function() -> &'static #krate::__private::Function {
                #shim
                #table
                &__ATASKER_FUNCTION
            }
        }
    }

    /// Returns the associated functions of the companion type that only a remote function has. `body`
    /// is the path of the original function.
    pub(super) fn remote_items(&self, companion: &Ident, body: &TokenStream) -> TokenStream {
        // Without the feature, which is an error, there is no `Cluster`.
        if self.place != Place::Remote || !cfg!(feature = "remote") {
            return quote!();
        }
        let (f, krate) = (&self.f, &self.options.krate);
        let (vis, everywhere, ident) = (&f.vis, &f.attrs.everywhere, &f.sig.ident);
        let (result, channels) = (f.result(), f.channels());
        let (function, attached) = if self.failed {
            (quote!(), quote!({ let _ = (cluster, id); #krate::__private::never() }))
        } else {
            (self.remote_function(body), self.attached(companion))
        };
        let doc = format!(
            "Returns a handle of a call of `{ident}` with this id, which any program of the cluster \
             may have launched."
        );
        quote! {
            #(#everywhere)*
            #function

            #[doc = #doc]
            #(#everywhere)*
            #[allow(dead_code, clippy::all, clippy::pedantic)]
            #vis fn attach(cluster: &#krate::Cluster, id: #krate::TaskId)
                -> ::core::result::Result<#krate::Task<#result #channels>, #krate::ClusterError>
            {
                #attached
            }
        }
    }

    /// Returns the body of `attach`.
    fn attached(&self, companion: &Ident) -> TokenStream {
        let krate = &self.options.krate;
        // The path of the body doesn't matter here.
        let entry = self.entry(&companion.to_token_stream());
        let (result, read) = (&entry.result, entry.reader());
        let arg = quote!((&&#krate::__private::Arg::<#result>::new()));
        let function = quote!(#companion::__atasker_function());
        let made = match entry.codecs() {
            None => quote!(#arg.__atasker_attach(cluster, id, #function, #read)),
            Some((incoming, outgoing)) => quote! {
                #arg.__atasker_attach_with_context(
                    cluster, id, #function, #read, #incoming, #outgoing,
                )
            },
        };
        quote! {
            #[allow(unused_imports)]
            use #krate::__private::{RemoteNotSend as _, RemoteSend as _};
            #made
        }
    }

    /// Returns whether the companion type has an associated function of that name besides the body.
    pub(super) fn is_taken(&self, ident: &Ident) -> bool {
        let name = unraw(ident);
        name == "builder" || (name == "attach" && self.place == Place::Remote)
    }
}
