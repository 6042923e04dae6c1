//! The rules that need both the keys and the function. Each mistake gives one error, at the tokens
//! that must change, and says what to write instead.

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::{GenericParam, Type};

use crate::args::{Companion, Options, Place};
use crate::errors::Errors;
use crate::item::{Role, TaskFn, borrows, impl_trait, is_mut_reference};

/// Where the function runs: as it was said, or by its kind.
pub(crate) fn place(options: &Options, f: &TaskFn) -> Place {
    match options.tt {
        Some((place, _)) => place,
        None if f.sig.asyncness.is_some() => Place::Async,
        None => Place::Thread,
    }
}

/// Looks for what can't work.
pub(crate) fn check(options: &Options, f: &TaskFn, errors: &mut Errors) {
    qualifiers(f, errors);
    receiver(options, f, errors);
    context(f, errors);
    keys(options, f, errors);
    if errors.any() {
        // What follows would only repeat it in other words.
        return;
    }
    match place(options, f) {
        Place::Mp => process(options, f, errors),
        Place::Thread | Place::Async => owned(options, f, errors),
    }
}

/// What can't stand at a function of either kind.
pub(crate) fn qualifiers(f: &TaskFn, errors: &mut Errors) {
    let (attribute, noun) = (f.role.attribute(), f.role.noun());
    if let Some(attr) = f.attrs.body.iter().find(|attr| is_ours(attr)) {
        errors.on(
            attr,
            match attr.path().segments.last().is_some_and(|last| last.ident == attribute) {
                true => format!("#[{attribute}] is given twice: put all keys into one"),
                false => "a function is made a task or a worker, not both: keep one attribute, \
                          and write a second function that calls the first"
                    .to_owned(),
            },
        );
    }
    if let Some(token) = &f.sig.unsafety {
        errors.on(
            token,
            format!(
                "an unsafe fn can't be a {noun}: nobody could keep its promise when it runs; \
                 write a safe fn around it"
            ),
        );
    }
    if let Some(abi) = &f.sig.abi {
        errors.on(abi, format!("an extern fn can't be a {noun}: write a plain fn that calls it"));
    }
    if let Some(token) = &f.sig.constness {
        errors.on(
            token,
            match f.role {
                Role::Task => "a const fn can't be a task: to launch one is no constant",
                Role::Worker => "a const fn can't be a worker: to make one is no constant",
            },
        );
    }
    if let Some(variadic) = &f.sig.variadic {
        errors.on(variadic, format!("a variadic fn can't be a {noun}"));
    }
    for param in &f.params {
        if let Some(attr) = param.arg.attrs.iter().find(|a| a.path().is_ident("cfg")) {
            errors.on(attr, format!("`cfg` on a parameter is not supported by #[{attribute}]"));
        }
    }
}

/// One of the two attributes itself, by whatever path.
pub(crate) fn is_ours(attr: &syn::Attribute) -> bool {
    attr.path().segments.last().is_some_and(|last| {
        [Role::Task, Role::Worker].iter().any(|role| last.ident == role.attribute())
    })
}

fn receiver(options: &Options, f: &TaskFn, errors: &mut Errors) {
    let Some(receiver) = &f.receiver else {
        if f.names_self_type() {
            errors.on(
                &f.sig.ident,
                "#[background_task] works on free functions and on methods with an owned receiver, \
                 not on associated functions without `self`: move it out of the `impl` block, \
                 or take `self: Arc<Self>`",
            );
        }
        return;
    };
    let borrowed = receiver.reference.is_some()
        || (receiver.colon_token.is_some() && !borrows(&receiver.ty).is_empty());
    if borrowed {
        errors.on(
            receiver,
            "a task outlives its caller, so it can't borrow `self`: take `self: Arc<Self>` or `self`",
        );
    }
    if let Companion::Named(name) = &options.companion {
        errors.on(name, "a method has no companion type: remove `companion`");
    }
    if let Some((Place::Mp, span)) = options.tt {
        errors.at(
            span,
            "a method can't run in a worker process, for `Self` can't be named there: \
             write a free function that takes the value",
        );
    }
}

/// A context that is not where, or not as, the supervisor gives it.
pub(crate) fn context(f: &TaskFn, errors: &mut Errors) {
    for ty in &f.misplaced {
        errors.on(
            ty,
            match (is_mut_reference(ty), f.role) {
                (true, Role::Task) => {
                    "a context is shared, never changed: write `&TaskContext<I, O>`"
                }
                (true, Role::Worker) => {
                    "a context is shared, never changed: write `&WorkerContext`"
                }
                (false, _) => "the supervisor gives the context: make it the first parameter",
            },
        );
    }
}

/// Whether it can run where it shall.
pub(crate) fn keys(options: &Options, f: &TaskFn, errors: &mut Errors) {
    let place = place(options, f);
    match (options.tt, &f.sig.asyncness) {
        (Some((Place::Async, span)), None) => errors
            .at(span, "tt = \"async\" needs an `async fn`: make it one, or use tt = \"thread\""),
        (Some((Place::Thread, span)), Some(_)) => errors.at(
            span,
            "an `async fn` runs on an aloop (tt = \"async\", the default for it) \
             or in a worker process (tt = \"mp\"), not on a pool thread",
        ),
        _ => {}
    }
    feature(place, options.tt.map_or_else(|| f.sig.ident.span(), |(_, span)| span), errors);
    only_for(options, place, errors);
}

/// What a place needs that is not switched on.
pub(crate) fn feature(place: Place, span: Span, errors: &mut Errors) {
    match place {
        Place::Mp if !cfg!(feature = "mp") => {
            errors.at(span, "tt = \"mp\" needs the feature `mp` of atasker");
        }
        Place::Async if !cfg!(feature = "async") => {
            errors.at(span, "async tasks need the feature `async` of atasker");
        }
        _ => {}
    }
}

/// Keys that mean something in one place only.
pub(crate) fn only_for(options: &Options, place: Place, errors: &mut Errors) {
    if let Some((key, _)) = &options.aloop
        && place != Place::Async
    {
        errors.on(key, "`aloop` is for tasks that run on one: async ones");
    }
    if let Some((key, _)) = &options.codec
        && place != Place::Mp
    {
        errors.on(key, "`codec` is for tasks in worker processes: add `tt = \"mp\"`");
    }
}

/// Threads and aloops: everything must be owned.
fn owned(options: &Options, f: &TaskFn, errors: &mut Errors) {
    for param in &f.params {
        if let Some(borrow) = borrows(&param.ty).iter().find(|borrow| !borrow.is_static) {
            let instead = match &param.ty {
                Type::Reference(reference) if reference.mutability.is_none() => {
                    owned_form(reference)
                }
                _ => "an owned value".to_owned(),
            };
            let or_mp = match &param.ty {
                Type::Reference(r) if r.mutability.is_none() && options.tt.is_none() => {
                    ", or say tt = \"mp\", which encodes what is borrowed"
                }
                _ => "",
            };
            errors.at(
                borrow.span,
                format!("a task outlives its caller, so it can't borrow: take {instead}{or_mp}"),
            );
        }
    }
}

pub(crate) fn owned_form(reference: &syn::TypeReference) -> String {
    let inner = &*reference.elem;
    match inner {
        Type::Path(path) if path.path.is_ident("str") => "`String`".to_owned(),
        Type::Path(path) if path.path.is_ident("Path") => "`PathBuf`".to_owned(),
        Type::Slice(slice) => {
            let item = &slice.elem;
            format!("`Vec<{}>`", quote::quote!(#item))
        }
        _ => "an owned value, or an `Arc` of it".to_owned(),
    }
}

/// Worker processes: everything must be able to travel.
fn process(options: &Options, f: &TaskFn, errors: &mut Errors) {
    if !concrete(options, f, errors) {
        return;
    }
    for param in &f.params {
        parameter(&param.ty, errors);
    }
    if let Some(context) = &f.context {
        for ty in [&context.receives, &context.sends] {
            if let Some(borrow) = borrows(ty).first() {
                errors.at(borrow.span, "messages travel to another process: they must be owned");
            }
        }
    }
    travels_back(&f.result(), errors);
}

/// The result of a call to a worker process.
pub(crate) fn travels_back(result: &Type, errors: &mut Errors) {
    if let Some(borrow) = borrows(result).first() {
        errors.at(
            borrow.span,
            "the result travels back from another process: it must be owned (`String` for `&str`)",
        );
    }
}

/// Whether all types are known where the function is written, as worker processes need it.
pub(crate) fn concrete(options: &Options, f: &TaskFn, errors: &mut Errors) -> bool {
    let at = options.tt.map_or_else(Span::call_site, |(_, span)| span);
    let generic = f.sig.generics.params.iter().find_map(|param| match param {
        GenericParam::Type(param) => Some(param.ident.to_string()),
        GenericParam::Const(param) => Some(param.ident.to_string()),
        GenericParam::Lifetime(_) => None,
    });
    if let Some(name) = generic {
        errors.at(
            at,
            format!(
                "a function with the generic parameter `{name}` can't run in a worker process, \
                 for one entry of its table is one function: write one with concrete types, \
                 or use tt = \"thread\""
            ),
        );
        return false;
    }
    let result = f.result();
    let types = f.params.iter().map(|param| &param.ty).chain([&result]);
    if types.into_iter().any(|ty| impl_trait(ty).is_some()) {
        errors.at(
            at,
            "a function with `impl Trait` can't run in a worker process, for the types of what \
             travels must be known: write concrete types, or use tt = \"thread\"",
        );
        return false;
    }
    true
}

/// A parameter of a call to a worker process.
pub(crate) fn parameter(ty: &Type, errors: &mut Errors) {
    let inner = match ty {
        Type::Reference(reference) => {
            if let Some(token) = &reference.mutability {
                errors.at(
                    token.span(),
                    "a worker process can't change the caller's data: take it by value or `&`, \
                     and return what changed",
                );
                return;
            }
            if let Some(lifetime) = reference.lifetime.as_ref().filter(|l| l.ident == "static") {
                errors.on(
                    lifetime,
                    "a worker process gets a copy, which does not live for ever: \
                     remove `'static`",
                );
                return;
            }
            &*reference.elem
        }
        ty => ty,
    };
    if let Some(borrow) = borrows(inner).first() {
        errors.at(
            borrow.span,
            "only a parameter that is itself a reference may borrow from the caller: \
             take an owned value here",
        );
    }
}
