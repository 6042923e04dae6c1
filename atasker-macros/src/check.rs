//! The rules that need both the keys and the function. Each mistake is reported by one error, which
//! points at the tokens to change and says what to write instead.
//!
//! A macro sees only the function. Two mistakes are therefore hard to detect:
//!
//! * An associated function without `self` that never uses `Self` looks like a free function: see
//!   `surroundings`. Where that finds nothing, the compiler reports the companion type, which can't be
//!   part of an `impl` block.
//! * A method in the `impl` block of a trait looks like one in an inherent `impl` block. The
//!   compiler reports the hidden method with its body, which is not a member of the trait.

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::{GenericParam, Type};

use crate::args::{Companion, Options, Place};
use crate::errors::Errors;
use crate::item::{Role, TaskFn, borrows, impl_trait, is_mut_reference};
use crate::surroundings;

/// Returns where the function runs: the value of `tt`, or the default for its kind.
pub(crate) fn place(options: &Options, f: &TaskFn) -> Place {
    match options.tt {
        Some((place, _)) => place,
        None if f.sig.asyncness.is_some() => Place::Async,
        None => Place::Thread,
    }
}

/// Reports what can't work.
pub(crate) fn check(options: &Options, f: &TaskFn, errors: &mut Errors) {
    qualifiers(f, errors);
    receiver(options, f, errors);
    context(f, errors);
    keys(options, f, errors);
    options.policies.check(errors);
    options.policies.check_parameters(f, errors);
    options.remote.check(&options.policies, errors);
    if errors.any() {
        // The checks below would report the same mistake again.
        return;
    }
    match place(options, f) {
        Place::Mp | Place::Remote => process(options, f, errors),
        Place::Thread | Place::Async => owned(options, f, errors),
    }
}

/// Reports qualifiers and attributes that neither attribute supports.
pub(crate) fn qualifiers(f: &TaskFn, errors: &mut Errors) {
    let (attribute, noun) = (f.role.attribute(), f.role.noun());
    if let Some(attr) = f.attrs.body.iter().find(|attr| is_own_attribute(attr)) {
        errors.on(
            attr,
            match attr.path().segments.last().is_some_and(|last| last.ident == attribute) {
                true => format!("#[{attribute}] is given twice: put all keys into one"),
                false => "a function can't be both a task and a worker: keep one attribute, \
                          and write a second function that calls the first"
                    .to_owned(),
            },
        );
    }
    if let Some(token) = &f.sig.unsafety {
        errors.on(
            token,
            format!(
                "an unsafe fn can't be a {noun}, because its safety requirements can't be checked \
                 when it runs: wrap it in a safe fn"
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
                Role::Task => "a const fn can't be a task, because a launch can't be const",
                Role::Worker => {
                    "a const fn can't be a worker, because its constructor can't be const"
                }
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

/// Returns whether the attribute is one of our two, by any path.
pub(crate) fn is_own_attribute(attr: &syn::Attribute) -> bool {
    attr.path().segments.last().is_some_and(|last| {
        [Role::Task, Role::Worker].iter().any(|role| last.ident == role.attribute())
    })
}

/// Returns whether the function is known to be an associated one without `self`.
pub(crate) fn is_associated(options: &Options, f: &TaskFn) -> bool {
    // Only the companion type can't be in an `impl` block.
    let has_companion = !matches!(options.companion, Companion::None);
    f.receiver.is_none()
        && (f.names_self_type() || (has_companion && surroundings::is_associated(&f.sig.ident)))
}

fn receiver(options: &Options, f: &TaskFn, errors: &mut Errors) {
    let Some(receiver) = &f.receiver else {
        if is_associated(options, f) {
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
            "a task may outlive its caller, so it can't borrow `self`: take `self: Arc<Self>` or `self`",
        );
    }
    if let Companion::Named(name) = &options.companion {
        errors.on(name, "a method has no companion type: remove `companion`");
    }
    if let Some((place @ (Place::Mp | Place::Remote), span)) = options.tt {
        errors.at(
            span,
            format!(
                "a method can't run {}, because `Self` can't be named there: write a free function \
                 that takes the value",
                place.elsewhere(),
            ),
        );
    }
}

/// Reports contexts that are not the first parameter, or are mutable references.
pub(crate) fn context(f: &TaskFn, errors: &mut Errors) {
    for ty in &f.misplaced_contexts {
        errors.on(
            ty,
            match (is_mut_reference(ty), f.role) {
                (true, Role::Task) => {
                    "a context is shared, so it can't be `&mut`: write `&TaskContext<I, O>`"
                }
                (true, Role::Worker) => {
                    "a context is shared, so it can't be `&mut`: write `&WorkerContext`"
                }
                (false, _) => {
                    "the supervisor passes the context as the first argument: make it the first \
                     parameter"
                }
            },
        );
    }
}

/// Reports keys that don't fit the function or its place.
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
    check_feature(place, options.tt.map_or_else(|| f.sig.ident.span(), |(_, span)| span), errors);
    check_place_keys(options, place, errors);
}

/// Reports a place whose feature is not enabled.
pub(crate) fn check_feature(place: Place, span: Span, errors: &mut Errors) {
    let (is_enabled, message) = match place {
        Place::Thread => return,
        Place::Mp => (cfg!(feature = "mp"), "tt = \"mp\" needs the feature `mp` of atasker"),
        Place::Async => {
            (cfg!(feature = "async"), "async tasks need the feature `async` of atasker")
        }
        Place::Remote => (
            cfg!(feature = "remote"),
            "tt = \"remote\" needs the feature `nats` of atasker, or `remote` for a cluster in one \
             process",
        ),
    };
    if !is_enabled {
        errors.at(span, message);
    }
}

/// Reports keys that apply to another place.
pub(crate) fn check_place_keys(options: &Options, place: Place, errors: &mut Errors) {
    if let Some((key, _)) = &options.aloop
        && place != Place::Async
    {
        errors.on(key, "`aloop` applies to async tasks only");
    }
    if let Some((key, _)) = &options.codec
        && !matches!(place, Place::Mp | Place::Remote)
    {
        errors.on(key, "`codec` applies to tasks in worker processes only: add `tt = \"mp\"`");
    }
    if place != Place::Remote {
        for key in options.remote.given() {
            errors.on(
                key,
                format!("`{key}` applies to tasks on other machines only: add `tt = \"remote\"`"),
            );
        }
    }
}

/// Reports borrows in the parameters of a task on a thread or an aloop.
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
                    ", or use tt = \"mp\", which encodes borrowed arguments"
                }
                _ => "",
            };
            errors.at(
                borrow.span,
                format!("a task may outlive its caller, so it can't borrow: take {instead}{or_mp}"),
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

/// Reports what can't be sent to, or from, another process.
fn process(options: &Options, f: &TaskFn, errors: &mut Errors) {
    if !concrete(options, f, errors) {
        return;
    }
    for param in &f.params {
        check_serializable_param(&param.ty, place(options, f), errors);
    }
    if let Some(context) = &f.context {
        for ty in [&context.receives, &context.sends] {
            if let Some(borrow) = borrows(ty).first() {
                errors
                    .at(borrow.span, "messages are sent to another process, so they must be owned");
            }
        }
    }
    check_serializable_result(&f.result(), errors);
}

/// Reports a result that another process can't send.
pub(crate) fn check_serializable_result(result: &Type, errors: &mut Errors) {
    if let Some(borrow) = borrows(result).first() {
        errors.at(
            borrow.span,
            "the result is sent from another process, so it must be owned (`String` for `&str`)",
        );
    }
}

/// Returns whether all types are known where the function is defined, which other processes
/// require.
pub(crate) fn concrete(options: &Options, f: &TaskFn, errors: &mut Errors) -> bool {
    let at = options.tt.map_or_else(Span::call_site, |(_, span)| span);
    let elsewhere = place(options, f).elsewhere();
    let generic = f.sig.generics.params.iter().find_map(|param| match param {
        GenericParam::Type(param) => Some(param.ident.to_string()),
        GenericParam::Const(param) => Some(param.ident.to_string()),
        GenericParam::Lifetime(_) => None,
    });
    if let Some(name) = generic {
        errors.at(
            at,
            format!(
                "a function with the generic parameter `{name}` can't run {elsewhere}, \
                 because each entry of the function table is one concrete function: write one with \
                 concrete types, or use tt = \"thread\""
            ),
        );
        return false;
    }
    let result = f.result();
    let types = f.params.iter().map(|param| &param.ty).chain([&result]);
    if types.into_iter().any(|ty| impl_trait(ty).is_some()) {
        errors.at(
            at,
            format!(
                "a function with `impl Trait` can't run {elsewhere}, because the types of \
                 arguments and results must be known: write concrete types, or use tt = \"thread\""
            ),
        );
        return false;
    }
    true
}

/// Reports a parameter that can't be sent to another process.
pub(crate) fn check_serializable_param(ty: &Type, place: Place, errors: &mut Errors) {
    let other = if place == Place::Remote { "another machine" } else { "a worker process" };
    let inner = match ty {
        Type::Reference(reference) => {
            if let Some(token) = &reference.mutability {
                errors.at(
                    token.span(),
                    format!(
                        "{other} can't change the caller's data: take it by value or by `&`, \
                         and return what changed"
                    ),
                );
                return;
            }
            if let Some(lifetime) = reference.lifetime.as_ref().filter(|l| l.ident == "static") {
                errors.on(
                    lifetime,
                    format!(
                        "{other} decodes its own copy, which is not `'static`: remove `'static`"
                    ),
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
