//! Parses the keys of the attributes and of `background!`, and keeps their spans.

use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;
use syn::ext::IdentExt;
use syn::parse::ParseStream;
use syn::spanned::Spanned;
use syn::{Expr, ExprLit, ExprPath, Ident, Lit, LitStr, Token};

use crate::crate_path::CratePath;
use crate::duration_syntax;
use crate::errors::{Errors, nearest};
use crate::hygiene::{error_span, quote};
use crate::policies::{self, Policies};
use crate::remote_keys::RemoteKeys;
use crate::worker::{self, WorkerKeys};

/// Where a task runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Thread,
    Mp,
    Async,
    /// On a node of a cluster.
    Remote,
}

impl Place {
    /// Returns where a task runs that doesn't run in this process, for messages.
    pub(crate) fn elsewhere(self) -> &'static str {
        if self == Place::Remote { "on another machine" } else { "in a worker process" }
    }
}

/// The companion type to generate.
pub(crate) enum Companion {
    /// It has the name of the function.
    Same,
    Named(Ident),
    None,
}

/// The macro whose keys are parsed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// `#[background_task]`.
    Attribute,
    /// `background!`.
    Call,
    /// `map!`.
    Map,
    /// `#[background_worker]`.
    Worker,
}

/// The keys that a macro supports.
pub(crate) struct KeySet {
    pub(crate) keys: &'static [&'static str],
    /// Keys that may be used without a value.
    pub(crate) flags: &'static [&'static str],
    /// Names that other libraries use, with the key to suggest.
    pub(crate) aliases: &'static [(&'static str, &'static str)],
    /// Values that are likely to be written without their key.
    pub(crate) values: &'static [(&'static str, &'static str)],
    /// Keys of another macro that this one can't support, with what to do instead.
    pub(crate) elsewhere: &'static [(&'static str, &'static str)],
}

/// The values of the keys, with the tokens of the keys that errors point at.
pub(crate) struct Options {
    pub(crate) tt: Option<(Place, Span)>,
    /// The name of the task. A literal is also the name in the function table.
    pub(crate) name: Option<Expr>,
    pub(crate) retries: Option<(Ident, TokenStream)>,
    pub(crate) aloop: Option<(Ident, Expr)>,
    pub(crate) codec: Option<(Ident, Codec)>,
    pub(crate) policies: Policies,
    pub(crate) remote: RemoteKeys,
    pub(crate) companion: Companion,
    /// The path of the facade in generated code.
    pub(crate) krate: CratePath,
    /// The keys of a background worker.
    pub(crate) worker: WorkerKeys,
    /// Calls of the builder's setters, for the keys that need nothing else.
    setters: Vec<TokenStream>,
}

/// The encoding of values that are sent to a worker process.
#[derive(Clone, Copy)]
pub(crate) enum Codec {
    Bincode,
    Msgpack,
}

const TASK_KEYS: KeySet = KeySet {
    keys: &[
        "priority",
        "tt",
        "name",
        "delay",
        "timeout",
        "retries",
        "retry_delay",
        "backoff",
        "retry_if",
        "expires",
        "limit",
        "unique",
        "unique_for",
        "queue",
        "redeliver",
        "version",
        "cluster",
        "callback",
        "supervisor",
        "aloop",
        "span",
        "companion",
        "codec",
        "crate",
    ],
    flags: &[],
    aliases: &[
        ("prio", "priority"),
        ("task_type", "tt"),
        ("type", "tt"),
        ("kind", "tt"),
        ("retry", "retries"),
        ("max_retries", "retries"),
        ("back_off", "backoff"),
        ("retry_on", "retry_if"),
        ("retry_when", "retry_if"),
        ("expiry", "expires"),
        ("ttl", "expires"),
        ("concurrency", "limit"),
        ("rate", "limit"),
        ("throttle", "limit"),
        ("dedup", "unique"),
        ("unique_by", "unique"),
        ("unique_ttl", "unique_for"),
        ("dedup_for", "unique_for"),
        ("dedup_window", "unique_for"),
        ("queue_name", "queue"),
        ("routing_key", "queue"),
        ("topic", "queue"),
        ("redelivery", "redeliver"),
        ("max_deliver", "redeliver"),
        ("max_redeliver", "redeliver"),
        ("reject_on_worker_lost", "redeliver"),
        ("revision", "version"),
        ("ver", "version"),
        ("broker", "cluster"),
        ("nats", "cluster"),
        ("on_complete", "callback"),
        ("on_done", "callback"),
        ("after", "delay"),
        ("sup", "supervisor"),
        ("r#loop", "aloop"),
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
    ],
    elsewhere: &[],
};

const MAP_KEYS: KeySet = KeySet {
    keys: &["priority", "tt", "name", "supervisor", "codec", "crate"],
    flags: &[],
    aliases: TASK_KEYS.aliases,
    values: TASK_KEYS.values,
    elsewhere: &[],
};

impl Syntax {
    fn key_set(self) -> &'static KeySet {
        match self {
            Syntax::Map => &MAP_KEYS,
            Syntax::Attribute | Syntax::Call => &TASK_KEYS,
            Syntax::Worker => &worker::KEYS,
        }
    }
}

impl KeySet {
    /// Returns the key with that name or alias, or the one with the most similar name.
    fn resolve(&self, name: &str) -> Option<&'static str> {
        if self.elsewhere.iter().any(|(key, _)| *key == name) {
            return None;
        }
        let exact = self.keys.iter().find(|key| **key == name).copied();
        let of_alias = |key: &&str| self.keys.contains(key);
        let alias = || self.aliases.iter().find(|(alias, _)| *alias == name).map(|(_, key)| *key);
        let alias = || alias().filter(of_alias);
        exact.or_else(alias).or_else(|| nearest(name, self.keys))
    }

    fn unknown(&self, name: &str) -> String {
        if let Some((_, message)) = self.elsewhere.iter().find(|(key, _)| *key == name) {
            return (*message).to_owned();
        }
        match self.resolve(name) {
            Some(key) => format!("unknown key `{name}`: did you mean `{key}`?"),
            None => format!("unknown key `{name}`: the keys are {}", list(self.keys)),
        }
    }

    /// Returns the message for a name without `=`.
    fn no_value(&self, name: &str, syntax: Syntax) -> String {
        if let Some((_, key)) = self.values.iter().find(|(value, _)| *value == name) {
            return format!("expected `key = value`: did you mean `{key} = \"{name}\"`?");
        }
        match self.keys.contains(&name) {
            true => format!("`{name}` needs a value: write `{}`", example(name, syntax)),
            false => self.unknown(name),
        }
    }
}

impl Options {
    /// Parses `key = value, ...`. Mistakes are added to `errors`, and the remaining keys are used.
    pub(crate) fn parse(input: ParseStream<'_>, syntax: Syntax, errors: &mut Errors) -> Options {
        let mut options = Options {
            tt: None,
            name: None,
            retries: None,
            aloop: None,
            codec: None,
            policies: Policies::default(),
            remote: RemoteKeys::default(),
            companion: Companion::Same,
            krate: input
                .fork()
                .parse::<TokenStream>()
                .map_or_else(|_| CratePath::default(), CratePath::find_in),
            worker: WorkerKeys::default(),
            setters: Vec::new(),
        };
        let mut seen: Vec<String> = Vec::new();
        while !input.is_empty() {
            if let Err(error) = options.parse_one(input, syntax, &mut seen, errors) {
                // The remaining tokens can't be parsed reliably after a syntax error.
                errors.push(error);
                let _ = input.parse::<TokenStream>();
            }
        }
        options
    }

    fn parse_one(
        &mut self,
        input: ParseStream<'_>,
        syntax: Syntax,
        seen: &mut Vec<String>,
        errors: &mut Errors,
    ) -> syn::Result<()> {
        if !input.peek(Ident::peek_any) {
            return Err(input.error("expected `key = value`, for example `priority = \"low\"`"));
        }
        let key = input.call(Ident::parse_any)?;
        let name = key.to_string();
        let key_set = syntax.key_set();
        let value = if input.peek(Token![=]) {
            input.parse::<Token![=]>()?;
            if input.is_empty() || input.peek(Token![,]) {
                return Err(syn::Error::new(
                    key.span(),
                    format!("the value is missing: write `{}`", example(&name, syntax)),
                ));
            }
            Some(without_groups(input.parse::<Expr>()?))
        } else if key_set.flags.contains(&name.as_str()) {
            None
        } else {
            if let Some(key) = key_set.resolve(&name) {
                self.worker.record(key);
            }
            return Err(syn::Error::new(key.span(), key_set.no_value(&name, syntax)));
        };
        let no_comma = (!input.is_empty() && !input.peek(Token![,]))
            .then(|| input.error("expected `,` before the next key"));
        let _ = input.parse::<Option<Token![,]>>()?;

        if let Some(key) = key_set.resolve(&name) {
            self.worker.record(key);
        }
        if !key_set.keys.contains(&name.as_str()) {
            errors.at(key.span(), key_set.unknown(&name));
        } else if seen.contains(&name) {
            errors.at(key.span(), format!("`{name}` is given twice: keep one of the two"));
        } else if let Err(error) = self.set(&key, &name, value, syntax) {
            errors.push(error);
        }
        seen.push(name);
        no_comma.map_or(Ok(()), Err)
    }

    fn set(
        &mut self,
        key: &Ident,
        name: &str,
        value: Option<Expr>,
        syntax: Syntax,
    ) -> syn::Result<()> {
        if syntax == Syntax::Worker && WorkerKeys::KEYS.contains(&name) {
            return self.worker.set(key, name, value);
        }
        let value = value.expect("only flags go without");
        if RemoteKeys::KEYS.contains(&name) {
            return self.remote.set(key, name, value);
        }
        match name {
            "tt" => self.tt = Some((place(&value)?, value.span())),
            "priority" => {
                let value = priority(value, syntax, &self.krate)?;
                self.setter(key, "priority", value);
            }
            "name" => {
                not_literal_but_str(&value, "a name is a string: write `name = \"resize\"`")?;
                self.name = Some(value);
            }
            "delay" | "timeout" | "retry_delay" | "expires" => {
                if name == "retry_delay" {
                    self.policies.retry_delay = Some(key.clone());
                }
                let value = duration(name, value)?;
                self.setter(key, name, value);
            }
            "backoff" => {
                self.policies.backoff = Some(key.clone());
                let value = policies::backoff(value, &self.krate)?;
                self.setter(key, name, value);
            }
            "retry_if" => {
                self.policies.retry_if = Some(key.clone());
                let value = policies::retry_if(value)?;
                self.setter(key, name, value);
            }
            "limit" => self.policies.limit = Some((key.clone(), policies::limit(value)?)),
            "unique" => self.policies.unique = Some((key.clone(), policies::unique(value)?)),
            "retries" => {
                self.policies.retries = Some(key.clone());
                if let Some(value) = retries(value)? {
                    self.retries = Some((key.clone(), value));
                }
            }
            "callback" => {
                function(&value, "a callback", "Result<R, TaskError>", "", name, "on_done")?;
                self.setter(key, "on_complete", quote!(#value));
            }
            "on_error" => {
                let returns = " -> ControlFlow<()>";
                function(&value, "`on_error`", "WorkerError", returns, name, "handle_error")?;
                self.setter(key, name, quote!(#value));
            }
            "supervisor" => {
                if let Expr::Lit(_) = &value {
                    return Err(syn::Error::new(
                        value.span(),
                        "a supervisor is an expression of type `&Supervisor`: \
                         write `supervisor = &MINE`",
                    ));
                }
                self.setter(key, "supervisor", quote!(#value));
            }
            "aloop" => {
                not_literal_but_str(
                    &value,
                    "the name of an aloop is a string: write `aloop = \"io\"`",
                )?;
                self.aloop = Some((key.clone(), value));
            }
            "span" => {
                let value = span(value)?;
                self.setter(key, name, value);
            }
            "companion" => {
                if syntax == Syntax::Call {
                    return Err(syn::Error::new(
                        key.span(),
                        "`companion` is a key of #[background_task]: a call has no companion type",
                    ));
                }
                self.companion = companion(value)?;
            }
            "codec" => self.codec = Some((key.clone(), codec(&value)?)),
            "crate" => self.krate = CratePath::from_expr(&value)?,
            _ => unreachable!("every key of the list is handled"),
        }
        Ok(())
    }

    fn setter(&mut self, key: &Ident, method: &str, value: TokenStream) {
        let method = Ident::new(method, key.span());
        self.setters.push(quote!(.#method(#value)));
    }

    /// Returns the calls of the builder's setters, except that of the name.
    pub(crate) fn setters(&self) -> TokenStream {
        let mut calls: TokenStream = self.setters.iter().cloned().collect();
        if let Some((key, value)) = &self.retries {
            let method = Ident::new("retries", key.span());
            calls.extend(quote!(.#method(#value)));
        }
        if let Some((key, value)) = &self.aloop {
            let method = Ident::new("aloop", key.span());
            calls.extend(quote!(.#method(#value)));
        }
        calls.extend(self.policies.setters(!self.is_remote()));
        calls.extend(self.remote.setters());
        calls
    }

    fn is_remote(&self) -> bool {
        matches!(self.tt, Some((Place::Remote, _)))
    }

    /// Returns the statements that must precede the use of the arguments: they evaluate expressions
    /// over the parameters.
    pub(crate) fn bindings(&self) -> TokenStream {
        self.policies.bindings(&self.krate, self.is_remote())
    }

    /// Returns the statement that sets the key of a remote task, which is encoded, for `__builder`.
    pub(crate) fn encoded_key(&self) -> Option<TokenStream> {
        let is_unique = self.is_remote() && self.policies.unique.is_some();
        is_unique.then(|| quote!(let __builder = __unique.unique(__builder);))
    }

    /// Returns the value of the key `name` if it is a literal.
    pub(crate) fn literal_name(&self) -> Option<&LitStr> {
        match &self.name {
            Some(Expr::Lit(ExprLit { lit: Lit::Str(name), .. })) => Some(name),
            _ => None,
        }
    }

    /// Returns a statement that fails to compile, at `tt = "mp"`, on platforms without worker
    /// processes.
    pub(crate) fn needs_processes(&self) -> TokenStream {
        let at = error_span(self.tt.map_or_else(Span::call_site, |(_, span)| span));
        let krate = self.krate.at(at);
        quote_spanned!(at=> #krate::__private::needs_worker_processes!();)
    }

    /// Returns the codec of calls in this place. The programs of a cluster may be different builds,
    /// so the default there is the codec that names fields.
    pub(crate) fn codec(&self, place: Place) -> Codec {
        match (&self.codec, place) {
            (Some((_, codec)), _) => *codec,
            (None, Place::Remote) => Codec::Msgpack,
            (None, Place::Mp | Place::Thread | Place::Async) => Codec::Bincode,
        }
    }

    /// Returns the type of the codec of calls in worker processes.
    pub(crate) fn format(&self) -> TokenStream {
        self.codec(Place::Mp).format(&self.krate)
    }
}

impl Codec {
    /// Returns the type of the codec.
    pub(crate) fn format(self, krate: &CratePath) -> TokenStream {
        match self {
            Codec::Msgpack => quote!(#krate::__private::Msgpack),
            Codec::Bincode => quote!(#krate::__private::Bincode),
        }
    }

    /// Returns the value of the key.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Codec::Bincode => "bincode",
            Codec::Msgpack => "msgpack",
        }
    }
}

fn list(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}

fn example(key: &str, syntax: Syntax) -> String {
    let value = match key {
        "priority" => "\"low\"",
        "tt" => "\"mp\"",
        "name" => "\"resize\"",
        "delay" | "timeout" | "retry_delay" => "\"5s\"",
        "backoff" => "\"100ms..30s\"",
        "retry_if" => "is_busy",
        "expires" => "\"30s\"",
        "limit" => "&RATE",
        "unique" => "(user_id)",
        "unique_for" => "\"5m\"",
        "redeliver" | "version" => "1",
        "cluster" => "&MINE",
        "interval" | "delay_before" => "\"1s\"",
        "queue_limit" => "100",
        "overrun" => "\"burst\"",
        "queue" if syntax == Syntax::Worker => "\"priority\"",
        "queue" => "\"gpu\"",
        "process_result" => "|result| println!(\"{result:?}\")",
        "on_error" => "|_| ControlFlow::Break(())",
        "retries" => "3",
        "callback" => "|result| println!(\"{result:?}\")",
        "supervisor" => "&MINE",
        "aloop" => "\"io\"",
        "span" | "companion" => "false",
        "codec" => "\"msgpack\"",
        "crate" => "my_name_for_atasker",
        _ => "...",
    };
    format!("{key} = {value}")
}

/// Removes the invisible groups that a `macro_rules!` macro puts around its arguments.
pub(crate) fn without_groups(value: Expr) -> Expr {
    match value {
        Expr::Group(group) if group.attrs.is_empty() => without_groups(*group.expr),
        value => value,
    }
}

pub(crate) fn str_literal(value: &Expr) -> Option<&LitStr> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text),
        Expr::Group(group) => str_literal(&group.expr),
        _ => None,
    }
}

/// Returns the identifier of a path of one segment, which may be a string whose quotes are missing.
pub(crate) fn ident_text(value: &Expr) -> Option<String> {
    match value {
        Expr::Path(ExprPath { qself: None, path, .. }) => Some(path.get_ident()?.to_string()),
        _ => None,
    }
}

pub(crate) fn not_literal_but_str(value: &Expr, message: &str) -> syn::Result<()> {
    match value {
        Expr::Lit(_) if str_literal(value).is_none() => Err(syn::Error::new(value.span(), message)),
        _ => Ok(()),
    }
}

pub(crate) fn choose<T: Copy>(
    what: &str,
    key: &str,
    text: &str,
    span: Span,
    choices: &[(&str, T)],
    aliases: &[(&str, &str)],
) -> syn::Result<T> {
    if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == text) {
        return Ok(*choice);
    }
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    let suggestion = aliases
        .iter()
        .find(|(alias, _)| *alias == text.to_lowercase())
        .map(|(_, name)| *name)
        .or_else(|| nearest(text, &names));
    let known = names.iter().map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(", ");
    Err(syn::Error::new(
        span,
        match suggestion {
            Some(name) => {
                format!("no {what} is named \"{text}\": did you mean `{key} = \"{name}\"`?")
            }
            None => format!("no {what} is named \"{text}\": `{key}` is one of {known}"),
        },
    ))
}

fn place(value: &Expr) -> syn::Result<Place> {
    let choices = [
        ("thread", Place::Thread),
        ("mp", Place::Mp),
        ("async", Place::Async),
        ("remote", Place::Remote),
    ];
    let aliases = [
        ("process", "mp"),
        ("multiprocessing", "mp"),
        ("proc", "mp"),
        ("fork", "mp"),
        ("coroutine", "async"),
        ("future", "async"),
        ("tokio", "async"),
        ("threads", "thread"),
        ("cluster", "remote"),
        ("distributed", "remote"),
        ("nats", "remote"),
        ("node", "remote"),
    ];
    if let Some(text) = str_literal(value) {
        return choose("task type", "tt", &text.value(), text.span(), &choices, &aliases);
    }
    let message = match ident_text(value) {
        Some(text) if choices.iter().any(|(name, _)| *name == text) => {
            format!("a task type is a string: write `tt = \"{text}\"`")
        }
        _ => "`tt` is one of the strings \"thread\", \"mp\", \"async\", \"remote\"".to_owned(),
    };
    Err(syn::Error::new(value.span(), message))
}

pub(crate) fn priority(value: Expr, syntax: Syntax, krate: &CratePath) -> syn::Result<TokenStream> {
    let choices =
        [("low", "Low"), ("normal", "Normal"), ("high", "High"), ("critical", "Critical")];
    if let Some(text) = str_literal(&value) {
        let aliases = [("urgent", "critical"), ("medium", "normal"), ("default", "normal")];
        let variant =
            choose("priority", "priority", &text.value(), text.span(), &choices, &aliases)?;
        let variant = Ident::new(variant, text.span());
        return Ok(quote!(#krate::Priority::#variant));
    }
    if let Expr::Lit(_) = value {
        return Err(syn::Error::new(
            value.span(),
            "a priority is one of \"low\", \"normal\", \"high\", \"critical\", \
             or an expression of type `Priority`",
        ));
    }
    // In a call, a variable may have that name.
    if !matches!(syntax, Syntax::Call | Syntax::Map)
        && let Some(text) = ident_text(&value)
        && choices.iter().any(|(name, _)| *name == text)
    {
        return Err(syn::Error::new(
            value.span(),
            format!("a priority is a string or an expression: write `priority = \"{text}\"`"),
        ));
    }
    Ok(quote!(#value))
}

fn codec(value: &Expr) -> syn::Result<Codec> {
    let choices = [("bincode", Codec::Bincode), ("msgpack", Codec::Msgpack)];
    match str_literal(value) {
        Some(text) => {
            let aliases = [("messagepack", "msgpack"), ("rmp", "msgpack"), ("json", "msgpack")];
            choose("codec", "codec", &text.value(), text.span(), &choices, &aliases)
        }
        None => Err(syn::Error::new(
            value.span(),
            match ident_text(value) {
                Some(text) if text == "bincode" || text == "msgpack" => {
                    format!("a codec is a string: write `codec = \"{text}\"`")
                }
                _ => "`codec` is one of the strings \"bincode\", \"msgpack\"".to_owned(),
            },
        )),
    }
}

/// Parses a string such as `"250ms"`, or an expression of type `Duration`.
pub(crate) fn duration(key: &str, value: Expr) -> syn::Result<TokenStream> {
    if let Some(text) = str_literal(&value) {
        let span = text.span();
        let duration = duration_syntax::parse(&text.value()).map_err(|reason| {
            syn::Error::new(
                span,
                format!("{reason}: write a duration like `{key} = \"250ms\"`, \"5s\" or \"2m\""),
            )
        })?;
        let (secs, nanos) = (duration.as_secs(), duration.subsec_nanos());
        return Ok(quote_spanned!(error_span(span)=> ::core::time::Duration::new(#secs, #nanos)));
    }
    match &value {
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) if number.suffix().is_empty() => {
            Err(syn::Error::new(
                value.span(),
                format!("a duration needs its unit: write `{key} = \"{number}s\"`"),
            ))
        }
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => Err(syn::Error::new(
            value.span(),
            format!("a duration must be in quotes: write `{key} = \"{number}\"`"),
        )),
        Expr::Lit(_) => Err(syn::Error::new(
            value.span(),
            format!(
                "a duration is a string or an expression of type `Duration`: \
                 write `{key} = \"250ms\"`, \"5s\" or \"2m\""
            ),
        )),
        _ => Ok(quote!(#value)),
    }
}

/// Returns a duration of less than 585 years in nanoseconds.
pub(crate) fn nanoseconds(text: &str) -> Result<u64, String> {
    let nanos = duration_syntax::parse(text)?.as_nanos();
    u64::try_from(nanos).map_err(|_| format!("\"{text}\" is too long"))
}

/// Checks that a value may be a `bool`.
fn span(value: Expr) -> syn::Result<TokenStream> {
    match &value {
        Expr::Lit(ExprLit { lit: Lit::Bool(_), .. }) => {}
        Expr::Lit(_) => {
            return Err(syn::Error::new(
                value.span(),
                "`span` is `true` or `false`: write `span = false` for a task without a tracing span",
            ));
        }
        _ => {}
    }
    Ok(quote!(#value))
}

/// Parses the number of retries. Returns `None` for zero, the default.
fn retries(value: Expr) -> syn::Result<Option<TokenStream>> {
    let bad = |value: &Expr| {
        syn::Error::new(
            value.span(),
            "`retries` is the number of times that the task may run again, an integer: \
             write `retries = 3`",
        )
    };
    match &value {
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => {
            let count: u32 = number.base10_parse().map_err(|_| bad(&value))?;
            if !matches!(number.suffix(), "" | "u32") {
                return Err(bad(&value));
            }
            Ok((count > 0).then(|| quote!(#value)))
        }
        Expr::Lit(_) => Err(bad(&value)),
        Expr::Unary(unary) if matches!(unary.op, syn::UnOp::Neg(_)) => Err(bad(&value)),
        _ => Ok(Some(quote!(#value))),
    }
}

/// Checks that a value is the path of a function with one parameter, `&takes`, or a closure.
pub(crate) fn function(
    value: &Expr,
    what: &str,
    takes: &str,
    returns: &str,
    key: &str,
    example: &str,
) -> syn::Result<()> {
    match value {
        Expr::Lit(_) => Err(syn::Error::new(
            value.span(),
            format!(
                "{what} is the path of a `fn(&{takes}){returns}`, or a closure: \
                 write `{key} = {example}`"
            ),
        )),
        Expr::Closure(closure) if closure.inputs.len() != 1 => {
            let name = if key == "on_error" { "error" } else { "result" };
            Err(syn::Error::new(
                value.span(),
                format!("{what} takes one argument, `&{takes}`: write `{key} = |{name}| ..`"),
            ))
        }
        _ => Ok(()),
    }
}

fn companion(value: Expr) -> syn::Result<Companion> {
    match &value {
        Expr::Lit(ExprLit { lit: Lit::Bool(flag), .. }) if !flag.value => Ok(Companion::None),
        Expr::Path(ExprPath { qself: None, path, .. }) if path.get_ident().is_some() => {
            Ok(Companion::Named(path.get_ident().cloned().expect("just seen")))
        }
        _ => Err(syn::Error::new(
            value.span(),
            match str_literal(&value).map(LitStr::value) {
                Some(text) if syn::parse_str::<Ident>(&text).is_ok() => {
                    format!(
                        "the companion is an identifier, not a string: write `companion = {text}`"
                    )
                }
                _ => {
                    "`companion` is the name of the companion type, or `false` for none".to_owned()
                }
            },
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_key_suggests_known_one() {
        assert!(TASK_KEYS.unknown("prioriy").contains("did you mean `priority`?"));
        assert!(TASK_KEYS.unknown("on_complete").contains("did you mean `callback`?"));
        assert!(TASK_KEYS.unknown("colour").contains("`retry_delay`"));
        assert!(TASK_KEYS.no_value("mp", Syntax::Attribute).contains("tt = \"mp\""));
        assert!(TASK_KEYS.no_value("timeout", Syntax::Attribute).contains("timeout = \"5s\""));
    }
}
