//! The keys that only a task on other machines has: `queue`, `redeliver`, `version`, `cluster` and
//! `unique_for`.

use proc_macro2::{Ident, TokenStream};
use syn::spanned::Spanned;
use syn::{Expr, ExprLit, Lit};

use crate::args::{duration, ident_text, not_literal_but_str, str_literal};
use crate::errors::Errors;
use crate::hygiene::quote;
use crate::policies::Policies;

/// The values of the keys, each with the tokens of its key.
#[derive(Default)]
pub(crate) struct RemoteKeys {
    queue: Option<(Ident, TokenStream)>,
    redeliver: Option<(Ident, TokenStream)>,
    version: Option<(Ident, TokenStream)>,
    cluster: Option<(Ident, TokenStream)>,
    unique_for: Option<(Ident, TokenStream)>,
}

/// A name of a queue is part of names at the broker, which have more characters with a meaning.
const MAX_QUEUE: usize = 64;

impl RemoteKeys {
    pub(crate) const KEYS: [&str; 5] = ["queue", "redeliver", "version", "cluster", "unique_for"];

    pub(crate) fn set(&mut self, key: &Ident, name: &str, value: Expr) -> syn::Result<()> {
        let (slot, value) = match name {
            "queue" => (&mut self.queue, queue(value)?),
            "redeliver" => (&mut self.redeliver, redeliver(value)?),
            "version" => (&mut self.version, version(value)?),
            "cluster" => (&mut self.cluster, cluster(value)?),
            "unique_for" => (&mut self.unique_for, duration(name, value)?),
            _ => unreachable!("every key of the list is handled"),
        };
        *slot = Some((key.clone(), value));
        Ok(())
    }

    /// Returns the keys that are given.
    pub(crate) fn given(&self) -> impl Iterator<Item = &Ident> {
        [&self.queue, &self.redeliver, &self.version, &self.cluster, &self.unique_for]
            .into_iter()
            .flatten()
            .map(|(key, _)| key)
    }

    /// Reports keys that need another one.
    pub(crate) fn check(&self, policies: &Policies, errors: &mut Errors) {
        if let (Some((key, _)), None) = (&self.unique_for, &policies.unique) {
            errors.on(key, "`unique_for` applies to unique tasks: add `unique = (user_id)`");
        }
    }

    /// Returns the calls of the builder's setters. The version is a part of the function.
    pub(crate) fn setters(&self) -> TokenStream {
        [&self.queue, &self.redeliver, &self.cluster, &self.unique_for]
            .into_iter()
            .flatten()
            .map(|(key, value)| {
                let method = Ident::new(&key.to_string(), key.span());
                quote!(.#method(#value))
            })
            .collect()
    }

    /// Returns the version, a constant of type `u32`.
    pub(crate) fn version(&self) -> TokenStream {
        self.version.as_ref().map_or_else(|| quote!(0), |(_, value)| value.clone())
    }
}

fn queue(value: Expr) -> syn::Result<TokenStream> {
    not_literal_but_str(&value, "the name of a queue is a string: write `queue = \"gpu\"`")?;
    if let Some(text) = str_literal(&value) {
        let name = text.value();
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > MAX_QUEUE || !name.chars().all(is_part) {
            return Err(syn::Error::new(
                text.span(),
                format!(
                    "the name of a queue has 1 to {MAX_QUEUE} characters out of `a-z`, `A-Z`, \
                     `0-9`, `_` and `-`: write `queue = \"gpu\"`"
                ),
            ));
        }
    }
    Ok(quote!(#value))
}

/// Returns whether an expression can be a `u32`, as far as it is known.
fn may_be_u32(value: &Expr) -> bool {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => {
            number.base10_parse::<u32>().is_ok() && matches!(number.suffix(), "" | "u32")
        }
        Expr::Lit(_) => false,
        Expr::Unary(unary) => !matches!(unary.op, syn::UnOp::Neg(_)),
        _ => true,
    }
}

fn redeliver(value: Expr) -> syn::Result<TokenStream> {
    if !may_be_u32(&value) {
        return Err(syn::Error::new(
            value.span(),
            "`redeliver` is the number of times that the task may be given to another node after \
             its node was lost, an integer: write `redeliver = 2`, or `redeliver = 0` for a task \
             that must not run twice",
        ));
    }
    Ok(quote!(#value))
}

fn version(value: Expr) -> syn::Result<TokenStream> {
    if !may_be_u32(&value) {
        return Err(syn::Error::new(
            value.span(),
            "`version` is an integer, which is raised when the meaning of a type behind the \
             signature changes: write `version = 1`",
        ));
    }
    Ok(quote!(#value))
}

fn cluster(value: Expr) -> syn::Result<TokenStream> {
    let message = match &value {
        Expr::Lit(_) if str_literal(&value).is_some() => {
            "a cluster is an expression of type `&Cluster`, not a name: write `cluster = &MINE`"
        }
        Expr::Lit(_) => "a cluster is an expression of type `&Cluster`: write `cluster = &MINE`",
        _ if ident_text(&value).as_deref() == Some("Cluster") => {
            "a cluster is a value, not the type: write `cluster = &MINE`"
        }
        _ => return Ok(quote!(#value)),
    };
    Err(syn::Error::new(value.span(), message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    #[test]
    fn queue_is_a_token() {
        for good in ["gpu", "GPU-2_large", &"q".repeat(64)] {
            assert!(queue(parse_quote!(#good)).is_ok(), "{good}");
        }
        for bad in ["", "gpu.large", "a b", "*", "q\u{f6}", &"q".repeat(65)] {
            assert!(queue(parse_quote!(#bad)).is_err(), "{bad}");
        }
        assert!(queue(parse_quote!(QUEUE)).is_ok());
        assert!(queue(parse_quote!(7)).is_err());
    }

    #[test]
    fn counts_are_integers() {
        for good in [parse_quote!(0), parse_quote!(3u32), parse_quote!(LOSSES), parse_quote!(1 + 1)]
        {
            assert!(may_be_u32(&good), "{}", quote!(#good));
        }
        let bad: [Expr; 5] = [
            parse_quote!(-1),
            parse_quote!(3u8),
            parse_quote!("3"),
            parse_quote!(true),
            parse_quote!(5_000_000_000),
        ];
        for bad in bad {
            assert!(!may_be_u32(&bad), "{}", quote!(#bad));
        }
    }
}
