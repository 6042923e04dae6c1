//! The keys that only a background worker has.

use proc_macro2::TokenStream;
use syn::spanned::Spanned;
use syn::{Expr, ExprLit, Ident, Lit};

use crate::args::{KeySet, choose, duration, function, ident_text, nanoseconds, str_literal};
use crate::crate_path::CratePath;
use crate::hygiene::quote;

pub(crate) const KEYS: KeySet = KeySet {
    keys: &[
        "interval",
        "delay",
        "delay_before",
        "overrun",
        "queue",
        "queue_limit",
        "event",
        "priority",
        "tt",
        "name",
        "supervisor",
        "aloop",
        "process_result",
        "on_error",
        "codec",
        "crate",
    ],
    flags: &["queue", "event"],
    aliases: &[
        ("every", "interval"),
        ("period", "interval"),
        ("pause", "delay"),
        ("delay_after", "delay"),
        ("first", "delay_before"),
        ("after", "delay_before"),
        ("q", "queue"),
        ("maxsize", "queue_limit"),
        ("trigger", "event"),
        ("missed", "overrun"),
        ("prio", "priority"),
        ("task_type", "tt"),
        ("type", "tt"),
        ("callback", "process_result"),
        ("on_result", "process_result"),
        ("error_handler", "on_error"),
        ("on_err", "on_error"),
        ("sup", "supervisor"),
        ("format", "codec"),
        ("krate", "crate"),
    ],
    values: &[
        ("mp", "tt"),
        ("thread", "tt"),
        ("async", "tt"),
        ("remote", "tt"),
        ("low", "priority"),
        ("normal", "priority"),
        ("high", "priority"),
        ("critical", "priority"),
        ("fifo", "queue"),
        ("skip", "overrun"),
        ("burst", "overrun"),
    ],
    elsewhere: &[
        (
            "backoff",
            "a background worker takes no `backoff`, because a run that fails is not repeated: \
             launch a task with `retries` and `backoff` from the worker",
        ),
        (
            "retry_if",
            "a background worker takes no `retry_if`, because a run that fails is not repeated: \
             launch a task with `retries` and `retry_if` from the worker",
        ),
        (
            "expires",
            "a background worker takes no `expires`, because its runs are not launched one by one: \
             launch a task with `expires` from the worker",
        ),
        (
            "limit",
            "a background worker takes no `limit`, because its runs are not launched one by one: \
             launch a task with `limit` from the worker (`queue_limit` limits the items in a queue)",
        ),
        (
            "unique",
            "a background worker takes no `unique`, because its runs never overlap: launch a task \
             with `unique` from the worker",
        ),
        (
            "unique_for",
            "a background worker takes no `unique_for`, because its runs never overlap: launch a task \
             with `unique` and `unique_for` from the worker",
        ),
        ("redeliver", LOCAL_RUNS),
        ("version", LOCAL_RUNS),
        ("cluster", LOCAL_RUNS),
    ],
};

const LOCAL_RUNS: &str = "the runs of a background worker stay on this machine: launch a task with \
    `tt = \"remote\"` from the worker";

/// The order of a queue.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Fifo,
    Priority,
}

/// The values of the keys, each with the tokens of its key.
#[derive(Default)]
pub(crate) struct WorkerKeys {
    pub(crate) interval: Option<(Ident, TokenStream)>,
    pub(crate) delay: Option<(Ident, TokenStream)>,
    pub(crate) delay_before: Option<(Ident, TokenStream)>,
    /// The name of a variant of `Overrun`.
    pub(crate) overrun: Option<(Ident, Ident)>,
    pub(crate) queue: Option<(Ident, Order)>,
    pub(crate) queue_limit: Option<(Ident, Expr)>,
    pub(crate) event: Option<Ident>,
    pub(crate) process_result: Option<Expr>,
    /// Derived from the keys as they were resolved, even if their values are invalid.
    kind: Kind,
}

impl WorkerKeys {
    pub(crate) const KEYS: [&str; 8] = [
        "interval",
        "delay",
        "delay_before",
        "overrun",
        "queue",
        "queue_limit",
        "event",
        "process_result",
    ];

    pub(crate) fn set(&mut self, key: &Ident, name: &str, value: Option<Expr>) -> syn::Result<()> {
        let key = key.clone();
        match (name, value) {
            ("event", None) => self.event = Some(key),
            ("event", Some(value)) => {
                return Err(syn::Error::new(
                    value.span(),
                    "`event` has no value: write `event` alone",
                ));
            }
            ("queue", None) => self.queue = Some((key, Order::Fifo)),
            ("queue", Some(value)) => self.queue = Some((key, order(&value)?)),
            ("interval", Some(value)) => {
                not_zero(&value)?;
                self.interval = Some((key, duration(name, value)?));
            }
            ("delay", Some(value)) => self.delay = Some((key, duration(name, value)?)),
            ("delay_before", Some(value)) => {
                self.delay_before = Some((key, duration(name, value)?));
            }
            ("overrun", Some(value)) => self.overrun = Some((key, overrun(&value)?)),
            ("queue_limit", Some(value)) => {
                queue_limit(&value)?;
                self.queue_limit = Some((key, value));
            }
            ("process_result", Some(value)) => {
                function(&value, "`process_result`", "R", "", name, "on_result")?;
                self.process_result = Some(value);
            }
            _ => unreachable!("every key of the list is handled, and only flags go without value"),
        }
        Ok(())
    }
}

fn order(value: &Expr) -> syn::Result<Order> {
    let choices = [("fifo", Order::Fifo), ("priority", Order::Priority)];
    if let Some(text) = str_literal(value) {
        let aliases = [("ordered", "priority"), ("heap", "priority"), ("sorted", "priority")];
        return choose("order", "queue", &text.value(), text.span(), &choices, &aliases);
    }
    let message = match ident_text(value) {
        Some(text) if choices.iter().any(|(name, _)| *name == text) => {
            format!("the order of a queue is a string: write `queue = \"{text}\"`")
        }
        _ => {
            "`queue` takes no value or an order: write `queue` or `queue = \"priority\"`".to_owned()
        }
    };
    Err(syn::Error::new(value.span(), message))
}

fn overrun(value: &Expr) -> syn::Result<Ident> {
    let choices = [("skip", "Skip"), ("burst", "Burst")];
    if let Some(text) = str_literal(value) {
        let aliases = [("catch_up", "burst"), ("drop", "skip"), ("ignore", "skip")];
        let variant = choose("overrun", "overrun", &text.value(), text.span(), &choices, &aliases)?;
        return Ok(Ident::new(variant, text.span()));
    }
    let message = match ident_text(value) {
        Some(text) if choices.iter().any(|(name, _)| *name == text) => {
            format!("`overrun` is a string: write `overrun = \"{text}\"`")
        }
        _ => "`overrun` is one of the strings \"skip\", \"burst\"".to_owned(),
    };
    Err(syn::Error::new(value.span(), message))
}

fn queue_limit(value: &Expr) -> syn::Result<()> {
    let bad = match value {
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => {
            number.base10_parse::<usize>().map_or(true, |limit| limit == 0)
                || !matches!(number.suffix(), "" | "usize")
        }
        Expr::Lit(_) => true,
        Expr::Unary(unary) => matches!(unary.op, syn::UnOp::Neg(_)),
        _ => false,
    };
    if bad {
        return Err(syn::Error::new(
            value.span(),
            "`queue_limit` is the maximum number of queued items, an integer of at least 1: \
             write `queue_limit = 100`",
        ));
    }
    Ok(())
}

fn not_zero(value: &Expr) -> syn::Result<()> {
    if str_literal(value).is_some_and(|text| nanoseconds(&text.value()) == Ok(0)) {
        return Err(syn::Error::new(
            value.span(),
            "an interval must not be zero: remove `interval` to run the worker in a loop",
        ));
    }
    Ok(())
}

impl WorkerKeys {
    /// Returns the first key about time: one that conflicts with `queue` and `event`.
    pub(crate) fn time(&self) -> Option<&Ident> {
        [&self.interval, &self.delay, &self.delay_before]
            .into_iter()
            .find_map(|given| given.as_ref().map(|(key, _)| key))
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Records a resolved key, which may determine the kind.
    pub(crate) fn record(&mut self, key: &str) {
        let kind = match key {
            "interval" | "delay" | "delay_before" | "overrun" => Kind::Interval,
            "event" => Kind::Event,
            "queue" | "queue_limit" => Kind::Queue,
            _ => Kind::Loop,
        };
        self.kind = self.kind.max(kind);
    }

    /// Returns the builder of the worker. A queue worker starts as an event worker, and
    /// `__atasker_worker` adds the queue.
    pub(crate) fn builder(&self, krate: &CratePath) -> TokenStream {
        let mut builder = match (self.kind(), &self.interval, &self.delay) {
            (Kind::Loop, ..) => quote!(#krate::LoopWorker::builder()),
            (Kind::Queue | Kind::Event, ..) => quote!(#krate::EventWorker::builder()),
            (_, Some((_, interval)), _) => quote!(#krate::IntervalWorker::builder(#interval)),
            (_, _, Some((_, delay))) => quote!(#krate::IntervalWorker::with_delay(#delay)),
            _ => quote!(#krate::IntervalWorker::with_delay(::core::time::Duration::ZERO)),
        };
        if let Some((key, delay)) = &self.delay_before {
            let method = Ident::new("delay_before", key.span());
            builder.extend(quote!(.#method(#delay)));
        }
        if let Some((_, variant)) = &self.overrun {
            builder.extend(quote!(.overrun(#krate::Overrun::#variant)));
        }
        builder
    }
}

/// The kinds of workers. If the keys of two kinds are given, which is an error, the later variant
/// is assumed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Kind {
    #[default]
    Loop,
    Interval,
    Event,
    Queue,
}
