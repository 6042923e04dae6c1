//! `background!(...)`: a task without an attribute at the function.
//!
//! | form | becomes |
//! |---|---|
//! | `path(args)` | `TaskBuilder::new(move \|\| path(args))`, the arguments evaluated before |
//! | `path(args), tt = "mp"` | an entry in the table of functions, and the arguments as bytes |
//! | a closure | `TaskBuilder::new(move \|\| ..)` |
//! | an `async` block, or a future with `tt = "async"` | `TaskBuilder::future(..)` |
//!
//! Where a function is called, the types of its parameters are taken from the function itself,
//! before the arguments are evaluated: so literals infer and references coerce as in a plain call.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::parse::{ParseStream, Parser};
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{Expr, ExprCall, ExprClosure, Ident, Token};

use crate::args::{Form, Options, Place};
use crate::check::{feature, only_for};
use crate::errors::Errors;
use crate::expand::{hash, returned_err, table};

/// How many parameters a function may have whose types are taken from itself.
const MOST_PARAMS: usize = 12;

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
        Ok((what, Options::parse(input, Form::Call, &mut errors)))
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
        // As an expression, `compile_error!` has whatever type is wanted: no second error follows.
        return errors.into_expression();
    }
    code
}

fn launch(what: Expr, options: &Options, errors: &mut Errors) -> TokenStream {
    let what = bare(what);
    let natural = match &what {
        Expr::Async(_) => Place::Async,
        Expr::Closure(closure) if closure.asyncness.is_some() => Place::Async,
        _ => Place::Thread,
    };
    let (place, at) = options.tt.unwrap_or((natural, what.span()));
    feature(place, at, errors);
    only_for(options, place, errors);
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
                "a method call is no task, for nobody could say what becomes of its receiver: \
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

/// Without parentheses and invisible groups around it.
fn bare(what: Expr) -> Expr {
    match what {
        Expr::Paren(inner) if inner.attrs.is_empty() => bare(*inner.expr),
        Expr::Group(inner) if inner.attrs.is_empty() => bare(*inner.expr),
        what => what,
    }
}

fn local(name: &str, index: usize) -> Ident {
    format_ident!("{}{}", name, index, span = Span::mixed_site())
}

/// `.name(..)`: as it was said, or the path that the compiler knows what is launched by, which the
/// code around this has taken before it was moved.
fn name(options: &Options) -> TokenStream {
    match &options.name {
        Some(name) => quote!(.name(#name)),
        None => quote!(.name(__name)),
    }
}

/// A call of a function by its path.
fn function(call: &ExprCall, place: Place, options: &Options, errors: &mut Errors) -> TokenStream {
    let count = call.args.len();
    if count > MOST_PARAMS {
        errors.on(
            &call.args,
            format!(
                "background! takes functions of at most {MOST_PARAMS} parameters: \
                 use #[background_task] at the function, or a closure"
            ),
        );
        return quote!();
    }
    let path = &call.func;
    if place == Place::Mp
        && let Expr::Path(path) = &**path
        && let Some(first) = path.path.segments.first().filter(|first| first.ident == "Self")
    {
        errors.on(
            first,
            "`Self` can't be named where a worker process finds its functions: \
             write the type's own name",
        );
        return quote!();
    }
    let args: Vec<&Expr> = call.args.iter().collect();
    let types: Vec<Ident> = (0..count).map(|i| local("__p", i)).collect();
    let values: Vec<Ident> = (0..count).map(|i| local("__a", i)).collect();
    let params = format_ident!("params{}", count);
    let made = match place {
        Place::Mp => remote(&quote!(#path), CalledBy::Path, &args, &types, &values, options),
        Place::Thread | Place::Async => {
            let again = options.retries.is_some();
            let passed = values.iter().zip(&args).map(|(value, arg)| {
                if again {
                    // What can't be cloned is the argument's fault.
                    quote_spanned!(arg.span().resolved_at(Span::call_site())=>
                        ::core::clone::Clone::clone(&#value))
                } else {
                    quote!(#value)
                }
            });
            let run = quote!(__function(#(#passed),*));
            // If it is a launcher, that is said at its name.
            let at = path.span().resolved_at(Span::call_site());
            match (place, again) {
                (Place::Async, true) => {
                    quote!(::atasker::TaskBuilder::__repeatable_future(move || #run))
                }
                (Place::Async, false) => quote!(::atasker::TaskBuilder::future(#run)),
                // Nothing was said: an async function goes where its future can run.
                (_, true) if options.tt.is_none() => {
                    quote_spanned!(at=> (&__result).start_again(move || #run))
                }
                (_, false) if options.tt.is_none() => {
                    quote_spanned!(at=> (&__result).start(move || #run))
                }
                (_, true) => quote!(::atasker::TaskBuilder::repeatable(move || #run)),
                (_, false) => quote!(::atasker::TaskBuilder::new(move || #run)),
            }
        }
    };
    let name = name(options);
    let setters = options.setters();
    let returned_err = returned_err();
    quote!({
        // One value for all, so that generic parameters are found by any of its uses.
        let __function = #path;
        #[allow(unused_variables)]
        let __name = ::atasker::__private::name_of(&__function);
        #[allow(unused_variables)]
        let (#(#types,)* __result,) = ::atasker::__private::#params(&__function);
        #[allow(unused_imports)]
        use ::atasker::__private::start::*;
        match (#(#types.value(#args),)*) {
            (#(#values,)*) => {
                let __builder = #made #name #setters;
                #returned_err
                __builder.start()
            }
        }
    })
}

/// What stands where `remote` calls a function.
enum CalledBy {
    Path,
    Closure,
}

/// The builder for a function in a worker process. `types` and `values` are bound.
fn remote(
    path: &TokenStream,
    called_by: CalledBy,
    args: &[&Expr],
    types: &[Ident],
    values: &[Ident],
    options: &Options,
) -> TokenStream {
    let format = options.format();
    // What can't travel is reported at its argument, or at the function for its result.
    let spans: Vec<Span> =
        args.iter().map(|arg| arg.span().resolved_at(Span::call_site())).collect();
    let reads = spans.iter().zip(types).zip(values).map(
        |((span, ty), value)| quote_spanned!(*span=> let #value = (&&&&#ty).read(&mut __input)?;),
    );
    let writes = spans.iter().zip(types).zip(values).map(
        |((span, ty), value)| quote_spanned!(*span=> (&&&#ty).write(&#value, &mut __output)?;),
    );
    let at = path.span().resolved_at(Span::call_site());
    let reader = quote_spanned!(at=> (&&__result).reader::<#format>());
    let writer = quote_spanned! {at=>
        (&&__result).write_result::<#format>(__returned, __call.reply_mut())
    };
    let call = quote!(__function(#(#values.lend()),*));
    let (finish, finished) = match called_by {
        CalledBy::Path => (
            // If it is a launcher, that is said at its name.
            quote_spanned!(at=> (&__result).finish_call(#call)?),
            quote!((&__result).finished_call()),
        ),
        CalledBy::Closure => (quote!((&__result).finish(#call)?), quote!((&__result).finished())),
    };
    let params = format_ident!("params{}", types.len());
    let text = path.to_string().replace(' ', "");
    let name = match options.literal_name() {
        Some(name) => quote!(#name),
        None => quote!(#text),
    };
    let table = table(&name, hash(&format!("{format} {text} {}", types.len())));
    quote!({
        #[allow(clippy::all)]
        fn __atasker_shim(
            __call: &mut ::atasker::__private::Call<'_>,
        ) -> ::core::result::Result<(), ::atasker::TaskError> {
            #[allow(unused_imports)]
            use ::atasker::__private::{
                FinishFuture as _, FinishValue as _, ReadBlock as _, ReadOwned as _, ReadRef as _, ReadSlice as _,
                ResultBlock as _, ResultOwned as _,
            };
            let __function = #path;
            let (#(#types,)* __result,) = ::atasker::__private::#params(&__function);
            #[allow(unused_mut)]
            let mut __input =
                ::atasker::__private::Input::<'_, #format>::arguments(__call.args());
            #(#reads)*
            __input.end(#name)?;
            let __returned = #finish;
            let __result = #finished;
            #writer
        }
        #table
        let __args = (|| -> ::core::result::Result<::atasker::__private::Encoded, ::atasker::TaskError> {
            #[allow(unused_imports)]
            use ::atasker::__private::{WriteBlock as _, WriteOwned as _, WriteRef as _};
            #[allow(unused_mut)]
            let mut __output = ::atasker::__private::Output::<#format>::new();
            #(#writes)*
            ::core::result::Result::Ok(__output.into_encoded())
        })();
        let __result = {
            #[allow(unused_imports)]
            use ::atasker::__private::{FinishFuture as _, FinishValue as _};
            #finished
        };
        let __read = {
            #[allow(unused_imports)]
            use ::atasker::__private::{ResultBlock as _, ResultOwned as _};
            #reader
        };
        ::atasker::__private::remote(&__ATASKER_FUNCTION, __args, __result, __read)
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
            "the closure of a task takes no arguments, for nobody gives it any: \
             let it capture what it needs",
        );
        return quote!();
    }
    if place == Place::Mp {
        return closure_mp(closure, options, errors);
    }
    // A task outlives its caller, so it must own what it captures: `move` is what is meant.
    let mut closure = closure.clone();
    closure.capture.get_or_insert_default();
    let again = options.retries.is_some();
    let made = match (place, again, closure.asyncness.is_some()) {
        (Place::Async, true, false) => {
            quote!(::atasker::TaskBuilder::__repeatable_future(__function))
        }
        (Place::Async, true, true) => {
            errors.on(
                closure.asyncness,
                "to run again, it must make a new future each time: \
                 write `|| async move { .. }` with tt = \"async\"",
            );
            return quote!();
        }
        (Place::Async, false, _) => {
            quote!(::atasker::TaskBuilder::future(async move { __function().await }))
        }
        (_, true, false) => quote!(::atasker::TaskBuilder::repeatable(__function)),
        (_, false, false) => quote!(::atasker::TaskBuilder::new(__function)),
        (_, _, true) => {
            errors.on(
                closure.asyncness,
                "an `async` closure runs on an aloop: remove `tt`, or use tt = \"async\"",
            );
            return quote!();
        }
    };
    let name = name(options);
    let setters = options.setters();
    let returned_err = written_result(&closure).then(returned_err);
    quote!({
        let __function = #closure;
        #[allow(unused_variables)]
        let __name = ::atasker::__private::name_of(&__function);
        let __builder = #made #name #setters;
        #returned_err
        __builder.start()
    })
}

/// The closure says that it returns a `Result`.
fn written_result(closure: &ExprClosure) -> bool {
    match &closure.output {
        syn::ReturnType::Type(_, ty) => match &**ty {
            syn::Type::Path(path) => path.path.segments.last().is_some_and(|s| s.ident == "Result"),
            _ => false,
        },
        syn::ReturnType::Default => false,
    }
}

/// A closure that captures nothing is as good as a function: it is written a second time, into the
/// shim.
fn closure_mp(closure: &ExprClosure, options: &Options, errors: &mut Errors) -> TokenStream {
    const WHY: &str = "a worker process has none of this process's variables. \
        Pass what it needs as an argument of a function: `background!(work(x), tt = \"mp\")`";
    if closure.asyncness.is_some() {
        errors.on(
            closure.asyncness,
            "an `async` closure can't run in a worker process: use #[background_task(tt = \"mp\")] \
             at an `async fn`",
        );
        return quote!();
    }
    if let Some(captured) = captured(closure) {
        let message = format!("this closure captures `{captured}`, but {WHY}");
        errors.on(&captured, message);
        return quote!();
    }
    if let Some(token) = &closure.capture {
        errors.on(
            token,
            format!(
                "a `move` closure is there to capture, but {WHY}; if it captures nothing, \
                     remove `move`"
            ),
        );
        return quote!();
    }
    let closure = quote!((#closure));
    let made = remote(&closure, CalledBy::Closure, &[], &[], &[], options);
    let name = match &options.name {
        Some(name) => quote!(.name(#name)),
        None => quote!(.name(::core::concat!(::core::module_path!(), "::{{closure}}"))),
    };
    let setters = options.setters();
    quote!({
        let (__result,) = ::atasker::__private::params0(&#closure);
        let __builder = #made #name #setters;
        __builder.start()
    })
}

/// A variable that the closure seems to take from around it.
///
/// A macro sees no types and no scopes. What begins with a small letter, stands where a value is
/// used, and is bound nowhere in the closure, is a variable; a function may be called, or given to
/// a method (`.map(parse)`). What this doesn't see, the compiler will refuse.
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
        fn note(&mut self, ident: &Ident) {
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
                        self.note(ident);
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
            // `println!("{}", x)` and its like; another language is not understood.
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

/// A future.
fn future(what: &impl ToTokens, options: &Options, errors: &mut Errors) -> TokenStream {
    if let Some((key, _)) = &options.retries {
        errors.on(
            key,
            "a future can run only once: give what makes it, `background!(work(1), tt = \"async\", \
             retries = 3)` or `background!(|| async move { .. }, tt = \"async\", retries = 3)`",
        );
        return quote!();
    }
    let name = name(options);
    let setters = options.setters();
    quote!({
        let __future = #what;
        #[allow(unused_variables)]
        let __name = ::atasker::__private::name_of(&__future);
        ::atasker::TaskBuilder::future(__future) #name #setters.start()
    })
}
