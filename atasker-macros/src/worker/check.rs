//! The rules of `#[background_worker]`. Each mistake is reported by one error, at the tokens to
//! change.

use syn::Type;
use syn::spanned::Spanned;

use super::captured::Captured;
use super::keys::Kind;
use crate::args::{Options, Place};
use crate::check::{
    check_serializable_param, check_serializable_result, concrete, context, keys, owned_form,
    place, qualifiers,
};
use crate::errors::Errors;
use crate::item::{Context, Param, Role, TaskFn, borrows, impl_trait};

/// Reports what can't work.
pub(super) fn check(options: &Options, f: &TaskFn, errors: &mut Errors) {
    qualifiers(f, errors);
    free(f, errors);
    context(f, errors);
    no_task_context(f, errors);
    if let Some((Place::Remote, span)) = options.tt {
        errors.at(
            span,
            "the runs of a background worker stay on this machine: launch a task with \
             `tt = \"remote\"` from a worker, or from a job",
        );
        return;
    }
    keys(options, f, errors);
    kind(options, errors);
    if errors.any() {
        // The checks below would report the same mistake again.
        return;
    }
    let place = place(options, f);
    if place == Place::Mp && !concrete(options, f, errors) {
        return;
    }
    let mut params = f.params.iter();
    if options.worker.kind() == Kind::Queue {
        match params.next() {
            Some(param) => item(param, place, errors),
            None => errors.on(
                &f.sig.ident,
                "a queue worker needs a parameter for its item: make it the first one after the \
                 context",
            ),
        }
    }
    for param in params {
        captured_param(param, place, errors);
    }
    result(f, place, errors);
}

fn free(f: &TaskFn, errors: &mut Errors) {
    let message = "#[background_worker] works on free functions, not on methods: \
                   move it out of the `impl` block, and take what it needs as parameters";
    if let Some(receiver) = &f.receiver {
        errors.on(receiver, message);
    } else if f.names_self_type() {
        errors.on(&f.sig.ident, message);
    }
}

/// Reports the context of a task where that of a worker is needed.
fn no_task_context(f: &TaskFn, errors: &mut Errors) {
    for (index, param) in f.params.iter().enumerate() {
        if let Some(found) = Context::find(Role::Task, &param.arg)
            && (found.by_ref || (index == 0 && f.context.is_none()))
        {
            errors.on(&param.ty, "a background worker has another context: write `&WorkerContext`");
        }
    }
}

/// Reports keys of different kinds of workers.
fn kind(options: &Options, errors: &mut Errors) {
    let keys = &options.worker;
    if let (Some((queue, _)), Some(event)) = (&keys.queue, &keys.event) {
        let _ = queue;
        errors.on(event, "a worker has one kind: keep one of `queue` and `event`");
    } else if let Some(time) = keys.time() {
        let other = match (&keys.queue, &keys.event) {
            (Some(_), _) => Some(("queue", "when an item is put")),
            (_, Some(_)) => Some(("event", "when it is triggered")),
            _ => None,
        };
        if let Some((other, when)) = other {
            errors.on(
                time,
                format!(
                    "a worker with `{other}` runs {when}, not by the clock: \
                     keep one of `{other}` and `{time}`"
                ),
            );
        }
    }
    if let (Some(_), Some((delay, _))) = (&keys.interval, &keys.delay) {
        errors.on(
            delay,
            "`interval` counts from start to start, `delay` from the end of a run to the next \
             start, so they exclude each other: keep one of the two",
        );
    }
    if let Some((overrun, _)) = &keys.overrun
        && keys.interval.is_none()
    {
        errors.on(
            overrun,
            match keys.delay.is_some() {
                true => {
                    "`overrun` applies to missed runs of an interval, and a `delay` between runs has \
                     none: use `interval`"
                }
                false => "`overrun` applies to missed runs of an interval: add `interval = \"1s\"`",
            },
        );
    }
    if let Some((limit, _)) = &keys.queue_limit
        && keys.queue.is_none()
    {
        errors.on(limit, "`queue_limit` applies to workers with a queue: add `queue`");
    }
}

/// Reports an item that the queue can't own until its run.
fn item(param: &Param, place: Place, errors: &mut Errors) {
    if impl_trait(&param.ty).is_some() {
        errors.on(
            &param.ty,
            "the type of the items is part of the worker's type: write a concrete or a generic type",
        );
        return;
    }
    if let Some(borrow) = borrows(&param.ty).iter().find(|borrow| !borrow.is_static) {
        errors.at(
            borrow.span,
            format!(
                "an item is stored in the queue, so it can't borrow: take {}",
                owned(&param.ty)
            ),
        );
    } else if place == Place::Mp {
        check_serializable_param(&param.ty, place, errors);
    }
}

fn owned(ty: &Type) -> String {
    match ty {
        Type::Reference(reference) if reference.mutability.is_none() => owned_form(reference),
        _ => "an owned value".to_owned(),
    }
}

/// Reports a parameter that the worker can't own.
fn captured_param(param: &Param, place: Place, errors: &mut Errors) {
    let inner = match (Captured::of(param), &param.ty) {
        (Captured::Cloned, ty) => ty,
        (Captured::Borrowed | Captured::State, Type::Reference(reference)) => {
            if let (Place::Mp, Some(token)) = (place, &reference.mutability) {
                errors.at(
                    token.span(),
                    "a worker with tt = \"mp\" can't keep state between runs, because each run may \
                     use another worker process: take it by value or by `&`, or use tt = \"thread\"",
                );
                return;
            }
            &*reference.elem
        }
        _ => unreachable!("only references are borrowed or state"),
    };
    if let Some(borrow) = borrows(inner).iter().find(|borrow| !borrow.is_static) {
        errors.at(
            borrow.span,
            "a worker may outlive the caller of its constructor, so it can't borrow: \
             take an owned value",
        );
    } else if let Type::TraitObject(object) = crate::item::bare(inner) {
        errors.on(
            object,
            match Captured::of(param) {
                Captured::State => "the worker can't own an unsized value: take `&mut Box<dyn ..>`",
                _ => "the worker can't own an unsized value: take an `Arc<dyn ..>` by value",
            },
        );
    } else if place == Place::Mp {
        check_serializable_param(&param.ty, place, errors);
    }
}

/// Reports a result that borrows. Its parameters belong to the run, which ends before the result is
/// used.
fn result(f: &TaskFn, place: Place, errors: &mut Errors) {
    let result = f.result();
    if place == Place::Mp {
        check_serializable_result(&result, errors);
    } else if let Some(borrow) = borrows(&result).iter().find(|borrow| !borrow.is_static) {
        errors.at(
            borrow.span,
            "the result outlives the run, so it can't borrow: return an owned value",
        );
    }
}
