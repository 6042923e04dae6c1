//! Makes a function callable in a worker process.
//!
//! The worker process finds an entry in the function table, with a shim that decodes the arguments,
//! runs the function and encodes its result. The launcher encodes the arguments. The generated code
//! is one block, so that it can be used as an expression.

use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;
use syn::Type;
use syn::spanned::Spanned;

use super::{numbered, respan};
use crate::crate_path::CratePath;
use crate::hygiene::{error_span, quote};
use crate::item::{Context, elide_lifetimes};

/// A function whose types are written out.
pub(crate) struct Entry<'a> {
    pub(crate) krate: &'a CratePath,
    /// See `Options::needs_processes`.
    pub(crate) needs: TokenStream,
    /// An expression of type `&'static str`.
    pub(crate) name: TokenStream,
    /// The type of the codec.
    pub(crate) format: TokenStream,
    /// The path of the original function.
    pub(crate) body: TokenStream,
    pub(crate) is_async: bool,
    pub(crate) context: Option<&'a Context>,
    /// The type of each parameter, with the span for errors about it.
    pub(crate) params: Vec<(Type, Span)>,
    pub(crate) result: Type,
    pub(crate) returns: Returns,
    /// The expressions of the arguments in the launcher.
    pub(crate) values: Vec<TokenStream>,
}

/// What the function of an entry returns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Returns {
    /// The result of the task.
    Result,
    /// `(result, bool)`, for a run of a background worker. The flag says whether the run requested
    /// another one.
    RunResult,
}

impl Entry<'_> {
    /// Returns a block that evaluates to a `TaskBuilder`.
    pub(crate) fn expand(&self) -> TokenStream {
        let Entry { krate, needs, name, format, result, .. } = self;
        let shim = self.shim();
        let signature = self.signature();
        let table = table(krate, name, signature);
        let written = self.written();
        let at = error_span(result.span());
        let (krate_at, format_at) = (krate.at(at), respan(format.clone(), at));
        let read = quote_spanned! {at=>
            (&&&#krate_at::__private::Arg::<#result>::new()).__atasker_reader::<#format_at>()
        };
        let read = quote! {
            {
                #[allow(unused_imports)]
                use #krate::__private::{NoResult as _, ResultBlock as _, ResultOwned as _};
                #read
            }
        };
        let (given, read) = match self.returns {
            Returns::Result => (quote!(#result), read),
            Returns::RunResult => (
                quote!((#result, ::core::primitive::bool)),
                quote! {
                    |__bytes| {
                        let (__bytes, __again) = #krate::__private::split_run(__bytes)?;
                        ::core::result::Result::Ok((#read(__bytes)?, __again))
                    }
                },
            ),
        };
        let arg = quote!((&&#krate::__private::Arg::<#given>::new()));
        let made = match self.codecs() {
            None => quote!(#arg.__atasker_remote(&__ATASKER_FUNCTION, __args, #read)),
            Some((incoming, outgoing)) => quote! {
                #arg.__atasker_remote_with_context(
                    &__ATASKER_FUNCTION, __args, #read, #incoming, #outgoing,
                )
            },
        };
        let context = self.context.iter().flat_map(|context| [&context.receives, &context.sends]);
        let types = self.params.iter().map(|(ty, _)| ty).chain(context);
        let check = super::portable::check(krate, result, types);
        quote!({
            #needs
            #check
            #shim
            #table
            let __args = #written;
            #[allow(unused_imports)]
            use #krate::__private::{RemoteNotSend as _, RemoteSend as _};
            #made
        })
    }

    /// Returns the codecs of the messages. Their types have the spans of the user's tokens.
    fn codecs(&self) -> Option<(TokenStream, TokenStream)> {
        let context = self.context?;
        let codec = |ty: &Type| {
            let at = error_span(ty.span());
            let (krate, format) = (self.krate.at(at), respan(self.format.clone(), at));
            quote_spanned! {at=> {
                #[allow(unused_imports)]
                use #krate::__private::{MessageOwned as _, NoMessage as _};
                (&&#krate::__private::Arg::<#ty>::new()).__atasker_codec::<#format>()
            }}
        };
        Some((codec(&context.receives), codec(&context.sends)))
    }

    /// Generates the shim, which runs in the worker process.
    fn shim(&self) -> TokenStream {
        let Entry { krate, name, format, body, result, .. } = self;
        let holders = numbered("holder", self.params.len());
        let reads = holders.iter().zip(&self.params).map(|(holder, (ty, span))| {
            let (krate, ty) = (krate.at(*span), elide_lifetimes(ty));
            quote_spanned! {*span=>
                let #holder =
                    (&&&&&#krate::__private::Arg::<#ty>::new()).__atasker_read(&mut __input)?;
            }
        });
        let context = self.codecs().map(|(incoming, outgoing)| {
            quote!(let __context = #krate::__private::context(__call, #incoming, #outgoing);)
        });
        let given = self
            .context
            .map(|context| if context.by_ref { quote!(&__context,) } else { quote!(__context,) });
        let call = quote!(#body(#given #(#holders.__atasker_lend()),*));
        let call = if self.is_async { quote!(#krate::__private::block_on(#call)?) } else { call };
        let at = error_span(result.span());
        let (krate_at, format_at) = (krate.at(at), respan(format.clone(), at));
        let write = quote_spanned! {at=>
            (&&&#krate_at::__private::Arg::<#result>::new()).__atasker_write_result::<#format_at>(
                __result,
                #krate_at::__private::Call::reply_mut(__call),
            )
        };
        let (pattern, write) = match self.returns {
            Returns::Result => (quote!(__result), write),
            Returns::RunResult => (
                quote!((__result, __again)),
                quote! {
                    #write?;
                    #krate::__private::add_run(
                        __again,
                        #krate::__private::Call::reply_mut(__call),
                    );
                    ::core::result::Result::Ok(())
                },
            ),
        };
        quote! {
            #[allow(clippy::all)]
            fn __atasker_shim(
                __call: &mut #krate::__private::Call<'_>,
            ) -> ::core::result::Result<(), #krate::TaskError> {
                #[allow(unused_imports)]
                use #krate::__private::{
                    NoRead as _, NoResult as _, ReadBlock as _, ReadOwned as _, ReadRef as _,
                    ReadSlice as _, ResultBlock as _, ResultOwned as _,
                };
                #[allow(unused_mut)]
                let mut __input =
                    #krate::__private::Input::<'_, #format>::arguments(
                        #krate::__private::Call::args(__call),
                    );
                #(#reads)*
                __input.end(#name)?;
                #context
                #[allow(clippy::let_unit_value)]
                let #pattern = #call;
                #write
            }
        }
    }

    /// Generates the encoded arguments, in the launcher.
    fn written(&self) -> TokenStream {
        let Entry { krate, format, .. } = self;
        let writes = self.values.iter().zip(&self.params).map(|(value, (ty, span))| {
            let (krate, ty) = (krate.at(*span), elide_lifetimes(ty));
            let value = respan(value.clone(), *span);
            quote_spanned! {*span=>
                (&&&&#krate::__private::Arg::<#ty>::new())
                    .__atasker_write(&#value, &mut __output)?;
            }
        });
        quote! {
            (|| -> ::core::result::Result<#krate::__private::Payload, #krate::TaskError> {
                #[allow(unused_imports)]
                use #krate::__private::{
                    NoWrite as _, WriteBlock as _, WriteOwned as _, WriteRef as _,
                };
                #[allow(unused_mut)]
                let mut __output = #krate::__private::Output::<#format>::new();
                #(#writes)*
                ::core::result::Result::Ok(__output.into_payload())
            })()
        }
    }

    /// Returns a hash of the text of the types, which allows two builds to be compared.
    fn signature(&self) -> u64 {
        let params = self.params.iter().map(|(ty, _)| ty);
        let result = &self.result;
        let context = self.context.map(|context| {
            let (receives, sends) = (&context.receives, &context.sends);
            quote!(<#receives, #sends>)
        });
        let format = &self.format;
        hash(&quote!(#format #context (#(#params),*) -> #result).to_string())
    }
}

/// Generates the entry in the function table for `__atasker_shim`.
pub(crate) fn table(krate: &CratePath, name: &TokenStream, signature: u64) -> TokenStream {
    quote! {
        #[#krate::__private::linkme::distributed_slice(#krate::__private::FUNCTIONS)]
        #[linkme(crate = #krate::__private::linkme)]
        static __ATASKER_FUNCTION: #krate::__private::Function =
            #krate::__private::Function {
                name: #name,
                file: ::core::file!(),
                line: ::core::line!(),
                column: ::core::column!(),
                signature: #signature,
                call: __atasker_shim,
            };
    }
}

/// Returns the FNV-1a hash, which is the same in every build.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
