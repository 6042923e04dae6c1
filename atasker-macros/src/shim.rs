//! The shim of a call by path, in the process that runs it: the types are inferred from the function.
//! For functions with the attribute, whose types are written out, see `expand::entry`.

use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;
use syn::Ident;
use syn::spanned::Spanned;

use crate::args::Options;
use crate::expand::respan;
use crate::hygiene::{error_span, quote};

/// What a shim calls.
#[derive(Clone, Copy)]
pub(crate) enum CalledBy {
    Path,
    Closure,
}

/// The function that decodes the arguments of a call, makes it, and encodes its result, in the
/// process that runs it.
pub(crate) struct Shim<'a> {
    pub(crate) name: &'a str,
    /// What is called.
    pub(crate) path: &'a TokenStream,
    pub(crate) called_by: CalledBy,
    /// Binds `__function`, `types` and `__result`.
    pub(crate) bind: TokenStream,
    /// The spans for errors about the parameters.
    pub(crate) spans: &'a [Span],
    pub(crate) types: &'a [Ident],
    pub(crate) values: &'a [Ident],
}

/// The code of a shim, and two expressions for the launcher, which has `__result`.
pub(crate) struct Generated {
    pub(crate) shim: TokenStream,
    /// The type of the final result.
    pub(crate) finished: TokenStream,
    /// The decoder of the result.
    pub(crate) reader: TokenStream,
}

impl Shim<'_> {
    /// `function` is the name in the function table.
    pub(crate) fn expand(&self, function: &TokenStream, options: &Options) -> Generated {
        let Shim { path, bind, spans, types, values, .. } = self;
        let (krate, format) = (&options.krate, options.format());
        // A type without serde's traits is reported at its argument, or at the function for the
        // result.
        let reads = spans.iter().zip(*types).zip(*values).map(|((span, ty), value)| {
            let ty = located(ty, *span);
            quote_spanned!(*span=> let #value = (&&&&&#ty).__atasker_read(&mut __input)?;)
        });
        let at = error_span(path.span());
        let (krate_at, format_at) = (krate.at(at), respan(format.clone(), at));
        let reader = quote_spanned!(at=> (&&&__result).__atasker_reader::<#format_at>());
        let writer = quote_spanned! {at=>
            (&&&__result).__atasker_write_result::<#format_at>(__returned, #krate_at::__private::Call::reply_mut(__call))
        };
        let call = quote!(__function(#(#values.__atasker_lend()),*));
        let (finish, finished) = match self.called_by {
            CalledBy::Path => (
                // A launcher is reported at its name.
                quote_spanned!(at=> (&__result).__atasker_finish_call(#call)?),
                quote!((&__result).__atasker_finished_call()),
            ),
            CalledBy::Closure => (
                quote!((&__result).__atasker_finish(#call)?),
                quote!((&__result).__atasker_finished()),
            ),
        };
        let name = Ident::new(self.name, Span::mixed_site());
        let shim = quote! {
            #[allow(clippy::all)]
            fn #name(
                __call: &mut #krate::__private::Call<'_>,
            ) -> ::core::result::Result<(), #krate::TaskError> {
                #[allow(unused_imports)]
                use #krate::__private::{
                    FinishFuture as _, FinishValue as _, NoRead as _, NoResult as _, ReadBlock as _,
                    ReadOwned as _, ReadRef as _, ReadSlice as _, ResultBlock as _, ResultOwned as _,
                };
                #bind
                #[allow(unused_mut)]
                let mut __input =
                    #krate::__private::Input::<'_, #format>::arguments(#krate::__private::Call::args(__call));
                #(#reads)*
                __input.end(#function)?;
                let __returned = #finish;
                let __result = #finished;
                #writer
            }
        };
        let finished = quote!({
            #[allow(unused_imports)]
            use #krate::__private::{FinishFuture as _, FinishValue as _};
            #finished
        });
        let reader = quote!({
            #[allow(unused_imports)]
            use #krate::__private::{NoResult as _, ResultBlock as _, ResultOwned as _};
            #reader
        });
        Generated { shim, finished, reader }
    }
}

/// Returns the same variable, with errors reported at `span`.
pub(crate) fn located(variable: &Ident, span: Span) -> Ident {
    let mut variable = variable.clone();
    variable.set_span(variable.span().located_at(span));
    variable
}
