//! The constructor.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{FnArg, Ident, Pat, ReturnType, Signature, Type, parse_quote};

use super::keys::{Kind, Order};
use super::own::Own;
use crate::args::{Options, Place};
use crate::expand::{Entry, body, respan, unraw};
use crate::item::{Context, Param, TaskFn, elide_lifetimes, impl_trait, static_lifetimes};

struct Plan {
    f: TaskFn,
    options: Options,
    place: Place,
    kind: Kind,
    /// Something is wrong: the constructor is written with the right signature and without insides.
    failed: bool,
}

pub(super) fn constructor(f: TaskFn, options: Options, failed: bool) -> TokenStream {
    let place = crate::check::place(&options, &f);
    let kind = options.worker.kind();
    Plan { f, options, place, kind, failed }.expand()
}

/// The name of something that stands for parameter `index`.
fn numbered(name: &str, index: usize) -> Ident {
    format_ident!("{}{}", name, index, span = Span::mixed_site())
}

impl Plan {
    /// The item of a queue.
    fn item(&self) -> Option<&Param> {
        self.f.params.first().filter(|_| self.kind == Kind::Queue)
    }

    /// What the constructor is given.
    fn own(&self) -> &[Param] {
        &self.f.params[usize::from(self.item().is_some())..]
    }

    fn worker_type(&self) -> TokenStream {
        match self.kind {
            Kind::Loop => quote!(::atasker::LoopWorker),
            Kind::Interval => quote!(::atasker::IntervalWorker),
            Kind::Event => quote!(::atasker::EventWorker),
            Kind::Queue => {
                let item = self.item_type();
                quote!(::atasker::QueueWorker<#item>)
            }
        }
    }

    fn item_type(&self) -> TokenStream {
        match self.item() {
            // Of what may be the mistake, something that can stand there.
            Some(item) if self.failed && impl_trait(&item.ty).is_none() => {
                let given = Own::given(item);
                let ty = syn::parse2(given).expect("a type");
                static_lifetimes(&ty).into_token_stream()
            }
            Some(item) if !self.failed => item.ty.to_token_stream(),
            _ => quote!(()),
        }
    }

    fn expand(&self) -> TokenStream {
        let f = &self.f;
        let (docs, everywhere, about) = (&f.attrs.docs, &f.attrs.everywhere, &f.attrs.launcher);
        let (vis, ident, generics) = (&f.vis, &f.sig.ident, &f.sig.generics);
        let where_clause = &generics.where_clause;
        let worker = self.worker_type();
        let names: Vec<&Ident> = self.own().iter().map(|param| &param.name).collect();
        let types = self.own().iter().map(Own::given);
        let receiver = f.receiver.as_ref().map(|receiver| quote!(#receiver,));
        let body = if self.failed { self.no_body(&names) } else { self.body() };
        quote! {
            #(#docs)* #(#everywhere)* #(#about)*
            // Few, for they hold in the body, too.
            #[allow(
                single_use_lifetimes, unused_lifetimes, clippy::extra_unused_lifetimes,
                clippy::too_many_arguments, clippy::type_complexity
            )]
            #vis fn #ident #generics (#receiver #(#names: #types),*) -> #worker #where_clause {
                #body
            }
        }
    }

    /// In place of what would be done, if this compiled.
    fn no_body(&self, names: &[&Ident]) -> TokenStream {
        let f = &self.f;
        let unused = (f.receiver.is_none() && !f.names_self_type()).then(|| {
            // Mistakes in there are reported, too; those that were must not be once more.
            let mut sig = f.sig.clone();
            (sig.variadic, sig.constness) = (None, None);
            let hidden = format_ident!("__atasker_body");
            body(f, sig, &hidden, &quote!(), &quote!(#[allow(dead_code)]))
        });
        quote! {
            #unused
            let _ = (#(#names,)*);
            ::atasker::__private::never()
        }
    }

    fn body(&self) -> TokenStream {
        let hidden = format_ident!("__atasker_body");
        let builder = self.builder();
        let sig = self.signature(&builder);
        let function = body(&self.f, sig, &hidden, &quote!(), &quote!(#[allow(dead_code)]));
        let via = Via::new(self).expand();
        quote! {
            #function
            let __builder = #builder;
            #via
        }
    }

    /// As it was written; a parameter that is there for a key's expression is not unused.
    fn signature(&self, builder: &TokenStream) -> Signature {
        let said = &self.options.worker;
        let (limit, process) = (said.queue_limit.iter().map(|(_, n)| n), &said.process_result);
        let keys = quote!(#builder #(#limit)* #process);
        let mut sig = self.f.sig.clone();
        for arg in &mut sig.inputs {
            if let FnArg::Typed(arg) = arg
                && let Pat::Ident(pat) = &*arg.pat
                && names(keys.clone(), &pat.ident)
            {
                arg.attrs.push(parse_quote!(#[allow(unused_variables)]));
            }
        }
        sig
    }

    /// The builder with its options. Their expressions may use what the constructor is given.
    fn builder(&self) -> TokenStream {
        let (builder, setters) = (self.options.worker.builder(), self.options.setters());
        let name = match &self.options.name {
            Some(name) => quote!(#name),
            None => self.path(),
        };
        quote!(#builder.name(#name) #setters)
    }

    /// The path of the function.
    fn path(&self) -> TokenStream {
        let ident = unraw(&self.f.sig.ident);
        quote!(::core::concat!(::core::module_path!(), "::", #ident))
    }

    fn processes_result(&self) -> bool {
        self.options.worker.process_result.is_some()
    }

    /// Whether the type of the result can be written down.
    fn names_result(&self) -> bool {
        let result = self.f.result();
        impl_trait(&result).is_none() && !matches!(result, Type::Never(_))
    }

    /// Where an error about the result should point.
    fn result_span(&self) -> Span {
        let span = match &self.f.sig.output {
            ReturnType::Default => self.f.sig.ident.span(),
            ReturnType::Type(_, ty) => ty.span(),
        };
        span.resolved_at(Span::call_site())
    }

    /// The user's function with its arguments; those that stand for its parameters are given.
    fn call(&self, context: &TokenStream, arguments: &[TokenStream]) -> TokenStream {
        let turbofish = self.f.turbofish();
        let context = self.f.context.as_ref().map(|_| quote!(#context,));
        quote!(__atasker_body #turbofish(#context #(#arguments),*))
    }

    /// One run, of the shares that it is given.
    fn run(&self) -> TokenStream {
        let shares = (0..self.own().len()).map(|index| numbered("__p", index));
        let item = self.item().map(|_| Ident::new("__item", Span::mixed_site()));
        let shares: Vec<Ident> = item.into_iter().chain(shares).collect();
        match self.place {
            Place::Thread => self.run_on_thread(&shares),
            Place::Async => self.run_on_loop(&shares),
            Place::Mp => self.run_in_process(&shares),
        }
    }

    fn run_on_thread(&self, shares: &[Ident]) -> TokenStream {
        let context = match self.f.context {
            Some(Context { by_ref: false, .. }) => quote!(::core::clone::Clone::clone(__context)),
            _ => quote!(__context),
        };
        let arguments: Vec<_> = shares.iter().map(|share| quote!(#share)).collect();
        let call = self.call(&context, &arguments);
        quote!(|__context, #(#shares),*| #call)
    }

    fn run_on_loop(&self, shares: &[Ident]) -> TokenStream {
        let context = match self.f.context {
            Some(Context { by_ref: true, .. }) => quote!(&__context),
            _ => quote!(__context),
        };
        let mut locked = Vec::new();
        let items = usize::from(self.item().is_some());
        let arguments: Vec<_> = shares
            .iter()
            .enumerate()
            .map(|(index, share)| match Own::of(&self.f.params[index]) {
                // An item is what it is.
                _ if index < items => quote!(#share),
                Own::Cloned => quote!(#share),
                Own::Lent => quote!(&*#share),
                Own::Kept => {
                    locked.push(quote!(let mut #share = #share.lock().await;));
                    quote!(&mut *#share)
                }
            })
            .collect();
        let call = self.call(&context, &arguments);
        let run = quote!(|__context, #(#shares),*| async move { #(#locked)* #call.await });
        respan(run, self.blame())
    }

    /// Where an error about the future should point: at the type that may be to blame.
    fn blame(&self) -> Span {
        let mut generic = self.f.params.iter().filter(|param| self.f.is_generic(&param.ty));
        let span = match (generic.next(), generic.next()) {
            (Some(param), None) => param.span(),
            _ => self.f.sig.ident.span(),
        };
        span.resolved_at(Span::call_site())
    }

    /// A call to a worker process: `__atasker_run` makes a context there and runs the function.
    fn run_in_process(&self, shares: &[Ident]) -> TokenStream {
        let f = &self.f;
        let at = self.result_span();
        let result: Type = if self.processes_result() {
            f.result()
        } else {
            parse_quote!(::atasker::__private::RunEnd)
        };
        let is_async = f.sig.asyncness;
        let (generics, where_clause) = (&f.sig.generics, &f.sig.generics.where_clause);
        let types = f.params.iter().map(|param| &param.ty);
        let context = match self.f.context {
            Some(Context { by_ref: true, .. }) => quote!(&__context),
            _ => quote!(::core::clone::Clone::clone(&__context)),
        };
        let arguments: Vec<_> = shares.iter().map(|share| quote!(#share)).collect();
        let call = self.call(&context, &arguments);
        let awaits = is_async.map(|_| quote!(.await));
        let call = quote!(#call #awaits);
        let call = match self.processes_result() {
            true => call,
            false => respan(quote!(::atasker::__private::run_end(#call)), at),
        };

        let text: Type = parse_quote!(::std::string::String);
        let number: Type = parse_quote!(::core::primitive::u64);
        let mut params = vec![(text, Span::call_site()), (number, Span::call_site())];
        params.extend(f.params.iter().map(|param| (param.ty.clone(), param.span())));
        let mut values = vec![quote!(__name), quote!(__runs)];
        let items = usize::from(self.item().is_some());
        let mut lent = Vec::new();
        for (index, (share, param)) in shares.iter().zip(&f.params).enumerate() {
            values.push(if index < items {
                quote!(#share)
            } else if Own::of(param) == Own::Lent {
                let ty = elide_lifetimes(&param.ty);
                lent.push(quote!(let #share: #ty = #share;));
                quote!(#share)
            } else {
                quote!(*#share)
            });
        }
        let unit: Type = parse_quote!(());
        let task = Context { by_ref: true, receives: unit.clone(), sends: unit };
        let entry = Entry {
            name: self.path(),
            format: self.options.format(),
            body: quote!(__atasker_run),
            is_async: is_async.is_some(),
            context: Some(&task),
            params,
            result: result.clone(),
            run: true,
            values,
        }
        .expand();
        quote! {
            {
                #[allow(clippy::all, unreachable_code)]
                #is_async fn __atasker_run #generics (
                    __task: &::atasker::TaskContext,
                    __name: ::std::string::String,
                    __runs: ::core::primitive::u64,
                    #(#shares: #types),*
                ) -> (#result, ::core::primitive::bool) #where_clause {
                    let __context = ::atasker::__private::worker_context(__task, __name, __runs);
                    let __result = #call;
                    (__result, ::atasker::__private::was_triggered(&__context))
                }
                |__name, __runs, #(#shares),*| {
                    #(#lent)*
                    #entry
                }
            }
        }
    }
}

/// Whether that name occurs.
fn names(tokens: TokenStream, name: &Ident) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == *name,
        TokenTree::Group(group) => names(group.stream(), name),
        // `format!("{name}")`
        TokenTree::Literal(text) => text.to_string().contains(&format!("{{{name}")),
        TokenTree::Punct(_) => false,
    })
}

/// `__worker` and its call: what the constructor is given is made to live as long as the worker, and
/// each run has its share of it.
struct Via<'a> {
    plan: &'a Plan,
    generics: Vec<TokenStream>,
    /// Its parameters, and what is given for them.
    params: Vec<TokenStream>,
    arguments: Vec<TokenStream>,
    /// What it does before it builds the worker.
    prepared: Vec<TokenStream>,
    /// The shares of a run.
    share_types: Vec<TokenStream>,
    shares: Vec<TokenStream>,
}

impl<'a> Via<'a> {
    fn new(plan: &'a Plan) -> Self {
        Via {
            plan,
            generics: Vec::new(),
            params: Vec::new(),
            arguments: Vec::new(),
            prepared: Vec::new(),
            share_types: Vec::new(),
            shares: Vec::new(),
        }
    }

    fn param(&mut self, param: TokenStream, argument: TokenStream) {
        self.params.push(param);
        self.arguments.push(argument);
    }

    fn share(&mut self, ty: TokenStream, share: TokenStream) {
        self.share_types.push(ty);
        self.shares.push(share);
    }

    fn expand(mut self) -> TokenStream {
        self.result();
        // Before the own values are moved, for it may use them; unless the type that a closure is
        // told of is known by the function alone.
        let early = self.plan.names_result();
        if early {
            self.process();
        }
        let (start, builder) = self.builder();
        for (index, param) in self.plan.own().iter().enumerate() {
            self.own(index, param);
        }
        self.run();
        if !early {
            self.process();
        }
        let builder = match self.plan.place {
            Place::Thread => self.on_thread(builder),
            Place::Async => self.on_loop(builder),
            Place::Mp => self.in_process(builder),
        };
        let worker = match self.plan.kind {
            Kind::Queue => quote!(::atasker::QueueWorker<__I>),
            _ => self.plan.worker_type(),
        };
        let at = match self.plan.place {
            Place::Async => self.plan.blame(),
            _ => self.plan.f.sig.ident.span().resolved_at(Span::call_site()),
        };
        let Via { generics, params, arguments, prepared, .. } = self;
        let call = quote_spanned!(at=> __worker(__builder, #(#arguments),*));
        quote! {
            #[allow(clippy::all)]
            fn __worker<#(#generics),*>(
                __builder: ::atasker::WorkerBuilder<#start>,
                #(#params),*
            ) -> #worker {
                #(#prepared)*
                #builder
            }
            #call
        }
    }

    /// The kind of worker that the given builder is for, and the builder of the worker.
    fn builder(&mut self) -> (TokenStream, TokenStream) {
        let plan = self.plan;
        let Some(item) = plan.item() else {
            return (plan.worker_type(), quote!(__builder));
        };
        let said = &plan.options.worker;
        let ord = matches!(said.queue, Some((_, Order::Priority)))
            .then(|| quote_spanned!(item.span()=> + ::core::cmp::Ord));
        let by_priority = ord.as_ref().map(|_| quote!(.by_priority()));
        self.generics.push(quote_spanned!(item.span()=> __I: ::core::marker::Send + 'static #ord));
        let ty = &item.ty;
        self.param(
            quote!(_: ::atasker::__private::Arg<__I>),
            quote_spanned!(item.span()=> ::atasker::__private::Arg::<#ty>::new()),
        );
        let limit = match &said.queue_limit {
            Some((_, limit)) => quote!(::core::option::Option::Some(#limit)),
            None => quote!(::core::option::Option::None),
        };
        self.param(quote!(__limit: ::core::option::Option<::core::primitive::usize>), limit);
        self.share(quote!(__I), quote!(__item));
        (
            quote!(::atasker::EventWorker),
            quote!(__builder.__with_queue::<__I>(__limit) #by_priority),
        )
    }

    /// One of the worker's own values.
    fn own(&mut self, index: usize, param: &Param) {
        let (ty, value) = (numbered("__P", index), numbered("__p", index));
        let (place, own) = (self.plan.place, Own::of(param));
        let at = param.span();
        let bounds = match (place, own) {
            (Place::Thread | Place::Async, Own::Cloned) => {
                quote_spanned!(at=> ::core::clone::Clone + ::core::marker::Send + 'static)
            }
            (Place::Async, Own::Lent) => {
                quote_spanned!(at=> ::core::marker::Send + ::core::marker::Sync + 'static)
            }
            _ => quote_spanned!(at=> ::core::marker::Send + 'static),
        };
        self.generics.push(quote!(#ty: #bounds));

        let mutable = (place == Place::Thread && own == Own::Kept).then(|| quote!(mut));
        let mut name = param.name.clone();
        name.set_span(name.span().located_at(at));
        self.param(quote!(#mutable #value: #ty), quote!(#name));

        match (place, own) {
            // They are encoded from where they are.
            (Place::Mp, _) | (Place::Thread, Own::Lent) => {
                self.share(quote!(&#ty), quote!(&#value));
            }
            (Place::Thread, Own::Kept) => self.share(quote!(&mut #ty), quote!(&mut #value)),
            (_, Own::Cloned) => {
                self.share(quote!(#ty), quote!(::core::clone::Clone::clone(&#value)));
            }
            // A future owns what it borrows.
            (Place::Async, Own::Lent) => {
                self.prepared.push(quote!(let #value = ::std::sync::Arc::new(#value);));
                self.share(quote!(::std::sync::Arc<#ty>), quote!(::std::sync::Arc::clone(&#value)));
            }
            (Place::Async, Own::Kept) => {
                self.prepared.push(quote!(let #value = ::atasker::__private::Kept::new(#value);));
                self.share(
                    quote!(::atasker::__private::Kept<#ty>),
                    quote!(::core::clone::Clone::clone(&#value)),
                );
            }
        }
    }

    /// The type of what a run gives, as `__R`.
    fn result(&mut self) {
        let at = self.plan.result_span();
        let processes = self.plan.processes_result();
        let bound = match self.plan.place {
            Place::Mp if processes => quote_spanned!(at=> : ::core::marker::Send + 'static),
            // It was asked in the worker process.
            Place::Mp => return,
            _ if processes => quote!(),
            _ => quote_spanned!(at=> : ::atasker::WorkerOutput),
        };
        self.generics.push(quote_spanned!(at=> __R #bound));
        if self.plan.names_result() {
            let result = self.plan.f.result();
            self.param(
                quote!(_: ::atasker::__private::Arg<__R>),
                quote_spanned!(at=> ::atasker::__private::Arg::<#result>::new()),
            );
        }
    }

    /// What is told of results.
    fn process(&mut self) {
        if let Some(process) = &self.plan.options.worker.process_result {
            self.param(
                quote! {
                    __process: impl ::core::ops::Fn(&__R)
                        + ::core::marker::Send + ::core::marker::Sync + 'static
                },
                quote!(#process),
            );
        }
    }

    /// What makes a run of its shares.
    fn run(&mut self) {
        let types = &self.share_types;
        let function = match self.plan.place {
            Place::Thread => {
                quote!(impl ::core::ops::FnMut(&::atasker::WorkerContext, #(#types),*) -> __R)
            }
            Place::Async => {
                let at = self.plan.blame();
                self.generics.push(quote_spanned! {at=>
                    __F: ::core::future::Future<Output = __R> + ::core::marker::Send + 'static
                });
                quote!(impl ::core::ops::FnMut(::atasker::WorkerContext, #(#types),*) -> __F)
            }
            Place::Mp => {
                let result = match self.plan.processes_result() {
                    true => quote!(__R),
                    false => quote!(::atasker::__private::RunEnd),
                };
                quote! {
                    impl ::core::ops::FnMut(
                        ::std::string::String, ::core::primitive::u64, #(#types),*
                    ) -> ::atasker::TaskBuilder<(#result, ::core::primitive::bool)>
                }
            }
        };
        let run = self.plan.run();
        self.param(quote!(mut __run: #function + ::core::marker::Send + 'static), run);
    }

    fn item(&self) -> Option<TokenStream> {
        self.plan.item().map(|_| quote!(, __item: __I))
    }

    fn on_thread(&mut self, builder: TokenStream) -> TokenStream {
        let (item, shares) = (self.item(), &self.shares);
        let run = quote!(__run(__context, #(#shares),*));
        let run = match self.plan.processes_result() {
            true => quote!({ __process(&#run); ::atasker::__private::RunEnd::Continue }),
            false => run,
        };
        quote!(#builder.run(move |__context: &::atasker::WorkerContext #item| #run))
    }

    fn on_loop(&mut self, builder: TokenStream) -> TokenStream {
        let (item, shares) = (self.item(), &self.shares);
        let run = quote!(__run(__context, #(#shares),*));
        let run = match self.plan.processes_result() {
            true => {
                self.prepared.push(quote!(let __process = ::std::sync::Arc::new(__process);));
                quote!({
                    let __future = #run;
                    let __process = ::std::sync::Arc::clone(&__process);
                    async move {
                        __process(&__future.await);
                        ::atasker::__private::RunEnd::Continue
                    }
                })
            }
            false => run,
        };
        quote!(#builder.run_async(move |__context: ::atasker::WorkerContext #item| #run))
    }

    fn in_process(&mut self, builder: TokenStream) -> TokenStream {
        let end = match self.plan.processes_result() {
            true => quote! {
                move |__result: &__R| {
                    __process(__result);
                    ::atasker::__private::RunEnd::Continue
                }
            },
            false => quote!(<::atasker::__private::RunEnd as ::core::clone::Clone>::clone),
        };
        let (item, shares) = (self.item(), &self.shares);
        quote! {
            #builder.__run_in_process(
                move |__name: ::std::string::String, __runs: ::core::primitive::u64 #item| {
                    __run(__name, __runs, #(#shares),*)
                },
                #end,
            )
        }
    }
}
