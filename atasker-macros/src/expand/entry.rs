//! What makes a function callable in a worker process: an entry in the table of functions, with a
//! shim that reads the arguments, runs the function and writes its result; and at the launcher's
//! side, the same arguments written.
//!
//! All of it stands in one block, so it can be an expression, also inside a function's body.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::Type;
use syn::spanned::Spanned;

use crate::item::{Context, elide_lifetimes};

/// A function whose types are written.
pub(crate) struct Entry<'a> {
    /// An expression of type `&'static str`.
    pub(crate) name: TokenStream,
    /// The type that reads and writes values.
    pub(crate) format: TokenStream,
    /// The path of the function as it was.
    pub(crate) body: TokenStream,
    pub(crate) is_async: bool,
    pub(crate) context: Option<&'a Context>,
    /// Each with the place where an error about it should point.
    pub(crate) params: Vec<(Type, Span)>,
    pub(crate) result: Type,
    /// It gives `(result, bool)`, a run of a background worker: whether it has asked for another.
    pub(crate) run: bool,
    /// The variables that hold the arguments at the launcher's side.
    pub(crate) values: Vec<TokenStream>,
}

impl Entry<'_> {
    /// A block that gives a `TaskBuilder`.
    pub(crate) fn expand(&self) -> TokenStream {
        let Entry { name, format, result, .. } = self;
        let shim = self.shim();
        let signature = self.signature();
        let table = table(name, signature);
        let written = self.written();
        let at = result.span().resolved_at(Span::call_site());
        let read = quote_spanned! {at=>
            (&&::atasker::__private::Arg::<#result>::new()).reader::<#format>()
        };
        let read = quote! {
            {
                #[allow(unused_imports)]
                use ::atasker::__private::{ResultBlock as _, ResultOwned as _};
                #read
            }
        };
        let (given, read) = match self.run {
            false => (quote!(#result), read),
            true => (
                quote!((#result, ::core::primitive::bool)),
                quote! {
                    |__bytes| {
                        let (__bytes, __again) = ::atasker::__private::split_run(__bytes)?;
                        ::core::result::Result::Ok((#read(__bytes)?, __again))
                    }
                },
            ),
        };
        let made = match self.ports() {
            None => quote! {
                ::atasker::TaskBuilder::<#given>::__remote(&__ATASKER_FUNCTION, __args, #read)
            },
            Some((inbox, outbox)) => quote! {
                ::atasker::__private::remote_with_context::<#given, _, _>(
                    &__ATASKER_FUNCTION, __args, #read, #inbox, #outbox,
                )
            },
        };
        quote!({
            #shim
            #table
            let __args = #written;
            #made
        })
    }

    /// How messages travel; the types are named at the user's own tokens.
    fn ports(&self) -> Option<(TokenStream, TokenStream)> {
        let (context, format) = (self.context?, &self.format);
        let port = |ty: &Type| {
            quote_spanned! {ty.span().resolved_at(Span::call_site())=>
                ::atasker::__private::port::<#format, #ty>()
            }
        };
        Some((port(&context.receives), port(&context.sends)))
    }

    /// The side of the worker process.
    fn shim(&self) -> TokenStream {
        let Entry { name, format, body, result, .. } = self;
        let holders: Vec<_> = (0..self.params.len()).map(|i| format_ident!("__a{i}")).collect();
        let reads = holders.iter().zip(&self.params).map(|(holder, (ty, span))| {
            let ty = elide_lifetimes(ty);
            quote_spanned! {*span=>
                let #holder = (&&&&::atasker::__private::Arg::<#ty>::new()).read(&mut __input)?;
            }
        });
        let context = self.ports().map(|(inbox, outbox)| {
            quote!(let __context = ::atasker::__private::context(__call, #inbox, #outbox);)
        });
        let given = self
            .context
            .map(|context| if context.by_ref { quote!(&__context,) } else { quote!(__context,) });
        let call = quote!(#body(#given #(#holders.lend()),*));
        let call =
            if self.is_async { quote!(::atasker::__private::block_on(#call)?) } else { call };
        let at = result.span().resolved_at(Span::call_site());
        let write = quote_spanned! {at=>
            (&&::atasker::__private::Arg::<#result>::new())
                .write_result::<#format>(__result, __call.reply_mut())
        };
        let (pattern, write) = match self.run {
            false => (quote!(__result), write),
            true => (
                quote!((__result, __again)),
                quote! {
                    #write?;
                    ::atasker::__private::add_run(__again, __call.reply_mut());
                    ::core::result::Result::Ok(())
                },
            ),
        };
        quote! {
            #[allow(clippy::all)]
            fn __atasker_shim(
                __call: &mut ::atasker::__private::Call<'_>,
            ) -> ::core::result::Result<(), ::atasker::TaskError> {
                #[allow(unused_imports)]
                use ::atasker::__private::{
                    ReadBlock as _, ReadOwned as _, ReadRef as _, ReadSlice as _,
                    ResultBlock as _, ResultOwned as _,
                };
                #[allow(unused_mut)]
                let mut __input =
                    ::atasker::__private::Input::<'_, #format>::arguments(__call.args());
                #(#reads)*
                __input.end(#name)?;
                #context
                #[allow(clippy::let_unit_value)]
                let #pattern = #call;
                #write
            }
        }
    }

    /// The side of the launcher: the arguments as bytes.
    fn written(&self) -> TokenStream {
        let format = &self.format;
        let writes = self.values.iter().zip(&self.params).map(|(value, (ty, span))| {
            let ty = elide_lifetimes(ty);
            quote_spanned! {*span=>
                (&&&::atasker::__private::Arg::<#ty>::new()).write(&#value, &mut __output)?;
            }
        });
        quote! {
            (|| -> ::core::result::Result<::atasker::__private::Encoded, ::atasker::TaskError> {
                #[allow(unused_imports)]
                use ::atasker::__private::{WriteBlock as _, WriteOwned as _, WriteRef as _};
                #[allow(unused_mut)]
                let mut __output = ::atasker::__private::Output::<#format>::new();
                #(#writes)*
                ::core::result::Result::Ok(__output.into_encoded())
            })()
        }
    }

    /// A hash of the text of the types: two builds can compare it one day.
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

/// The entry in the table of functions, for a shim beside it.
pub(crate) fn table(name: &TokenStream, signature: u64) -> TokenStream {
    quote! {
        #[::atasker::__private::linkme::distributed_slice(::atasker::__private::FUNCTIONS)]
        #[linkme(crate = ::atasker::__private::linkme)]
        static __ATASKER_FUNCTION: ::atasker::__private::Function =
            ::atasker::__private::Function {
                name: #name,
                file: ::core::file!(),
                line: ::core::line!(),
                column: ::core::column!(),
                signature: #signature,
                call: __atasker_shim,
            };
    }
}

/// FNV-1a: the same in every build.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
