//! The key `crate`: the path of the facade in generated code.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::{Expr, ExprPath, Path};

use crate::args::str_literal;
use crate::expand::respan;
use crate::hygiene::quote;

/// The path of the facade: `::atasker`, unless the key `crate` names another.
#[derive(Clone)]
pub(crate) struct CratePath(TokenStream);

impl Default for CratePath {
    fn default() -> Self {
        CratePath(quote!(::atasker))
    }
}

impl ToTokens for CratePath {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.extend(self.0.clone());
    }
}

impl CratePath {
    /// Finds the path in keys that are not parsed yet, because the code for earlier keys needs it
    /// as well. An invalid value is reported later, when the keys are parsed.
    pub(crate) fn find_in(keys: TokenStream) -> CratePath {
        let mut tokens = keys.into_iter().peekable();
        let mut starts_key = true;
        while let Some(token) = tokens.next() {
            let names_crate = matches!(&token, TokenTree::Ident(ident) if ident == "crate");
            if starts_key && names_crate && tokens.peek().is_some_and(|next| is(next, '=')) {
                tokens.next();
                let value = tokens.take_while(|token| !is(token, ',') && !is(token, ';')).collect();
                return syn::parse2::<Expr>(value)
                    .and_then(|value| CratePath::from_expr(&value))
                    .unwrap_or_default();
            }
            starts_key = is(&token, ',') || is(&token, ';');
        }
        CratePath::default()
    }

    /// Parses the value of the key.
    pub(crate) fn from_expr(value: &Expr) -> syn::Result<CratePath> {
        if let Expr::Group(group) = value {
            return CratePath::from_expr(&group.expr);
        }
        if let Expr::Path(ExprPath { qself: None, path, .. }) = value
            && path.segments.iter().all(|segment| segment.arguments.is_none())
        {
            return Ok(CratePath(path.to_token_stream()));
        }
        Err(syn::Error::new(
            value.span(),
            match str_literal(value).map(|text| text.value()) {
                Some(text) if syn::parse_str::<Path>(&text).is_ok() => {
                    format!("`crate` is a path, not a string: write `crate = {text}`")
                }
                _ => "`crate` is the path of the atasker crate: \
                      write `crate = my_name_for_it` or `crate = other_crate::atasker`"
                    .to_owned(),
            },
        ))
    }

    /// Returns the same path, with errors reported at `span`.
    pub(crate) fn at(&self, span: Span) -> CratePath {
        CratePath(respan(self.0.clone(), span))
    }
}

fn is(token: &TokenTree, punct: char) -> bool {
    matches!(token, TokenTree::Punct(found) if found.as_char() == punct)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn among(keys: &str) -> String {
        CratePath::find_in(keys.parse().unwrap()).to_token_stream().to_string().replace(' ', "")
    }

    #[test]
    fn crate_key_is_found() {
        assert_eq!(among(""), "::atasker");
        assert_eq!(among("crate = at"), "at");
        assert_eq!(among("name = \"x\", crate = ::a::b, tt = \"mp\""), "::a::b");
        assert_eq!(among("crate = crate::a; static A: B;"), "crate::a");
    }

    #[test]
    fn crate_in_value_is_not_the_key() {
        assert_eq!(among("supervisor = &crate::SUP, priority = crate::P"), "::atasker");
        assert_eq!(among("callback = |crate_| (), name = f(crate)"), "::atasker");
    }

    #[test]
    fn invalid_path_is_rejected() {
        let refused = |text: &str| match CratePath::from_expr(&syn::parse_str(text).unwrap()) {
            Ok(_) => panic!("{text} is no path"),
            Err(error) => error.to_string(),
        };
        assert!(refused("\"a::b\"").contains("write `crate = a::b`"));
        assert!(refused("5").contains("crate = other_crate::atasker"));
        assert!(refused("a::<u8>").contains("crate = other_crate::atasker"));
    }
}
