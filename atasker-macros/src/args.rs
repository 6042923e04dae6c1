//! The keys of the attributes and of `background!`, parsed with their spans.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::ParseStream;
use syn::spanned::Spanned;
use syn::{Expr, ExprLit, ExprPath, Ident, Lit, LitStr, Token};

use crate::errors::{Errors, nearest};
use crate::worker::{self, WorkerKeys};

/// Where a task runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Thread,
    Mp,
    Async,
}

/// What becomes of the companion type.
pub(crate) enum Companion {
    /// It has the function's name.
    Same,
    Named(Ident),
    None,
}

/// Who reads the keys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `#[background_task]`.
    Attribute,
    /// `background!`.
    Call,
    /// `#[background_worker]`.
    Worker,
}

/// The words that a form knows.
pub(crate) struct Words {
    pub(crate) keys: &'static [&'static str],
    /// Keys that may stand without a value.
    pub(crate) flags: &'static [&'static str],
    /// What people write who come from elsewhere, and the key that they mean.
    pub(crate) aliases: &'static [(&'static str, &'static str)],
    /// Values that are written without their key.
    pub(crate) values: &'static [(&'static str, &'static str)],
}

/// What was said, each with the key that said it.
pub(crate) struct Options {
    pub(crate) tt: Option<(Place, Span)>,
    /// The name as it stands in the table of functions, if it is a literal.
    pub(crate) name: Option<Expr>,
    pub(crate) retries: Option<(Ident, TokenStream)>,
    pub(crate) aloop: Option<(Ident, Expr)>,
    pub(crate) codec: Option<(Ident, Codec)>,
    pub(crate) companion: Companion,
    /// Those of a background worker.
    pub(crate) worker: WorkerKeys,
    /// Calls of the builder's setters for the keys that need nothing else.
    setters: Vec<TokenStream>,
}

/// How values travel to a worker process.
#[derive(Clone, Copy)]
pub(crate) enum Codec {
    Bincode,
    Msgpack,
}

const TASK: Words = Words {
    keys: &[
        "priority",
        "tt",
        "name",
        "delay",
        "timeout",
        "retries",
        "retry_delay",
        "callback",
        "supervisor",
        "aloop",
        "companion",
        "codec",
    ],
    flags: &[],
    aliases: &[
        ("prio", "priority"),
        ("task_type", "tt"),
        ("type", "tt"),
        ("kind", "tt"),
        ("retry", "retries"),
        ("max_retries", "retries"),
        ("backoff", "retry_delay"),
        ("on_complete", "callback"),
        ("on_done", "callback"),
        ("limit", "timeout"),
        ("after", "delay"),
        ("sup", "supervisor"),
        ("r#loop", "aloop"),
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
    ],
};

impl Form {
    fn words(self) -> &'static Words {
        match self {
            Form::Attribute | Form::Call => &TASK,
            Form::Worker => &worker::WORDS,
        }
    }
}

impl Words {
    /// The key that is meant by a word, rightly written or not.
    fn meant(&self, name: &str) -> Option<&'static str> {
        let right = self.keys.iter().find(|key| **key == name).copied();
        let alias = || self.aliases.iter().find(|(alias, _)| *alias == name).map(|(_, key)| *key);
        right.or_else(alias).or_else(|| nearest(name, self.keys))
    }

    fn unknown(&self, name: &str) -> String {
        match self.meant(name) {
            Some(key) => format!("unknown key `{name}`: did you mean `{key}`?"),
            None => format!("unknown key `{name}`: the keys are {}", list(self.keys)),
        }
    }

    /// The message for a word without `=`.
    fn no_value(&self, name: &str) -> String {
        if let Some((_, key)) = self.values.iter().find(|(value, _)| *value == name) {
            return format!("expected `key = value`: did you mean `{key} = \"{name}\"`?");
        }
        match self.keys.contains(&name) {
            true => format!("`{name}` needs a value: write `{}`", example(name)),
            false => self.unknown(name),
        }
    }
}

impl Options {
    /// Reads `key = value, ...`. What is wrong goes to `errors`; the rest is used.
    pub(crate) fn parse(input: ParseStream<'_>, form: Form, errors: &mut Errors) -> Options {
        let mut options = Options {
            tt: None,
            name: None,
            retries: None,
            aloop: None,
            codec: None,
            companion: Companion::Same,
            worker: WorkerKeys::default(),
            setters: Vec::new(),
        };
        let mut seen: Vec<String> = Vec::new();
        while !input.is_empty() {
            if let Err(error) = options.parse_one(input, form, &mut seen, errors) {
                // What follows can't be told apart from the mistake.
                errors.push(error);
                let _ = input.parse::<TokenStream>();
            }
        }
        options
    }

    fn parse_one(
        &mut self,
        input: ParseStream<'_>,
        form: Form,
        seen: &mut Vec<String>,
        errors: &mut Errors,
    ) -> syn::Result<()> {
        if !input.peek(Ident::peek_any) {
            return Err(input.error("expected `key = value`, for example `priority = \"low\"`"));
        }
        let key = input.call(Ident::parse_any)?;
        let name = key.to_string();
        let words = form.words();
        let value = if input.peek(Token![=]) {
            input.parse::<Token![=]>()?;
            if input.is_empty() || input.peek(Token![,]) {
                return Err(syn::Error::new(
                    key.span(),
                    format!("the value is missing: write `{}`", example(&name)),
                ));
            }
            Some(input.parse::<Expr>()?)
        } else if words.flags.contains(&name.as_str()) {
            None
        } else {
            if let Some(meant) = words.meant(&name) {
                self.worker.note(meant);
            }
            return Err(syn::Error::new(key.span(), words.no_value(&name)));
        };
        let no_comma = (!input.is_empty() && !input.peek(Token![,]))
            .then(|| input.error("expected `,` before the next key"));
        let _ = input.parse::<Option<Token![,]>>()?;

        if let Some(meant) = words.meant(&name) {
            self.worker.note(meant);
        }
        if !words.keys.contains(&name.as_str()) {
            errors.at(key.span(), words.unknown(&name));
        } else if seen.contains(&name) {
            errors.at(key.span(), format!("`{name}` is given twice: keep one of the two"));
        } else if let Err(error) = self.set(&key, &name, value, form) {
            errors.push(error);
        }
        seen.push(name);
        no_comma.map_or(Ok(()), Err)
    }

    fn set(&mut self, key: &Ident, name: &str, value: Option<Expr>, form: Form) -> syn::Result<()> {
        if form == Form::Worker && WorkerKeys::KEYS.contains(&name) {
            return self.worker.set(key, name, value);
        }
        let value = value.expect("only flags go without");
        match name {
            "tt" => self.tt = Some((place(&value)?, value.span())),
            "priority" => {
                let value = priority(value, form)?;
                self.setter(key, "priority", value);
            }
            "name" => {
                not_literal_but_str(&value, "a name is a string: write `name = \"resize\"`")?;
                self.name = Some(value);
            }
            "delay" | "timeout" | "retry_delay" => {
                let value = duration(name, value)?;
                self.setter(key, name, value);
            }
            "retries" => {
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
                function(&value, "`on_error`", "WorkerError", returns, name, "told")?;
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
                    "an aloop is named by a string: write `aloop = \"io\"`",
                )?;
                self.aloop = Some((key.clone(), value));
            }
            "companion" => {
                if form == Form::Call {
                    return Err(syn::Error::new(
                        key.span(),
                        "`companion` is a key of #[background_task]: a call has no companion type",
                    ));
                }
                self.companion = companion(value)?;
            }
            "codec" => self.codec = Some((key.clone(), codec(&value)?)),
            _ => unreachable!("every key of the list is handled"),
        }
        Ok(())
    }

    fn setter(&mut self, key: &Ident, method: &str, value: TokenStream) {
        let method = Ident::new(method, key.span());
        self.setters.push(quote!(.#method(#value)));
    }

    /// The calls of setters that a builder needs. The name is not among them.
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
        calls
    }

    /// The `name` key, where it is a literal.
    pub(crate) fn literal_name(&self) -> Option<&LitStr> {
        match &self.name {
            Some(Expr::Lit(ExprLit { lit: Lit::Str(name), .. })) => Some(name),
            _ => None,
        }
    }

    /// The type that reads and writes values.
    pub(crate) fn format(&self) -> TokenStream {
        match self.codec {
            Some((_, Codec::Msgpack)) => quote!(::atasker::__private::Msgpack),
            Some((_, Codec::Bincode)) | None => quote!(::atasker::__private::Bincode),
        }
    }
}

fn list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn example(key: &str) -> String {
    let value = match key {
        "priority" => "\"low\"",
        "tt" => "\"mp\"",
        "name" => "\"resize\"",
        "delay" | "timeout" | "retry_delay" => "\"5s\"",
        "interval" | "delay_before" => "\"1s\"",
        "queue_limit" => "100",
        "overrun" => "\"burst\"",
        "queue" => "\"priority\"",
        "process_result" => "|result| println!(\"{result:?}\")",
        "on_error" => "|_| ControlFlow::Break(())",
        "retries" => "3",
        "callback" => "|result| println!(\"{result:?}\")",
        "supervisor" => "&MINE",
        "aloop" => "\"io\"",
        "companion" => "false",
        "codec" => "\"msgpack\"",
        _ => "...",
    };
    format!("{key} = {value}")
}

pub(crate) fn string(value: &Expr) -> Option<&LitStr> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text),
        Expr::Group(group) => string(&group.expr),
        _ => None,
    }
}

/// A path of a single word: what is written when the quotes are forgotten.
pub(crate) fn word(value: &Expr) -> Option<String> {
    match value {
        Expr::Path(ExprPath { qself: None, path, .. }) => Some(path.get_ident()?.to_string()),
        _ => None,
    }
}

pub(crate) fn not_literal_but_str(value: &Expr, message: &str) -> syn::Result<()> {
    match value {
        Expr::Lit(_) if string(value).is_none() => Err(syn::Error::new(value.span(), message)),
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
    let meant = aliases
        .iter()
        .find(|(alias, _)| *alias == text.to_lowercase())
        .map(|(_, name)| *name)
        .or_else(|| nearest(text, &names));
    let known = names.iter().map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(", ");
    Err(syn::Error::new(
        span,
        match meant {
            Some(name) => {
                format!("no {what} is named \"{text}\": did you mean `{key} = \"{name}\"`?")
            }
            None => format!("no {what} is named \"{text}\": `{key}` is one of {known}"),
        },
    ))
}

fn place(value: &Expr) -> syn::Result<Place> {
    let choices = [("thread", Place::Thread), ("mp", Place::Mp), ("async", Place::Async)];
    let aliases = [
        ("process", "mp"),
        ("multiprocessing", "mp"),
        ("proc", "mp"),
        ("fork", "mp"),
        ("coroutine", "async"),
        ("future", "async"),
        ("tokio", "async"),
        ("threads", "thread"),
    ];
    if let Some(text) = string(value) {
        return choose("task type", "tt", &text.value(), text.span(), &choices, &aliases);
    }
    let message = match word(value) {
        Some(word) if choices.iter().any(|(name, _)| *name == word) => {
            format!("a task type is a string: write `tt = \"{word}\"`")
        }
        _ => "`tt` is one of the strings \"thread\", \"mp\", \"async\"".to_owned(),
    };
    Err(syn::Error::new(value.span(), message))
}

pub(crate) fn priority(value: Expr, form: Form) -> syn::Result<TokenStream> {
    let choices =
        [("low", "Low"), ("normal", "Normal"), ("high", "High"), ("critical", "Critical")];
    if let Some(text) = string(&value) {
        let aliases = [("urgent", "critical"), ("medium", "normal"), ("default", "normal")];
        let variant =
            choose("priority", "priority", &text.value(), text.span(), &choices, &aliases)?;
        let variant = Ident::new(variant, text.span());
        return Ok(quote!(::atasker::Priority::#variant));
    }
    if let Expr::Lit(_) = value {
        return Err(syn::Error::new(
            value.span(),
            "a priority is one of \"low\", \"normal\", \"high\", \"critical\", \
             or an expression of type `Priority`",
        ));
    }
    // In a call, a variable may have that name.
    if form != Form::Call
        && let Some(word) = word(&value)
        && choices.iter().any(|(name, _)| *name == word)
    {
        return Err(syn::Error::new(
            value.span(),
            format!("a priority is a string or an expression: write `priority = \"{word}\"`"),
        ));
    }
    Ok(quote!(#value))
}

fn codec(value: &Expr) -> syn::Result<Codec> {
    let choices = [("bincode", Codec::Bincode), ("msgpack", Codec::Msgpack)];
    match string(value) {
        Some(text) => {
            let aliases = [("messagepack", "msgpack"), ("rmp", "msgpack"), ("json", "msgpack")];
            choose("codec", "codec", &text.value(), text.span(), &choices, &aliases)
        }
        None => Err(syn::Error::new(
            value.span(),
            match word(value) {
                Some(word) if word == "bincode" || word == "msgpack" => {
                    format!("a codec is a string: write `codec = \"{word}\"`")
                }
                _ => "`codec` is one of the strings \"bincode\", \"msgpack\"".to_owned(),
            },
        )),
    }
}

/// `"250ms"` and its like, or an expression of type `Duration`.
pub(crate) fn duration(key: &str, value: Expr) -> syn::Result<TokenStream> {
    if let Some(text) = string(&value) {
        let span = text.span();
        let nanos = nanoseconds(&text.value()).map_err(|why| {
            syn::Error::new(
                span,
                format!("{why}: write a duration like `{key} = \"250ms\"`, \"5s\" or \"2m\""),
            )
        })?;
        return Ok(quote_spanned!(span=> ::core::time::Duration::from_nanos(#nanos)));
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
            format!("a duration stands in quotes: write `{key} = \"{number}\"`"),
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

/// The units, the shortest first.
const UNITS: [(&str, u64); 6] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

pub(crate) fn nanoseconds(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'));
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let (number, unit) = (number.replace('_', ""), unit.trim());
    if number.is_empty() {
        return Err(format!("\"{text}\" is no duration"));
    }
    if unit.is_empty() {
        return Err(format!("the unit of \"{text}\" is missing"));
    }
    let unit = match unit {
        "µs" => "us",
        "min" => "m",
        "sec" => "s",
        unit => unit,
    };
    let Some((_, unit)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(format!("\"{unit}\" is no unit of time (us, ms, s, m, h)"));
    };
    let too_long = || format!("\"{text}\" is too long");
    match number.split_once('.') {
        None => {
            let number: u64 = number.parse().map_err(|_| too_long())?;
            number.checked_mul(*unit).ok_or_else(too_long)
        }
        Some(_) => {
            let number: f64 = number.parse().map_err(|_| format!("\"{text}\" is no duration"))?;
            let nanos = number * *unit as f64;
            if nanos < u64::MAX as f64 { Ok(nanos.round() as u64) } else { Err(too_long()) }
        }
    }
}

/// `None`: zero, which is the same as nothing said.
fn retries(value: Expr) -> syn::Result<Option<TokenStream>> {
    let bad = |value: &Expr| {
        syn::Error::new(
            value.span(),
            "`retries` is how many more times it may run, a whole number: write `retries = 3`",
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

/// The path of a function of one argument, `&takes`, or a closure.
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
            match string(&value).map(LitStr::value) {
                Some(text) if syn::parse_str::<Ident>(&text).is_ok() => {
                    format!("the companion is named without quotes: write `companion = {text}`")
                }
                _ => "`companion` is a name for the companion type, or `false` for none".to_owned(),
            },
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(nanoseconds("250ms"), Ok(250_000_000));
        assert_eq!(nanoseconds("5s"), Ok(5_000_000_000));
        assert_eq!(nanoseconds("2m"), Ok(120_000_000_000));
        assert_eq!(nanoseconds("1_000us"), Ok(1_000_000));
        assert_eq!(nanoseconds("1.5s"), Ok(1_500_000_000));
        assert_eq!(nanoseconds("3 h"), Ok(10_800_000_000_000));
        for wrong in ["", "5", "s", "5x", "99999999999h", "1.2.3s", "-1s"] {
            assert!(nanoseconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn unknown_keys_name_the_right_one() {
        assert!(TASK.unknown("prioriy").contains("did you mean `priority`?"));
        assert!(TASK.unknown("on_complete").contains("did you mean `callback`?"));
        assert!(TASK.unknown("colour").contains("`retry_delay`"));
        assert!(TASK.no_value("mp").contains("tt = \"mp\""));
        assert!(TASK.no_value("timeout").contains("timeout = \"5s\""));
    }
}
