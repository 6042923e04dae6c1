//! The expression that creates the `TaskBuilder` of a function from its body, arguments and
//! options.

use proc_macro2::{Group, Span, TokenStream, TokenTree};
use quote::{format_ident, quote_spanned};
use syn::Ident;
use syn::spanned::Spanned;

use super::bounds::{self, At};
use super::{Entry, Plan, Returns};
use crate::args::Place;
use crate::crate_path::CratePath;
use crate::hygiene::{error_span, quote};
use crate::item::{Context, Param, impl_trait};

/// The maximum number of separate arguments. The rest is passed as a tuple.
const MAX_SEPARATE: usize = 8;

impl Plan {
    /// Returns a block that evaluates to a `TaskBuilder`. `body` is the path of the original
    /// function.
    pub(super) fn builder(&self, body: &TokenStream) -> TokenStream {
        let made = match self.place {
            Place::Thread => self.thread(body),
            Place::Async => self.future(body),
            Place::Mp => self.entry(body).expand(),
            Place::Remote => self.remote(body),
        };
        let name = self.name();
        let (bindings, setters) = (self.options.bindings(), self.options.setters());
        let returned_err = self.f.returns_result().then(|| returned_err(&self.options.krate));
        let encoded_key = self.options.encoded_key();
        let checks = match self.place {
            Place::Mp | Place::Remote => quote!(),
            Place::Thread | Place::Async => self.checks(),
        };
        quote! {
            #checks
            #bindings
            let __builder = #made #name #setters;
            #encoded_key
            #returned_err
            __builder
        }
    }

    /// Returns the call of the setter of the name, unless the name comes from the function table.
    fn name(&self) -> TokenStream {
        match (&self.options.name, self.place) {
            (Some(_), Place::Mp | Place::Remote) if self.options.literal_name().is_some() => {
                quote!()
            }
            (Some(name), _) => quote!(.name(#name)),
            (None, Place::Mp | Place::Remote) => quote!(),
            (None, _) => {
                let ident = unraw(&self.f.sig.ident);
                if self.f.receiver.is_some() {
                    quote! {
                        .name(::std::format!("{}::{}", ::core::any::type_name::<Self>(), #ident))
                    }
                } else {
                    quote!(.name(::core::concat!(::core::module_path!(), "::", #ident)))
                }
            }
        }
    }

    /// Returns the checks of `Send` and `Clone`, before what requires these.
    fn checks(&self) -> TokenStream {
        let (f, krate) = (&self.f, &self.options.krate);
        let again = self.options.retries.is_some();
        let of_params = f.params.iter().take(self.separate_params()).flat_map(|param| {
            let (ty, at) = (&param.ty, At::token(self.param_at(param)));
            // A future that is not `Send` is reported with the argument that it captures.
            let send = (self.place == Place::Thread).then(|| bounds::send(krate, ty, at));
            let clone = again.then(|| bounds::clone(krate, "ClonedForAttempt", f, ty, at));
            [send, clone].into_iter().flatten().flatten()
        });
        let result = f.result();
        let of_result = bounds::send(krate, &result, bounds::type_at(&result));
        let checks: Vec<TokenStream> = of_params.chain(of_result).collect();
        match checks.is_empty() {
            true => quote!(),
            false => bounds::statement(krate, &checks),
        }
    }

    /// Returns the place for errors about a parameter.
    fn param_at(&self, param: &Param) -> Span {
        match self.place {
            Place::Thread => bounds::param_at(param),
            Place::Async | Place::Mp | Place::Remote => param.span(),
        }
    }

    /// Returns the number of parameters with separate bounds, if not all have them.
    fn separate_params(&self) -> usize {
        let receivers = usize::from(self.f.receiver.is_some());
        match self.f.params.len() + receivers {
            count if count > MAX_SEPARATE => MAX_SEPARATE - 1 - receivers,
            count => count - receivers,
        }
    }

    /// Returns an expression of the type `Arg<R>`, for errors about the result.
    fn result_arg(&self) -> TokenStream {
        let (result, krate) = (self.f.result(), &self.options.krate);
        if impl_trait(&result).is_some() {
            quote!(#krate::__private::Arg::new())
        } else if bounds::is_checked(&result) {
            bounds::type_at(&result).arg(krate, &result)
        } else {
            quote!(#krate::__private::Arg::<#result>::new())
        }
    }

    /// Returns the span for errors about a captured value: the parameter that is likely to cause
    /// them.
    fn future_span(&self) -> Span {
        let f = &self.f;
        let mut generic = f.params.iter().filter(|param| f.is_generic(&param.ty));
        let span = match (generic.next(), generic.next()) {
            (Some(param), None) => param.span(),
            _ => f.sig.ident.span(),
        };
        error_span(span)
    }

    /// Returns the arguments, with the receiver first. They are moved, or cloned for a body that
    /// may run again.
    fn arguments(&self) -> Vec<TokenStream> {
        let f = &self.f;
        let again = self.options.retries.is_some();
        let mut arguments = Vec::new();
        if let Some(receiver) = &f.receiver {
            let this = &receiver.self_token;
            arguments.push(if again {
                quote_spanned!(receiver.span()=> ::core::clone::Clone::clone(&#this))
            } else {
                quote!(#this)
            });
        }
        arguments.extend(f.params.iter().map(|param| {
            let name = &param.name;
            if again {
                quote_spanned!(param.span()=> ::core::clone::Clone::clone(&#name))
            } else {
                quote!(#name)
            }
        }));
        arguments
    }

    /// Inserts the context among the arguments, behind the receiver.
    fn with_context(&self, context: TokenStream, arguments: &[TokenStream]) -> TokenStream {
        let receivers = usize::from(self.f.receiver.is_some());
        let (receiver, rest) = arguments.split_at(receivers);
        quote!(#(#receiver,)* #context, #(#rest),*)
    }

    /// Calls a function of `macro_support` that takes the arguments one by one and a closure that
    /// captures nothing. An argument that is not `Send` is then reported at the user's parameter,
    /// and only there.
    fn thread(&self, body: &TokenStream) -> TokenStream {
        let (f, krate) = (&self.f, &self.options.krate);
        let mut given = Vec::new();
        if let Some(receiver) = &f.receiver {
            let this = &receiver.self_token;
            given.push(quote!(#this));
        }
        given.extend(f.params.iter().map(|param| {
            let mut name = param.name.clone();
            name.set_span(self.param_at(param));
            quote!(#name)
        }));
        let names = numbered("a", given.len());
        let mut patterns: Vec<TokenStream> = names.iter().map(|name| quote!(#name)).collect();
        if given.len() > MAX_SEPARATE {
            let (given_rest, rest) =
                (given.split_off(MAX_SEPARATE - 1), patterns.split_off(MAX_SEPARATE - 1));
            given.push(quote!((#(#given_rest,)*)));
            patterns.push(quote!((#(#rest,)*)));
        }
        let again = if self.options.retries.is_some() { "_again" } else { "" };
        let with = if f.context.is_some() { "_with" } else { "" };
        let constructor = format_ident!("thread{with}{again}{}", given.len());
        let passed: Vec<TokenStream> = names.iter().map(|name| quote!(#name)).collect();
        let closure = match &f.context {
            None => quote!(|#(#patterns),*| #body(#(#passed),*)),
            Some(Context { by_ref, receives, sends, .. }) => {
                let context = if *by_ref {
                    quote!(__context)
                } else {
                    quote!(::core::clone::Clone::clone(__context))
                };
                let passed = self.with_context(context, &passed);
                quote! {
                    |__context: &#krate::TaskContext<#receives, #sends>, #(#patterns),*| {
                        #body(#passed)
                    }
                }
            }
        };
        let result = self.result_arg();
        quote!(#krate::__private::#constructor(#result, #(#given,)* #closure))
    }

    fn future(&self, body: &TokenStream) -> TokenStream {
        let again = self.options.retries.is_some();
        let (result, arguments) = (self.result_arg(), self.arguments());
        let span = self.future_span();
        let krate = self.options.krate.at(span);
        let body = &respan(body.clone(), span);
        let Some(context) = &self.f.context else {
            return if again {
                quote_spanned! {span=>
                    #krate::__private::future_again(#result, move || #body(#(#arguments),*))
                }
            } else {
                quote_spanned! {span=>
                    #krate::__private::future(#result, #body(#(#arguments),*))
                }
            };
        };
        let make = if again { "future_with_again" } else { "future_with" };
        let make = method(span, make);
        let Context { by_ref, receives, sends, .. } = context;
        let run = if *by_ref {
            // The future owns the context and the arguments, and borrows the context from itself.
            let names = numbered("a", arguments.len());
            let lent: Vec<TokenStream> = names.iter().map(|name| quote!(#name)).collect();
            let passed = self.with_context(quote!(&__context), &lent);
            quote_spanned! {span=>
                {
                    #(let #names = #arguments;)*
                    async move { #body(#passed).await }
                }
            }
        } else {
            let passed = self.with_context(quote!(__context), &arguments);
            quote_spanned!(span=> #body(#passed))
        };
        quote_spanned! {span=>
            #krate::__private::#make(
                #result,
                move |__context: #krate::TaskContext<#receives, #sends>| #run
            )
        }
    }

    /// Returns the function as another process calls it.
    pub(super) fn entry(&self, body: &TokenStream) -> Entry<'_> {
        let f = &self.f;
        let names = f.params.iter().map(|param| &param.name);
        let is_remote = self.place == Place::Remote;
        Entry {
            name: match self.options.literal_name() {
                Some(name) => quote!(#name),
                None => {
                    let ident = unraw(&f.sig.ident);
                    quote!(::core::concat!(::core::module_path!(), "::", #ident))
                }
            },
            krate: &self.options.krate,
            // The other machine may be of another kind.
            needs: if is_remote { quote!() } else { self.options.needs_processes() },
            codec: self.options.codec(self.place),
            body: body.clone(),
            is_async: f.sig.asyncness.is_some(),
            context: f.context.as_ref(),
            params: f.params.iter().map(|param| (param.ty.clone(), param.span())).collect(),
            result: f.result(),
            returns: match is_remote {
                true => Returns::ResultForNode { may_be_err: f.returns_result() },
                false => Returns::Result,
            },
            values: names.map(|name| quote!(#name)).collect(),
        }
    }
}

/// Generates the check whether the result is `std`'s `Result`, because other types may have that
/// name.
pub(crate) fn returned_err(krate: &CratePath) -> TokenStream {
    quote! {
        let __is_err = {
            #[allow(unused_imports)]
            use #krate::__private::{IsOther as _, IsResult as _};
            (&#krate::__private::Probe::of(&__builder)).__atasker_is_err()
        };
        let __builder = #krate::__private::returned_err(__builder, __is_err);
    }
}

/// Returns the same tokens, with errors reported at `span`.
pub(crate) fn respan(tokens: TokenStream, span: Span) -> TokenStream {
    tokens
        .into_iter()
        .map(|mut token| {
            if let TokenTree::Group(group) = &token {
                token = Group::new(group.delimiter(), respan(group.stream(), span)).into();
            }
            token.set_span(token.span().located_at(span));
            token
        })
        .collect()
}

/// Returns the names of generated variables.
pub(crate) fn numbered(name: &str, count: usize) -> Vec<Ident> {
    (0..count).map(|i| format_ident!("__{name}{i}", span = Span::mixed_site())).collect()
}

fn method(span: Span, name: &str) -> Ident {
    Ident::new(name, span)
}

/// Returns the text of an identifier without `r#`.
pub(crate) fn unraw(ident: &Ident) -> String {
    use syn::ext::IdentExt;
    ident.unraw().to_string()
}
