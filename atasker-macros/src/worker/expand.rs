//! Generates the constructor of a worker.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote_spanned};
use syn::spanned::Spanned;
use syn::{FnArg, Ident, Pat, ReturnType, Signature, Type, parse_quote};

use super::captured::Captured;
use super::keys::{Kind, Order};
use crate::args::{Options, Place};
use crate::expand::{Entry, Returns, body, bounds, holder, respan, unraw};
use crate::hygiene::{error_span, quote};
use crate::item::{Context, Param, TaskFn, elide_lifetimes, impl_trait, static_lifetimes};

/// Why no code is generated for the runs of such a worker.
const NOT_REMOTE: &str = "a check rejects background workers on other machines";

struct Plan {
    f: TaskFn,
    options: Options,
    place: Place,
    kind: Kind,
    /// An error was reported: the constructor has the right signature, and a body that never runs.
    failed: bool,
}

pub(super) fn constructor(f: TaskFn, options: Options, failed: bool) -> TokenStream {
    let place = crate::check::place(&options, &f);
    let kind = options.worker.kind();
    Plan { f, options, place, kind, failed }.expand()
}

/// Returns a generated name for the parameter at `index`.
fn numbered(name: &str, index: usize) -> Ident {
    format_ident!("{}{}", name, index, span = Span::mixed_site())
}

impl Plan {
    /// Returns the parameter of the item of a queue worker.
    fn item(&self) -> Option<&Param> {
        self.f.params.first().filter(|_| self.kind == Kind::Queue)
    }

    /// Returns the parameters of the constructor.
    fn captured(&self) -> &[Param] {
        &self.f.params[usize::from(self.item().is_some())..]
    }

    fn worker_type(&self) -> TokenStream {
        let krate = &self.options.krate;
        match self.kind {
            Kind::Loop => quote!(#krate::LoopWorker),
            Kind::Interval => quote!(#krate::IntervalWorker),
            Kind::Event => quote!(#krate::EventWorker),
            Kind::Queue => {
                let item = self.item_type();
                quote!(#krate::QueueWorker<#item>)
            }
        }
    }

    fn item_type(&self) -> TokenStream {
        match self.item() {
            // The item may be the error, so its type is replaced by a valid one.
            Some(item) if self.failed && impl_trait(&item.ty).is_none() => {
                let given = Captured::given(item);
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
        let names: Vec<&Ident> = self.captured().iter().map(|param| &param.name).collect();
        let types = self.captured().iter().map(Captured::given);
        let receiver = f.receiver.as_ref().map(|receiver| quote!(#receiver,));
        let body = if self.failed { self.no_body(&names) } else { self.body() };
        quote! {
            #(#docs)* #(#everywhere)* #(#about)*
            // As few as possible, because they apply to the body as well.
            #[allow(
                single_use_lifetimes, unused_lifetimes, clippy::extra_unused_lifetimes,
                clippy::too_many_arguments, clippy::type_complexity
            )]
            #vis fn #ident #generics (#receiver #(#names: #types),*) -> #worker #where_clause {
                #body
            }
        }
    }

    /// Returns the body of a constructor that doesn't compile anyway.
    fn no_body(&self, names: &[&Ident]) -> TokenStream {
        let (f, krate) = (&self.f, &self.options.krate);
        let unused = (f.receiver.is_none() && !f.names_self_type()).then(|| {
            // Further errors in the function are reported as well, but not the same ones again.
            let mut sig = f.sig.clone();
            (sig.variadic, sig.constness) = (None, None);
            let hidden = format_ident!("__atasker_body");
            body(f, sig, &hidden, &quote!(), &quote!(#[allow(dead_code)]))
        });
        quote! {
            #unused
            let _ = (#(#names,)*);
            #krate::__private::never()
        }
    }

    fn body(&self) -> TokenStream {
        let builder = self.builder();
        let sig = self.signature(&builder);
        let name = sig.ident.clone();
        let function = body(&self.f, sig, &name, &quote!(), &quote!(#[allow(dead_code)]));
        let function = holder(&function);
        let worker_fn = WorkerFn::new(self).expand();
        quote! {
            #function
            let __builder = #builder;
            #worker_fn
        }
    }

    /// Returns the signature as written. Parameters that the expression of a key uses don't count
    /// as unused.
    fn signature(&self, builder: &TokenStream) -> Signature {
        let keys = &self.options.worker;
        let (limit, process) = (keys.queue_limit.iter().map(|(_, n)| n), &keys.process_result);
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

    /// Returns the builder with its options, whose expressions may use the constructor's
    /// parameters.
    fn builder(&self) -> TokenStream {
        let builder = self.options.worker.builder(&self.options.krate);
        let setters = self.options.setters();
        let name = match &self.options.name {
            Some(name) => quote!(#name),
            None => self.path(),
        };
        quote!(#builder.name(#name) #setters)
    }

    /// Returns the path of the function.
    fn path(&self) -> TokenStream {
        let ident = unraw(&self.f.sig.ident);
        quote!(::core::concat!(::core::module_path!(), "::", #ident))
    }

    fn processes_result(&self) -> bool {
        self.options.worker.process_result.is_some()
    }

    /// Returns whether the result type can be named.
    fn names_result(&self) -> bool {
        let result = self.f.result();
        impl_trait(&result).is_none() && !matches!(result, Type::Never(_))
    }

    /// Returns the span for errors about the result.
    fn result_span(&self) -> Span {
        let span = match &self.f.sig.output {
            ReturnType::Default => self.f.sig.ident.span(),
            ReturnType::Type(_, ty) => ty.span(),
        };
        error_span(span)
    }

    /// Returns the checks of `Send` and `Clone`, before the call that requires these.
    fn checks(&self) -> TokenStream {
        let krate = &self.options.krate;
        let of_item =
            self.item().and_then(|item| bounds::send(krate, &item.ty, bounds::type_at(&item.ty)));
        let of_captured = self.captured().iter().flat_map(|param| {
            let at = bounds::At::token(bounds::param_at(param));
            let ty: Type = syn::parse2(Captured::given(param)).expect("a type");
            let cloned = Captured::of(param) == Captured::Cloned && self.place != Place::Mp;
            let clone = cloned.then(|| bounds::clone(krate, "ClonedForRun", &self.f, &ty, at));
            [bounds::send(krate, &ty, at), clone.flatten()].into_iter().flatten()
        });
        let checks: Vec<TokenStream> = of_item.into_iter().chain(of_captured).collect();
        match checks.is_empty() {
            true => quote!(),
            false => bounds::statement(krate, &checks),
        }
    }

    /// Returns the call of the user's function.
    fn call(&self, context: &TokenStream, arguments: &[TokenStream]) -> TokenStream {
        let (ident, turbofish) = (&self.f.sig.ident, self.f.turbofish());
        let context = self.f.context.as_ref().map(|_| quote!(#context,));
        quote!(__AtaskerBody::#ident #turbofish(#context #(#arguments),*))
    }

    /// Returns the closure of one run, which takes the arguments of the run.
    fn run(&self) -> TokenStream {
        let run_args = (0..self.captured().len()).map(|index| numbered("__p", index));
        let item = self.item().map(|_| Ident::new("__item", Span::mixed_site()));
        let run_args: Vec<Ident> = item.into_iter().chain(run_args).collect();
        match self.place {
            Place::Thread => self.run_on_thread(&run_args),
            Place::Async => self.run_on_aloop(&run_args),
            Place::Mp => self.run_in_process(&run_args),
            Place::Remote => unreachable!("{NOT_REMOTE}"),
        }
    }

    fn run_on_thread(&self, run_args: &[Ident]) -> TokenStream {
        let context = match self.f.context {
            Some(Context { by_ref: false, .. }) => quote!(::core::clone::Clone::clone(__context)),
            _ => quote!(__context),
        };
        let arguments: Vec<_> = run_args.iter().map(|run_arg| quote!(#run_arg)).collect();
        let call = self.call(&context, &arguments);
        quote!(|__context, #(#run_args),*| #call)
    }

    fn run_on_aloop(&self, run_args: &[Ident]) -> TokenStream {
        let context = match self.f.context {
            Some(Context { by_ref: true, .. }) => quote!(&__context),
            _ => quote!(__context),
        };
        let krate = &self.options.krate;
        let mut locked = Vec::new();
        let items = usize::from(self.item().is_some());
        let arguments: Vec<_> = run_args
            .iter()
            .enumerate()
            .map(|(index, run_arg)| match Captured::of(&self.f.params[index]) {
                // An item is passed by value.
                _ if index < items => quote!(#run_arg),
                Captured::Cloned => quote!(#run_arg),
                Captured::Borrowed => quote!(&*#run_arg),
                Captured::State => {
                    locked.push(
                        quote!(let mut #run_arg = #krate::__private::SharedState::lock(&#run_arg).await;),
                    );
                    quote!(&mut *#run_arg)
                }
            })
            .collect();
        let call = self.call(&context, &arguments);
        let run = quote!(|__context, #(#run_args),*| async move { #(#locked)* #call.await });
        respan(run, self.future_span())
    }

    /// Returns the span for errors about the future: the parameter that is likely to cause them.
    fn future_span(&self) -> Span {
        let mut generic = self.f.params.iter().filter(|param| self.f.is_generic(&param.ty));
        let span = match (generic.next(), generic.next()) {
            (Some(param), None) => param.span(),
            _ => self.f.sig.ident.span(),
        };
        error_span(span)
    }

    /// Returns a run in a worker process, where `__atasker_run` creates a context and runs the
    /// function.
    fn run_in_process(&self, run_args: &[Ident]) -> TokenStream {
        let (f, krate) = (&self.f, &self.options.krate);
        let at = self.result_span();
        let result: Type = if self.processes_result() {
            f.result()
        } else {
            syn::parse2(quote!(#krate::__private::RunEnd)).expect("a type")
        };
        let is_async = f.sig.asyncness;
        let (generics, where_clause) = (&f.sig.generics, &f.sig.generics.where_clause);
        let types = f.params.iter().map(|param| &param.ty);
        let context = match self.f.context {
            Some(Context { by_ref: true, .. }) => quote!(&__context),
            _ => quote!(::core::clone::Clone::clone(&__context)),
        };
        let arguments: Vec<_> = run_args.iter().map(|run_arg| quote!(#run_arg)).collect();
        let call = self.call(&context, &arguments);
        let awaits = is_async.map(|_| quote!(.await));
        let call = quote!(#call #awaits);
        let call = match self.processes_result() {
            true => call,
            false => respan(quote!(#krate::__private::run_end(#call)), at),
        };

        let text: Type = parse_quote!(::std::string::String);
        let number: Type = parse_quote!(::core::primitive::u64);
        let mut params = vec![(text, Span::mixed_site()), (number, Span::mixed_site())];
        params.extend(f.params.iter().map(|param| (param.ty.clone(), param.span())));
        let mut values = vec![quote!(__name), quote!(__runs)];
        let items = usize::from(self.item().is_some());
        let mut lent = Vec::new();
        for (index, (run_arg, param)) in run_args.iter().zip(&f.params).enumerate() {
            values.push(if index < items {
                quote!(#run_arg)
            } else if Captured::of(param) == Captured::Borrowed {
                let ty = elide_lifetimes(&param.ty);
                lent.push(quote!(let #run_arg: #ty = #run_arg;));
                quote!(#run_arg)
            } else {
                quote!(*#run_arg)
            });
        }
        let unit: Type = parse_quote!(());
        let task = Context {
            by_ref: true,
            name: None,
            ty: syn::parse2(quote!(&#krate::TaskContext)).expect("a type"),
            receives: unit.clone(),
            sends: unit,
        };
        let entry = Entry {
            krate,
            needs: self.options.needs_processes(),
            name: self.path(),
            codec: self.options.codec(Place::Mp),
            body: quote!(__atasker_run),
            is_async: is_async.is_some(),
            context: Some(&task),
            params,
            result: result.clone(),
            returns: Returns::RunResult,
            values,
        }
        .expand();
        quote! {
            {
                #[allow(clippy::all, unreachable_code)]
                #is_async fn __atasker_run #generics (
                    __task: &#krate::TaskContext,
                    __name: ::std::string::String,
                    __runs: ::core::primitive::u64,
                    #(#run_args: #types),*
                ) -> (#result, ::core::primitive::bool) #where_clause {
                    let __context = #krate::__private::worker_context(__task, __name, __runs);
                    let __result = #call;
                    (__result, #krate::__private::was_triggered(&__context))
                }
                |__name, __runs, #(#run_args),*| {
                    #(#lent)*
                    #entry
                }
            }
        }
    }
}

/// Returns whether the name occurs in the tokens.
fn names(tokens: TokenStream, name: &Ident) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == *name,
        TokenTree::Group(group) => names(group.stream(), name),
        // `format!("{name}")`
        TokenTree::Literal(text) => text.to_string().contains(&format!("{{{name}")),
        TokenTree::Punct(_) => false,
    })
}

/// `__atasker_worker` and its call. The function moves the constructor's arguments into the worker,
/// which passes them to each run.
struct WorkerFn<'a> {
    plan: &'a Plan,
    generics: Vec<TokenStream>,
    /// The parameters, and the arguments of the call.
    params: Vec<TokenStream>,
    arguments: Vec<TokenStream>,
    /// Statements before the worker is built.
    prepared: Vec<TokenStream>,
    /// The arguments of a run.
    run_arg_types: Vec<TokenStream>,
    run_args: Vec<TokenStream>,
}

impl<'a> WorkerFn<'a> {
    fn new(plan: &'a Plan) -> Self {
        WorkerFn {
            plan,
            generics: Vec::new(),
            params: Vec::new(),
            arguments: Vec::new(),
            prepared: Vec::new(),
            run_arg_types: Vec::new(),
            run_args: Vec::new(),
        }
    }

    fn param(&mut self, param: TokenStream, argument: TokenStream) {
        self.params.push(param);
        self.arguments.push(argument);
    }

    fn run_arg(&mut self, ty: TokenStream, run_arg: TokenStream) {
        self.run_arg_types.push(ty);
        self.run_args.push(run_arg);
    }

    fn expand(mut self) -> TokenStream {
        self.result();
        // Before the captured values are moved, because the expression may use them. If the result
        // type can't be named, it must come after the function, which determines the type of a
        // closure's parameter.
        let early = self.plan.names_result();
        if early {
            self.process();
        }
        let (start, builder) = self.builder();
        for (index, param) in self.plan.captured().iter().enumerate() {
            self.capture(index, param);
        }
        self.run();
        if !early {
            self.process();
        }
        let builder = match self.plan.place {
            Place::Thread => self.on_thread(builder),
            Place::Async => self.on_aloop(builder),
            Place::Mp => self.in_process(builder),
            Place::Remote => unreachable!("{NOT_REMOTE}"),
        };
        let krate = &self.plan.options.krate;
        let worker = match self.plan.kind {
            Kind::Queue => quote!(#krate::QueueWorker<__I>),
            _ => self.plan.worker_type(),
        };
        let at = match self.plan.place {
            Place::Async => self.plan.future_span(),
            _ => error_span(self.plan.f.sig.ident.span()),
        };
        let checks = self.plan.checks();
        let WorkerFn { generics, params, arguments, prepared, .. } = self;
        let call = quote_spanned!(at=> __atasker_worker(__builder, #(#arguments),*));
        quote! {
            #[allow(clippy::all)]
            fn __atasker_worker<#(#generics),*>(
                __builder: #krate::WorkerBuilder<#start>,
                #(#params),*
            ) -> #worker {
                #(#prepared)*
                #builder
            }
            #checks
            #call
        }
    }

    /// Returns the kind of worker of the given builder, and the expression of the final builder.
    fn builder(&mut self) -> (TokenStream, TokenStream) {
        let (plan, krate) = (self.plan, &self.plan.options.krate);
        let Some(item) = plan.item() else {
            return (plan.worker_type(), quote!(__builder));
        };
        let keys = &plan.options.worker;
        let ord = matches!(keys.queue, Some((_, Order::Priority)))
            .then(|| quote_spanned!(item.span()=> + ::core::cmp::Ord));
        let by_priority = ord.as_ref().map(|_| quote!(.by_priority()));
        self.generics.push(quote_spanned!(item.span()=> __I: ::core::marker::Send + 'static #ord));
        let (ty, krate_at) = (&item.ty, krate.at(item.span()));
        let arg = match bounds::is_checked(ty) {
            true => bounds::type_at(ty).arg(krate, ty),
            // It may still lack `Ord`.
            false => quote_spanned!(item.span()=> #krate_at::__private::Arg::<#ty>::new()),
        };
        self.param(quote!(_: #krate::__private::Arg<__I>), arg);
        let limit = match &keys.queue_limit {
            Some((_, limit)) => quote!(::core::option::Option::Some(#limit)),
            None => quote!(::core::option::Option::None),
        };
        self.param(quote!(__limit: ::core::option::Option<::core::primitive::usize>), limit);
        self.run_arg(quote!(__I), quote!(__item));
        (quote!(#krate::EventWorker), quote!(__builder.__with_queue::<__I>(__limit) #by_priority))
    }

    /// Adds a value that the worker owns.
    fn capture(&mut self, index: usize, param: &Param) {
        let krate = &self.plan.options.krate;
        let (ty, value) = (numbered("__P", index), numbered("__p", index));
        let (place, captured) = (self.plan.place, Captured::of(param));
        let at = param.span();
        let bounds = match (place, captured) {
            (Place::Thread | Place::Async, Captured::Cloned) => {
                quote_spanned!(at=> ::core::clone::Clone + ::core::marker::Send + 'static)
            }
            (Place::Async, Captured::Borrowed) => {
                quote_spanned!(at=> ::core::marker::Send + ::core::marker::Sync + 'static)
            }
            _ => quote_spanned!(at=> ::core::marker::Send + 'static),
        };
        self.generics.push(quote!(#ty: #bounds));

        let mutable = (place == Place::Thread && captured == Captured::State).then(|| quote!(mut));
        let mut name = param.name.clone();
        name.set_span(bounds::param_at(param));
        self.param(quote!(#mutable #value: #ty), quote!(#name));

        match (place, captured) {
            // The arguments are encoded in place.
            (Place::Mp, _) | (Place::Thread, Captured::Borrowed) => {
                self.run_arg(quote!(&#ty), quote!(&#value));
            }
            (Place::Thread, Captured::State) => self.run_arg(quote!(&mut #ty), quote!(&mut #value)),
            (_, Captured::Cloned) => {
                self.run_arg(quote!(#ty), quote!(::core::clone::Clone::clone(&#value)));
            }
            // A future must own what it borrows.
            (Place::Async, Captured::Borrowed) => {
                self.prepared.push(quote!(let #value = ::std::sync::Arc::new(#value);));
                self.run_arg(
                    quote!(::std::sync::Arc<#ty>),
                    quote!(::core::clone::Clone::clone(&#value)),
                );
            }
            (Place::Remote, _) => unreachable!("{NOT_REMOTE}"),
            (Place::Async, Captured::State) => {
                self.prepared
                    .push(quote!(let #value = #krate::__private::SharedState::new(#value);));
                self.run_arg(
                    quote!(#krate::__private::SharedState<#ty>),
                    quote!(::core::clone::Clone::clone(&#value)),
                );
            }
        }
    }

    /// Adds the type of a run's result, as `__R`.
    fn result(&mut self) {
        let at = self.plan.result_span();
        let (krate, krate_at) = (&self.plan.options.krate, self.plan.options.krate.at(at));
        let processes = self.plan.processes_result();
        let bound = match self.plan.place {
            Place::Mp if processes => quote_spanned!(at=> : ::core::marker::Send + 'static),
            // The bound is checked in the worker process.
            Place::Mp => return,
            _ if processes => quote!(),
            _ => quote_spanned!(at=> : #krate_at::WorkerOutput),
        };
        self.generics.push(quote_spanned!(at=> __R #bound));
        if self.plan.names_result() {
            let result = self.plan.f.result();
            self.param(
                quote!(_: #krate::__private::Arg<__R>),
                quote_spanned!(at=> #krate_at::__private::Arg::<#result>::new()),
            );
        }
    }

    /// Adds `process_result`.
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

    /// Adds the closure of a run.
    fn run(&mut self) {
        let krate = &self.plan.options.krate;
        let types = &self.run_arg_types;
        let function = match self.plan.place {
            Place::Thread => {
                quote!(impl ::core::ops::FnMut(&#krate::WorkerContext, #(#types),*) -> __R)
            }
            Place::Async => {
                let at = self.plan.future_span();
                self.generics.push(quote_spanned! {at=>
                    __F: ::core::future::Future<Output = __R> + ::core::marker::Send + 'static
                });
                quote!(impl ::core::ops::FnMut(#krate::WorkerContext, #(#types),*) -> __F)
            }
            Place::Mp => {
                let result = match self.plan.processes_result() {
                    true => quote!(__R),
                    false => quote!(#krate::__private::RunEnd),
                };
                quote! {
                    impl ::core::ops::FnMut(
                        ::std::string::String, ::core::primitive::u64, #(#types),*
                    ) -> #krate::TaskBuilder<(#result, ::core::primitive::bool)>
                }
            }
            Place::Remote => unreachable!("{NOT_REMOTE}"),
        };
        let run = self.plan.run();
        self.param(quote!(mut __run: #function + ::core::marker::Send + 'static), run);
    }

    fn item(&self) -> Option<TokenStream> {
        self.plan.item().map(|_| quote!(, __item: __I))
    }

    fn on_thread(&mut self, builder: TokenStream) -> TokenStream {
        let krate = &self.plan.options.krate;
        let (item, run_args) = (self.item(), &self.run_args);
        let run = quote!(__run(__context, #(#run_args),*));
        let run = match self.plan.processes_result() {
            true => quote!({ __process(&#run); #krate::__private::RunEnd::Continue }),
            false => run,
        };
        quote!(#builder.run(move |__context: &#krate::WorkerContext #item| #run))
    }

    fn on_aloop(&mut self, builder: TokenStream) -> TokenStream {
        let krate = &self.plan.options.krate;
        let (item, run_args) = (self.item(), &self.run_args);
        let run = quote!(__run(__context, #(#run_args),*));
        let run = match self.plan.processes_result() {
            true => {
                self.prepared.push(quote!(let __process = ::std::sync::Arc::new(__process);));
                quote!({
                    let __future = #run;
                    let __process = ::core::clone::Clone::clone(&__process);
                    async move {
                        __process(&__future.await);
                        #krate::__private::RunEnd::Continue
                    }
                })
            }
            false => run,
        };
        quote!(#builder.run_async(move |__context: #krate::WorkerContext #item| #run))
    }

    fn in_process(&mut self, builder: TokenStream) -> TokenStream {
        let krate = &self.plan.options.krate;
        let end = match self.plan.processes_result() {
            true => quote! {
                move |__result: &__R| {
                    __process(__result);
                    #krate::__private::RunEnd::Continue
                }
            },
            false => quote!(<#krate::__private::RunEnd as ::core::clone::Clone>::clone),
        };
        let (item, run_args) = (self.item(), &self.run_args);
        quote! {
            #builder.__run_in_process(
                move |__name: ::std::string::String, __runs: ::core::primitive::u64 #item| {
                    __run(__name, __runs, #(#run_args),*)
                },
                #end,
            )
        }
    }
}
