//! The keys that only a background worker has.

use proc_macro2::TokenStream;
use quote::quote;
use syn::spanned::Spanned;
use syn::{Expr, ExprLit, Ident, Lit};

use crate::args::{Words, choose, duration, function, nanoseconds, string, word};

pub(crate) const WORDS: Words = Words {
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
        ("limit", "queue_limit"),
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
    ],
    values: &[
        ("mp", "tt"),
        ("thread", "tt"),
        ("async", "tt"),
        ("low", "priority"),
        ("normal", "priority"),
        ("high", "priority"),
        ("critical", "priority"),
        ("fifo", "queue"),
        ("skip", "overrun"),
        ("burst", "overrun"),
    ],
};

/// The order of a queue.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Fifo,
    Priority,
}

/// What was said, each with the key that said it.
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
    /// By the keys that were meant, also where they or their values are wrong.
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
    if let Some(text) = string(value) {
        let aliases = [("ordered", "priority"), ("heap", "priority"), ("sorted", "priority")];
        return choose("order", "queue", &text.value(), text.span(), &choices, &aliases);
    }
    let message = match word(value) {
        Some(word) if choices.iter().any(|(name, _)| *name == word) => {
            format!("the order of a queue is a string: write `queue = \"{word}\"`")
        }
        _ => "`queue` stands alone, or says the order: write `queue` or `queue = \"priority\"`"
            .to_owned(),
    };
    Err(syn::Error::new(value.span(), message))
}

fn overrun(value: &Expr) -> syn::Result<Ident> {
    let choices = [("skip", "Skip"), ("burst", "Burst")];
    if let Some(text) = string(value) {
        let aliases = [("catch_up", "burst"), ("drop", "skip"), ("ignore", "skip")];
        let variant = choose("overrun", "overrun", &text.value(), text.span(), &choices, &aliases)?;
        return Ok(Ident::new(variant, text.span()));
    }
    let message = match word(value) {
        Some(word) if choices.iter().any(|(name, _)| *name == word) => {
            format!("`overrun` is a string: write `overrun = \"{word}\"`")
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
            "`queue_limit` is how many items may wait, a whole number from 1: \
             write `queue_limit = 100`",
        ));
    }
    Ok(())
}

fn not_zero(value: &Expr) -> syn::Result<()> {
    if string(value).is_some_and(|text| nanoseconds(&text.value()) == Ok(0)) {
        return Err(syn::Error::new(
            value.span(),
            "an interval of zero is no interval: leave `interval` out, and the worker runs again \
             and again",
        ));
    }
    Ok(())
}

impl WorkerKeys {
    /// What makes its runs, besides `queue` and `event`: a key about time.
    pub(crate) fn time(&self) -> Option<&Ident> {
        [&self.interval, &self.delay, &self.delay_before]
            .into_iter()
            .find_map(|said| said.as_ref().map(|(key, _)| key))
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// That key was meant.
    pub(crate) fn note(&mut self, key: &str) {
        let kind = match key {
            "interval" | "delay" | "delay_before" | "overrun" => Kind::Interval,
            "event" => Kind::Event,
            "queue" | "queue_limit" => Kind::Queue,
            _ => Kind::Loop,
        };
        self.kind = self.kind.max(kind);
    }

    /// A builder of the worker; one with a queue gets that later.
    pub(crate) fn builder(&self) -> TokenStream {
        let mut builder = match (self.kind(), &self.interval, &self.delay) {
            (Kind::Loop, ..) => quote!(::atasker::LoopWorker::builder()),
            (Kind::Queue | Kind::Event, ..) => quote!(::atasker::EventWorker::builder()),
            (_, Some((_, interval)), _) => quote!(::atasker::IntervalWorker::builder(#interval)),
            (_, _, Some((_, delay))) => quote!(::atasker::IntervalWorker::with_delay(#delay)),
            _ => quote!(::atasker::IntervalWorker::with_delay(::core::time::Duration::ZERO)),
        };
        if let Some((key, delay)) = &self.delay_before {
            let method = Ident::new("delay_before", key.span());
            builder.extend(quote!(.#method(#delay)));
        }
        if let Some((_, variant)) = &self.overrun {
            builder.extend(quote!(.overrun(::atasker::Overrun::#variant)));
        }
        builder
    }
}

/// The kinds of workers. Where keys of two are given, which is a mistake, the latter is assumed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Kind {
    #[default]
    Loop,
    Interval,
    Event,
    Queue,
}
