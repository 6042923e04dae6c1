//! The rules of `#[background_worker]`: one error a mistake, at the tokens that must change.

use syn::Type;
use syn::spanned::Spanned;

use super::keys::Kind;
use super::own::Own;
use crate::args::{Options, Place};
use crate::check::{
    concrete, context, keys, owned_form, parameter, place, qualifiers, travels_back,
};
use crate::errors::Errors;
use crate::item::{Context, Param, Role, TaskFn, borrows, impl_trait};

/// Looks for what can't work.
pub(super) fn check(options: &Options, f: &TaskFn, errors: &mut Errors) {
    qualifiers(f, errors);
    free(f, errors);
    context(f, errors);
    no_task_context(f, errors);
    keys(options, f, errors);
    kind(options, errors);
    if errors.any() {
        // What follows would only repeat it in other words.
        return;
    }
    let mp = place(options, f) == Place::Mp;
    if mp && !concrete(options, f, errors) {
        return;
    }
    let mut params = f.params.iter();
    if options.worker.kind() == Kind::Queue {
        match params.next() {
            Some(param) => item(param, mp, errors),
            None => errors.on(
                &f.sig.ident,
                "a queue worker is given its item: make that the first parameter after the context",
            ),
        }
    }
    for param in params {
        own(param, mp, errors);
    }
    result(f, mp, errors);
}

fn free(f: &TaskFn, errors: &mut Errors) {
    let message = "#[background_worker] makes a worker of a free function, not of a method: \
                   move it out of the `impl` block, and take what it needs as parameters";
    if let Some(receiver) = &f.receiver {
        errors.on(receiver, message);
    } else if f.names_self_type() {
        errors.on(&f.sig.ident, message);
    }
}

/// The context of a task, where that of a worker is meant.
fn no_task_context(f: &TaskFn, errors: &mut Errors) {
    for (index, param) in f.params.iter().enumerate() {
        if let Some(found) = Context::find(Role::Task, &param.arg)
            && (found.by_ref || (index == 0 && f.context.is_none()))
        {
            errors.on(&param.ty, "a worker's context is another one: write `&WorkerContext`");
        }
    }
}

/// Keys that say what makes the runs.
fn kind(options: &Options, errors: &mut Errors) {
    let said = &options.worker;
    if let (Some((queue, _)), Some(event)) = (&said.queue, &said.event) {
        let _ = queue;
        errors.on(event, "a worker is of one kind: keep one of `queue` and `event`");
    } else if let Some(time) = said.time() {
        let other = match (&said.queue, &said.event) {
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
    if let (Some(_), Some((delay, _))) = (&said.interval, &said.delay) {
        errors.on(
            delay,
            "`interval` counts from start to start, `delay` from the end of a run to the next \
             start, so they exclude each other: keep one of the two",
        );
    }
    if let Some((overrun, _)) = &said.overrun
        && said.interval.is_none()
    {
        errors.on(
            overrun,
            match said.delay.is_some() {
                true => {
                    "`overrun` is about turns that were missed, and where `delay` counts from the \
                     end of a run there are none: use `interval`"
                }
                false => "`overrun` is about missed turns of an interval: add `interval = \"1s\"`",
            },
        );
    }
    if let Some((limit, _)) = &said.queue_limit
        && said.queue.is_none()
    {
        errors.on(limit, "`queue_limit` is for workers with a queue: add `queue`");
    }
}

/// An item is owned by the queue until its run.
fn item(param: &Param, mp: bool, errors: &mut Errors) {
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
            format!("an item waits in the queue, so it can't borrow: take {}", owned(&param.ty)),
        );
    } else if mp {
        parameter(&param.ty, errors);
    }
}

fn owned(ty: &Type) -> String {
    match ty {
        Type::Reference(reference) if reference.mutability.is_none() => owned_form(reference),
        _ => "an owned value".to_owned(),
    }
}

/// A parameter that the constructor is given.
fn own(param: &Param, mp: bool, errors: &mut Errors) {
    let inner = match (Own::of(param), &param.ty) {
        (Own::Cloned, ty) => ty,
        (Own::Lent | Own::Kept, Type::Reference(reference)) => {
            if let (true, Some(token)) = (mp, &reference.mutability) {
                errors.at(
                    token.span(),
                    "with tt = \"mp\" nothing can be kept between runs, for every run may be in \
                     another worker process: take it by value or `&`, or use tt = \"thread\"",
                );
                return;
            }
            &*reference.elem
        }
        _ => unreachable!("only references are lent or kept"),
    };
    if let Some(borrow) = borrows(inner).iter().find(|borrow| !borrow.is_static) {
        errors.at(
            borrow.span,
            "a worker outlives whoever makes it, so it can't borrow: take an owned value",
        );
    } else if let Type::TraitObject(object) = crate::item::bare(inner) {
        errors.on(
            object,
            match Own::of(param) {
                Own::Kept => {
                    "the worker can't keep a value without a size: take `&mut Box<dyn ..>`"
                }
                _ => "the worker can't keep a value without a size: take an `Arc<dyn ..>` by value",
            },
        );
    } else if mp {
        parameter(&param.ty, errors);
    }
}

/// The result goes to nobody who could have lent something to it.
fn result(f: &TaskFn, mp: bool, errors: &mut Errors) {
    let result = f.result();
    if mp {
        travels_back(&result, errors);
    } else if let Some(borrow) = borrows(&result).iter().find(|borrow| !borrow.is_static) {
        errors.at(borrow.span, "the result outlives the run, so it can't borrow: return it owned");
    }
}
