//! Makes a function callable in another process.
//!
//! The other process finds an entry in the function table, with a shim that decodes the arguments,
//! runs the function and encodes its result. The launcher encodes the arguments. The generated code
//! is one block, so that it can be used as an expression. That of a function on other machines
//! consists of parts, because more than one function needs the entry: see `remote`.

use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;
use syn::Type;
use syn::spanned::Spanned;

use super::{numbered, respan};
use crate::args::Codec;
use crate::crate_path::CratePath;
use crate::hygiene::{error_span, quote};
use crate::item::{Context, elide_lifetimes};
use crate::signature;

/// A function whose types are written out.
pub(crate) struct Entry<'a> {
    pub(crate) krate: &'a CratePath,
    /// See `Options::needs_processes`.
    pub(crate) needs: TokenStream,
    /// An expression of type `&'static str`.
    pub(crate) name: TokenStream,
    pub(crate) codec: Codec,
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
    /// The result of a task on another machine, which must know whether it is an `Err`. The flag
    /// says whether it is written as a `Result`.
    ResultForNode { may_be_err: bool },
}

/// What the entry of a function on other machines has in addition.
pub(crate) struct RemoteEntry<'a> {
    /// The canonical text of the types.
    pub(crate) types: &'a str,
    /// A constant expression of type `u32`.
    pub(crate) version: TokenStream,
}

impl Entry<'_> {
    /// Returns a block that evaluates to a `TaskBuilder`, for a call in a worker process.
    pub(crate) fn expand(&self) -> TokenStream {
        let Entry { krate, needs, name, result, .. } = self;
        let (check, shim, written) = (self.check(), self.shim(), self.written());
        let table = table(krate, name, hash(&self.types()), None);
        let read = self.reader();
        let (given, read) = match self.returns {
            Returns::Result | Returns::ResultForNode { .. } => (quote!(#result), read),
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

    /// Returns an item that checks whether the types can be sent.
    pub(super) fn check(&self) -> TokenStream {
        let context = self.context.iter().flat_map(|context| [&context.receives, &context.sends]);
        let types = self.params.iter().map(|(ty, _)| ty).chain(context);
        super::portable::check(self.krate, &self.result, types)
    }

    /// Returns the decoder of the result.
    pub(super) fn reader(&self) -> TokenStream {
        let (krate, result) = (self.krate, &self.result);
        let at = error_span(result.span());
        let (krate_at, format) = (krate.at(at), respan(self.format(), at));
        let read = quote_spanned! {at=>
            (&&&#krate_at::__private::Arg::<#result>::new()).__atasker_reader::<#format>()
        };
        quote! {
            {
                #[allow(unused_imports)]
                use #krate::__private::{NoResult as _, ResultBlock as _, ResultOwned as _};
                #read
            }
        }
    }

    /// Returns the type of the codec.
    fn format(&self) -> TokenStream {
        self.codec.format(self.krate)
    }

    /// Returns the codecs of the messages. Their types have the spans of the user's tokens.
    pub(super) fn codecs(&self) -> Option<(TokenStream, TokenStream)> {
        let context = self.context?;
        let codec = |ty: &Type| {
            let at = error_span(ty.span());
            let (krate, format) = (self.krate.at(at), respan(self.format(), at));
            quote_spanned! {at=> {
                #[allow(unused_imports)]
                use #krate::__private::{MessageOwned as _, NoMessage as _};
                (&&#krate::__private::Arg::<#ty>::new()).__atasker_codec::<#format>()
            }}
        };
        Some((codec(&context.receives), codec(&context.sends)))
    }

    /// Generates the shim, which runs in the other process.
    pub(super) fn shim(&self) -> TokenStream {
        let Entry { krate, name, body, result, .. } = self;
        let format = &self.format();
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
            Returns::ResultForNode { may_be_err } => {
                let is_err = if may_be_err { self.is_err() } else { quote!(false) };
                let write = quote! {
                    let __is_err = #is_err;
                    #write?;
                    #krate::__private::add_is_err(
                        __is_err,
                        #krate::__private::Call::reply_mut(__call),
                    );
                    ::core::result::Result::Ok(())
                };
                (quote!(__result), write)
            }
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

    /// Returns whether `__result` is an `Err`. Other types than std's may be named `Result`.
    fn is_err(&self) -> TokenStream {
        let krate = self.krate;
        quote!({
            #[allow(unused_imports)]
            use #krate::__private::{IsOther as _, IsResult as _};
            (&#krate::__private::Probe::of_result(&__result))
                .__atasker_is_err()
                .is_some_and(|__is_err| __is_err(&__result))
        })
    }

    /// Generates the encoded arguments, in the launcher.
    pub(super) fn written(&self) -> TokenStream {
        let krate = self.krate;
        let format = &self.format();
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

    /// Returns the canonical text of the types, by whose hash two builds are compared.
    pub(super) fn types(&self) -> String {
        let params = self.params.iter().map(|(ty, _)| ty);
        signature::text(self.codec.name(), self.context, params, &self.result)
    }
}

/// Generates the entry in the function table for `__atasker_shim`.
pub(crate) fn table(
    krate: &CratePath,
    name: &TokenStream,
    signature: u64,
    remote: Option<RemoteEntry<'_>>,
) -> TokenStream {
    let (version, signature, remote) = match remote {
        None => (quote!(), quote!(#signature), quote!(::core::option::Option::None)),
        Some(RemoteEntry { types, version }) => (
            quote!(const __ATASKER_VERSION: ::core::primitive::u32 = #version;),
            quote!(#krate::__private::versioned(#signature, __ATASKER_VERSION)),
            quote! {
                ::core::option::Option::Some(#krate::__private::RemoteFunction {
                    types: #types,
                    version: __ATASKER_VERSION,
                })
            },
        ),
    };
    quote! {
        #version
        #[#krate::__private::linkme::distributed_slice(#krate::__private::FUNCTIONS)]
        #[linkme(crate = #krate::__private::linkme)]
        static __ATASKER_FUNCTION: #krate::__private::Function =
            #krate::__private::Function {
                name: #name,
                file: ::core::file!(),
                line: ::core::line!(),
                column: ::core::column!(),
                signature: #signature,
                remote: #remote,
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
