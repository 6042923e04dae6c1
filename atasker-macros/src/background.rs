//! `background!(...)`: launches a task without an attribute on the function.
//!
//! | syntax | expands to |
//! |---|---|
//! | `path(args)` | `TaskBuilder::new(move \|\| path(args))`, with the arguments evaluated first |
//! | `path(args), tt = "mp"` | an entry in the function table, and the encoded arguments |
//! | a closure | `TaskBuilder::new(move \|\| ..)` |
//! | an `async` block, or a future with `tt = "async"` | `TaskBuilder::future(..)` |
//!
//! For a function call, the parameter types are inferred from the function before the arguments are
//! evaluated, so that literals are inferred and references are coerced as in a plain call. This
//! limits calls to 12 parameters, the number of generated helper functions (`params0` to
//! `params12`).

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote_spanned};
use syn::parse::{ParseStream, Parser};
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{Expr, ExprCall, ExprClosure, Ident, Token};

use crate::args::{Options, Place, Syntax};
use crate::check::{check_feature, check_place_keys};
use crate::errors::Errors;
use crate::expand::{check_inferred, hash, returned_err, table};
use crate::hygiene::{error_span, quote};
use crate::item::is_written_as_result;
use crate::shim::{CalledBy, Generated, Shim, located};

/// The maximum number of parameters whose types can be inferred from the function.
const MAX_PARAMS: usize = 12;

pub(crate) fn expand(input: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let parser = |input: ParseStream<'_>| -> syn::Result<(Expr, Options)> {
        if input.is_empty() {
            return Err(syn::Error::new(
                Span::call_site(),
                "expected a call, a closure or a future: `background!(work(1, 2), tt = \"mp\")`",
            ));
        }
        let what: Expr = input.parse()?;
        if !input.is_empty() && !input.peek(Token![,]) {
            return Err(input.error("expected `,` before the keys"));
        }
        let _ = input.parse::<Option<Token![,]>>()?;
        Ok((what, Options::parse(input, Syntax::Call, &mut errors)))
    };
    let code = match parser.parse2(input) {
        Ok((what, options)) if !errors.any() => launch(what, &options, &mut errors),
        Ok(_) => quote!(),
        Err(error) => {
            errors.push(error);
            quote!()
        }
    };
    if errors.any() {
        // As an expression, `compile_error!` has any type, so that no type error follows.
        return errors.into_expression();
    }
    code
}

fn launch(what: Expr, options: &Options, errors: &mut Errors) -> TokenStream {
    let what = match bare(what) {
        // The path of the function may have passed through a `macro_rules!` macro as well.
        Expr::Call(mut call) => {
            *call.func = bare(*call.func);
            Expr::Call(call)
        }
        what => what,
    };
    let default_place = match &what {
        Expr::Async(_) => Place::Async,
        Expr::Closure(closure) if closure.asyncness.is_some() => Place::Async,
        _ => Place::Thread,
    };
    let (place, at) = options.tt.unwrap_or((default_place, what.span()));
    if place == Place::Remote {
        errors.at(
            at,
            "a task on another machine needs a function with the attribute, because other programs \
             find it by its name and the types that it is written with: put \
             #[background_task(tt = \"remote\")] on the function, and call it",
        );
        return quote!();
    }
    for key in options.remote.given() {
        errors.on(
            key,
            format!(
                "`{key}` is a key of #[background_task(tt = \"remote\")]: put it on the function"
            ),
        );
    }
    if errors.any() {
        return quote!();
    }
    check_feature(place, at, errors);
    check_place_keys(options, place, errors);
    options.policies.check(errors);
    if errors.any() {
        return quote!();
    }
    match (&what, place) {
        (Expr::Call(call), _) if matches!(*call.func, Expr::Path(_)) => {
            function(call, place, options, errors)
        }
        (Expr::Async(block), Place::Async) => {
            let mut block = block.clone();
            block.capture.get_or_insert_default();
            future(&block, options, errors)
        }
        (Expr::Async(_), _) => {
            errors.at(at, "an `async` block runs on an aloop: remove `tt`, or use tt = \"async\"");
            quote!()
        }
        (Expr::Closure(closure), _) => self::closure(closure, place, options, errors),
        (Expr::MethodCall(_), Place::Thread | Place::Mp) => {
            errors.on(
                &what,
                "a method call can't be launched, because its receiver may be moved or borrowed: \
                 write a closure, `background!(move || value.method())`",
            );
            quote!()
        }
        (_, Place::Async) => future(&what, options, errors),
        _ => {
            errors.on(
                &what,
                "expected a call of a function by its path, a closure, or an `async` block: \
                 `background!(work(1, 2))`",
            );
            quote!()
        }
    }
}

/// Removes parentheses and invisible groups around an expression.
pub(crate) fn bare(what: Expr) -> Expr {
    match what {
        Expr::Paren(inner) if inner.attrs.is_empty() => bare(*inner.expr),
        Expr::Group(inner) if inner.attrs.is_empty() => bare(*inner.expr),
        what => what,
    }
}

/// Removes the invisible groups of a `macro_rules!` macro, which would be printed otherwise.
pub(crate) fn without_groups(tokens: TokenStream) -> TokenStream {
    let flat = tokens.into_iter().map(|token| match token {
        TokenTree::Group(group) if group.delimiter() == Delimiter::None => {
            without_groups(group.stream())
        }
        TokenTree::Group(group) => {
            Group::new(group.delimiter(), without_groups(group.stream())).to_token_stream()
        }
        token => token.to_token_stream(),
    });
    flat.collect()
}

pub(crate) fn local(name: &str, index: usize) -> Ident {
    format_ident!("{}{}", name, index, span = Span::mixed_site())
}

/// Generates `.name(..)`: the given name, or the type name of the function. The surrounding code
/// binds it to `__name` before the function is moved.
fn name(options: &Options) -> TokenStream {
    match &options.name {
        Some(name) => quote!(.name(#name)),
        None => quote!(.name(__name)),
    }
}

/// Launches a call of a function by its path.
fn function(call: &ExprCall, place: Place, options: &Options, errors: &mut Errors) -> TokenStream {
    let count = call.args.len();
    if count > MAX_PARAMS {
        errors.on(
            &call.args,
            format!(
                "background! supports functions of at most {MAX_PARAMS} parameters: \
                 use #[background_task] on the function, or a closure"
            ),
        );
        return quote!();
    }
    let (path, krate) = (&call.func, &options.krate);
    if place == Place::Mp
        && let Expr::Path(path) = &**path
        && let Some(first) = path.path.segments.first().filter(|first| first.ident == "Self")
    {
        errors.on(
            first,
            "`Self` can't be named in the function table of worker processes: \
             write the name of the type",
        );
        return quote!();
    }
    let args: Vec<&Expr> = call.args.iter().collect();
    let types: Vec<Ident> = (0..count).map(|i| local("__p", i)).collect();
    let values: Vec<Ident> = (0..count).map(|i| local("__a", i)).collect();
    let params = format_ident!("params{}", count);
    let made = match place {
        Place::Mp => remote(&quote!(#path), CalledBy::Path, &args, &types, &values, options),
        Place::Remote => unreachable!("it needs the attribute"),
        Place::Thread | Place::Async => {
            let again = options.retries.is_some();
            let passed = values.iter().zip(&args).map(|(value, arg)| {
                if again {
                    // A missing `Clone` is reported at the argument.
                    let at = error_span(arg.span());
                    let value = located(value, at);
                    quote_spanned!(at=> ::core::clone::Clone::clone(&#value))
                } else {
                    quote!(#value)
                }
            });
            let run = quote!(__function(#(#passed),*));
            // A launcher is reported at its name.
            let at = error_span(path.span());
            match (place, again) {
                (Place::Async, true) => {
                    quote!(#krate::TaskBuilder::__repeatable_future(move || #run))
                }
                (Place::Async, false) => quote!(#krate::TaskBuilder::future(#run)),
                // Without `tt`, the type of the result decides: a future runs on an aloop.
                (_, true) if options.tt.is_none() => {
                    quote_spanned!(at=> (&__result).__atasker_start_again(move || #run))
                }
                (_, false) if options.tt.is_none() => {
                    quote_spanned!(at=> (&__result).__atasker_start(move || #run))
                }
                (_, true) => quote!(#krate::TaskBuilder::repeatable(move || #run)),
                (_, false) => quote!(#krate::TaskBuilder::new(move || #run)),
            }
        }
    };
    let name = name(options);
    let (bindings, setters) = (options.bindings(), options.setters());
    let returned_err = returned_err(krate);
    quote!({
        #bindings
        // A single value, so that each of its uses can infer generic parameters.
        let __function = #path;
        #[allow(unused_variables)]
        let __name = #krate::__private::name_of(&__function);
        #[allow(unused_variables)]
        let (#(#types,)* __result,) = #krate::__private::#params(&__function);
        #[allow(unused_imports)]
        use #krate::__private::start::*;
        match (#(#types.value(#args),)*) {
            (#(#values,)*) => {
                let __builder = #made #name #setters;
                #returned_err
                __builder.start()
            }
        }
    })
}

/// Generates the builder for a call in a worker process. The surrounding code binds `types` and
/// `values`.
fn remote(
    path: &TokenStream,
    called_by: CalledBy,
    args: &[&Expr],
    types: &[Ident],
    values: &[Ident],
    options: &Options,
) -> TokenStream {
    let krate = &options.krate;
    let params = format_ident!("params{}", types.len());
    let bind = quote! {
        let __function = #path;
        let (#(#types,)* __result,) = #krate::__private::#params(&__function);
    };
    let spans: Vec<Span> = args.iter().map(|arg| error_span(arg.span())).collect();
    let of_each = || spans.iter().zip(types).zip(values);
    let writes = of_each().map(|((span, ty), value)| {
        let (ty, value) = (located(ty, *span), located(value, *span));
        quote_spanned!(*span=> (&&&&#ty).__atasker_write(&#value, &mut __output)?;)
    });
    // A type that can't be sent is reported at its argument, or at the function for the result.
    let inferred =
        types.iter().zip(args).map(|(ty, arg)| (ty.to_token_stream(), arg.to_token_stream()));
    let check = check_inferred(krate, inferred, (quote!(__result), path.clone()));
    // A result of unknown type is reported as such, not as a type that lacks some trait.
    let at = error_span(path.span());
    let known = quote_spanned!(at=> (#krate::__private::value_of(__result)).__atasker_known());
    let format = options.format();
    let text = without_groups(path.clone()).to_string().replace(' ', "");
    let name = match options.literal_name() {
        Some(name) => quote!(#name),
        None => quote!(#text),
    };
    let table = table(krate, &name, hash(&format!("{format} {text} {}", types.len())), None);
    let needs = options.needs_processes();
    let shim = Shim { name: "__atasker_shim", path, called_by, bind, spans: &spans, types, values };
    let Generated { shim, finished, reader } = shim.expand(&name, options);
    quote!({
        #needs
        #shim
        #table
        let _ = || {
            use #krate::__private::Known as _;
            #known
        };
        let __args = (|| -> ::core::result::Result<#krate::__private::Payload, #krate::TaskError> {
            #[allow(unused_imports)]
            use #krate::__private::{
                NoWrite as _, WriteBlock as _, WriteOwned as _, WriteRef as _,
            };
            #[allow(unused_mut)]
            let mut __output = #krate::__private::Output::<#format>::new();
            #(#writes)*
            ::core::result::Result::Ok(__output.into_payload())
        })();
        let __result = #finished;
        let __read = #reader;
        #check
        #[allow(unused_imports)]
        use #krate::__private::{RemoteNotSend as _, RemoteSend as _};
        (&&__result).__atasker_remote(&__ATASKER_FUNCTION, __args, __read)
    })
}

fn closure(
    closure: &ExprClosure,
    place: Place,
    options: &Options,
    errors: &mut Errors,
) -> TokenStream {
    if !closure.inputs.is_empty() {
        errors.on(
            &closure.inputs,
            "the closure of a task can't have parameters: capture the values that it needs",
        );
        return quote!();
    }
    if place == Place::Mp {
        return closure_mp(closure, options, errors);
    }
    // A task may outlive its caller, so it must own what it captures: `move` is implied.
    let mut closure = closure.clone();
    closure.capture.get_or_insert_default();
    let (krate, again) = (&options.krate, options.retries.is_some());
    let made = match (place, again, closure.asyncness.is_some()) {
        (Place::Async, true, false) => {
            quote!(#krate::TaskBuilder::__repeatable_future(__function))
        }
        (Place::Async, true, true) => {
            errors.on(
                closure.asyncness,
                "to run again, the closure must create a new future each time: \
                 write `|| async move { .. }` with tt = \"async\"",
            );
            return quote!();
        }
        (Place::Async, false, _) => {
            quote!(#krate::TaskBuilder::future(async move { __function().await }))
        }
        (_, true, false) => quote!(#krate::TaskBuilder::repeatable(__function)),
        (_, false, false) => quote!(#krate::TaskBuilder::new(__function)),
        (_, _, true) => {
            errors.on(
                closure.asyncness,
                "an `async` closure runs on an aloop: remove `tt`, or use tt = \"async\"",
            );
            return quote!();
        }
    };
    let name = name(options);
    let (bindings, setters) = (options.bindings(), options.setters());
    let returned_err = written_result(&closure).then(|| returned_err(krate));
    quote!({
        #bindings
        let __function = #closure;
        #[allow(unused_variables)]
        let __name = #krate::__private::name_of(&__function);
        let __builder = #made #name #setters;
        #returned_err
        __builder.start()
    })
}

/// Returns whether the return type of the closure is written as a `Result`.
fn written_result(closure: &ExprClosure) -> bool {
    match &closure.output {
        syn::ReturnType::Type(_, ty) => is_written_as_result(ty),
        syn::ReturnType::Default => false,
    }
}

/// Launches a closure in a worker process. A closure that captures nothing is as good as a
/// function, so its tokens are repeated in the shim.
fn closure_mp(closure: &ExprClosure, options: &Options, errors: &mut Errors) -> TokenStream {
    const REASON: &str = "a worker process has none of this process's variables. \
        Pass what it needs as an argument of a function: `background!(work(x), tt = \"mp\")`";
    if closure.asyncness.is_some() {
        errors.on(
            closure.asyncness,
            "an `async` closure can't run in a worker process: use #[background_task(tt = \"mp\")] \
             on an `async fn`",
        );
        return quote!();
    }
    if let Some(captured) = captured(closure) {
        let message = format!("this closure captures `{captured}`, but {REASON}");
        errors.on(&captured, message);
        return quote!();
    }
    if let Some(token) = &closure.capture {
        errors.on(
            token,
            format!(
                "a `move` closure captures variables, but {REASON}; if it captures nothing, \
                     remove `move`"
            ),
        );
        return quote!();
    }
    let krate = &options.krate;
    let returned_err = written_result(closure).then(|| returned_err(krate));
    let closure = quote!((#closure));
    let made = remote(&closure, CalledBy::Closure, &[], &[], &[], options);
    let name = match &options.name {
        Some(name) => quote!(.name(#name)),
        None => quote!(.name(::core::concat!(::core::module_path!(), "::{{closure}}"))),
    };
    let (bindings, setters) = (options.bindings(), options.setters());
    quote!({
        #bindings
        let (__result,) = #krate::__private::params0(&#closure);
        let __builder = #made #name #setters;
        #returned_err
        __builder.start()
    })
}

/// Returns a variable that the closure seems to capture.
///
/// A macro sees neither types nor scopes. An identifier counts as a captured variable if it begins
/// with a lowercase letter, is used as a value, and is not bound in the closure. A function may be
/// called, or passed to a method (`.map(parse)`). The compiler rejects captures that this search
/// misses.
fn captured(closure: &ExprClosure) -> Option<Ident> {
    #[derive(Default)]
    struct Bound(Vec<Ident>);
    impl Visit<'_> for Bound {
        fn visit_pat_ident(&mut self, pat: &syn::PatIdent) {
            self.0.push(pat.ident.clone());
            syn::visit::visit_pat_ident(self, pat);
        }
        fn visit_item_fn(&mut self, item: &syn::ItemFn) {
            self.0.push(item.sig.ident.clone());
            syn::visit::visit_item_fn(self, item);
        }
    }
    struct Used {
        bound: Vec<Ident>,
        found: Option<Ident>,
    }
    impl Used {
        fn record(&mut self, ident: &Ident) {
            let text = ident.to_string();
            let variable = text.chars().next().is_some_and(|c| c.is_lowercase() || c == '_');
            if variable && self.found.is_none() && !self.bound.contains(ident) {
                self.found = Some(ident.clone());
            }
        }
    }
    impl<'a> Visit<'a> for Used {
        fn visit_expr(&mut self, expr: &'a Expr) {
            match expr {
                Expr::Path(path) if path.qself.is_none() => {
                    if let Some(ident) = path.path.get_ident() {
                        self.record(ident);
                    }
                }
                Expr::Call(call) => {
                    if !matches!(*call.func, Expr::Path(_)) {
                        self.visit_expr(&call.func);
                    }
                    call.args.iter().for_each(|arg| self.visit_expr(arg));
                }
                Expr::MethodCall(call) => {
                    self.visit_expr(&call.receiver);
                    for arg in call.args.iter().filter(|arg| !matches!(arg, Expr::Path(_))) {
                        self.visit_expr(arg);
                    }
                }
                expr => syn::visit::visit_expr(self, expr),
            }
        }
        fn visit_macro(&mut self, mac: &'a syn::Macro) {
            // `println!("{}", x)` and similar macros. Arguments with another syntax are skipped.
            let parser = syn::punctuated::Punctuated::<Expr, Token![,]>::parse_terminated;
            if let Ok(args) = parser.parse2(mac.tokens.clone()) {
                for arg in &args {
                    let mut inner = Used { bound: self.bound.clone(), found: None };
                    match arg {
                        Expr::Assign(named) => inner.visit_expr(&named.right),
                        arg => inner.visit_expr(arg),
                    }
                    self.found = self.found.take().or(inner.found);
                }
            }
        }
        fn visit_item(&mut self, _: &'a syn::Item) {}
    }
    let mut bound = Bound::default();
    bound.visit_expr(&closure.body);
    let mut used = Used { bound: bound.0, found: None };
    used.visit_expr(&closure.body);
    used.found
}

/// Launches a future on an aloop.
fn future(what: &impl ToTokens, options: &Options, errors: &mut Errors) -> TokenStream {
    if let Some((key, _)) = &options.retries {
        errors.on(
            key,
            "a future can run only once: pass what creates it, `background!(work(1), tt = \"async\", \
             retries = 3)` or `background!(|| async move { .. }, tt = \"async\", retries = 3)`",
        );
        return quote!();
    }
    let (krate, name) = (&options.krate, name(options));
    let (bindings, setters) = (options.bindings(), options.setters());
    quote!({
        #bindings
        let __future = #what;
        #[allow(unused_variables)]
        let __name = #krate::__private::name_of(&__future);
        #krate::TaskBuilder::future(__future) #name #setters.start()
    })
}
