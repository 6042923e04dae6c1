//! The canonical text of the types of a function, by which the programs of a cluster recognize it.
//!
//! Two programs may be built at different times, by different compilers, from sources that were
//! formatted in between. So the text must not depend on how tokens are printed, nor on anything
//! without meaning: white space, comments, parentheses, trailing commas, `r#`, and the colons in
//! `Vec::<u8>`. Lifetimes are left out as well. Everything else is as written. In particular, paths
//! are not resolved, because a macro can't do that.
//!
//! Apart from that, the text can be parsed back, so different types have different texts.

use std::fmt::Write;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::{
    AngleBracketedGenericArguments, GenericArgument, Ident, Path, PathArguments, PathSegment,
    QSelf, ReturnType, Token, Type, TypeBareFn, TypeParamBound,
};

use crate::item::Context;

/// Returns the text of a function: `msgpack <u8, ()> (&str, Vec<u8>) -> Result<Report, String>`,
/// with the codec and the types of the messages it receives and sends. Those of a function without
/// a context are `()`, because the context itself doesn't travel.
pub(crate) fn text<'a>(
    codec: &str,
    context: Option<&Context>,
    params: impl Iterator<Item = &'a Type>,
    result: &Type,
) -> String {
    let mut text = Text(codec.to_owned());
    text.push(" <");
    match context {
        Some(Context { receives, sends, .. }) => text.types([receives, sends]),
        None => text.push("(), ()"),
    }
    text.push("> (");
    text.types(params);
    text.push(") -> ");
    text.ty(result);
    text.0
}

struct Text(String);

impl Text {
    fn push(&mut self, text: &str) {
        self.0.push_str(text);
    }

    fn list<T>(
        &mut self,
        separator: &str,
        items: impl IntoIterator<Item = T>,
        each: impl Fn(&mut Text, T),
    ) {
        for (i, item) in items.into_iter().enumerate() {
            if i > 0 {
                self.push(separator);
            }
            each(self, item);
        }
    }

    fn types<'a>(&mut self, types: impl IntoIterator<Item = &'a Type>) {
        self.list(", ", types, Text::ty);
    }

    fn ident(&mut self, ident: &Ident) {
        let _ = write!(self.0, "{}", ident.unraw());
    }

    fn ty(&mut self, ty: &Type) {
        match ty {
            Type::Group(group) => self.ty(&group.elem),
            Type::Paren(paren) => self.ty(&paren.elem),
            Type::Path(path) => self.path(path.qself.as_ref(), &path.path),
            Type::Reference(reference) => {
                self.push(if reference.mutability.is_some() { "&mut " } else { "&" });
                self.target(&reference.elem);
            }
            Type::Ptr(pointer) => {
                self.push(if pointer.mutability.is_some() { "*mut " } else { "*const " });
                self.target(&pointer.elem);
            }
            Type::Slice(slice) => {
                self.push("[");
                self.ty(&slice.elem);
                self.push("]");
            }
            Type::Array(array) => {
                self.push("[");
                self.ty(&array.elem);
                self.push("; ");
                self.tokens(array.len.to_token_stream());
                self.push("]");
            }
            Type::Tuple(tuple) => {
                self.push("(");
                self.types(&tuple.elems);
                // Without the comma, `(T,)` would be `(T)`, which is `T`.
                self.push(if tuple.elems.len() == 1 { ",)" } else { ")" });
            }
            Type::Never(_) => self.push("!"),
            Type::Infer(_) => self.push("_"),
            Type::BareFn(function) => self.function(function),
            Type::TraitObject(object) => {
                self.push("dyn ");
                self.bounds(&object.bounds);
            }
            Type::Macro(mac) => {
                self.path(None, &mac.mac.path);
                self.push("!(");
                self.tokens(mac.mac.tokens.clone());
                self.push(")");
            }
            other => self.tokens(other.to_token_stream()),
        }
    }

    /// Writes the target of a reference or a pointer. Only there, the number of bounds matters to
    /// the extent of a type.
    fn target(&mut self, ty: &Type) {
        let bounds = match crate::item::bare(ty) {
            Type::TraitObject(object) => traits(&object.bounds).count(),
            _ => 0,
        };
        if bounds > 1 {
            self.push("(");
            self.ty(ty);
            self.push(")");
        } else {
            self.ty(ty);
        }
    }

    fn function(&mut self, function: &TypeBareFn) {
        if function.unsafety.is_some() {
            self.push("unsafe ");
        }
        if let Some(abi) = &function.abi {
            // Without a name, it is that of C.
            let name = abi.name.as_ref().map_or_else(|| "C".to_owned(), syn::LitStr::value);
            let _ = write!(self.0, "extern {name:?} ");
        }
        self.push("fn(");
        self.types(function.inputs.iter().map(|arg| &arg.ty));
        if function.variadic.is_some() {
            self.push(if function.inputs.is_empty() { "..." } else { ", ..." });
        }
        self.push(")");
        self.output(&function.output);
    }

    fn output(&mut self, output: &ReturnType) {
        match output {
            ReturnType::Type(_, ty) if !is_unit(ty) => {
                self.push(" -> ");
                self.target(ty);
            }
            ReturnType::Type(..) | ReturnType::Default => {}
        }
    }

    fn bounds(&mut self, bounds: &Punctuated<TypeParamBound, Token![+]>) {
        self.list(" + ", traits(bounds), |text, bound| match bound {
            TypeParamBound::Trait(bound) => {
                if matches!(bound.modifier, syn::TraitBoundModifier::Maybe(_)) {
                    text.push("?");
                }
                text.path(None, &bound.path);
            }
            other => text.tokens(other.to_token_stream()),
        });
    }

    /// Writes a path: the first segments of `<T as Trait>::Name` are those of the trait.
    fn path(&mut self, qself: Option<&QSelf>, path: &Path) {
        let in_trait = qself.map_or(0, |qself| qself.position);
        if let Some(qself) = qself {
            self.push("<");
            self.ty(&qself.ty);
            if in_trait > 0 {
                self.push(" as ");
            }
        }
        let (of_trait, rest) =
            (path.segments.iter().take(in_trait), path.segments.iter().skip(in_trait));
        // `<T>::Name` has the colons of its path behind the bracket.
        if path.leading_colon.is_some() && (qself.is_none() || in_trait > 0) {
            self.push("::");
        }
        self.list("::", of_trait, Text::segment);
        if qself.is_some() {
            self.push(">::");
        }
        self.list("::", rest, Text::segment);
    }

    fn segment(&mut self, segment: &PathSegment) {
        self.ident(&segment.ident);
        match &segment.arguments {
            PathArguments::None => {}
            PathArguments::AngleBracketed(arguments) => self.arguments(arguments),
            PathArguments::Parenthesized(arguments) => {
                self.push("(");
                self.types(&arguments.inputs);
                self.push(")");
                self.output(&arguments.output);
            }
        }
    }

    fn arguments(&mut self, arguments: &AngleBracketedGenericArguments) {
        let kept: Vec<_> = arguments
            .args
            .iter()
            .filter(|argument| !matches!(argument, GenericArgument::Lifetime(_)))
            .collect();
        if kept.is_empty() {
            return;
        }
        self.push("<");
        self.list(", ", kept, |text, argument| match argument {
            GenericArgument::Type(ty) => text.ty(ty),
            GenericArgument::AssocType(assoc) => {
                text.ident(&assoc.ident);
                if let Some(generics) = &assoc.generics {
                    text.arguments(generics);
                }
                text.push(" = ");
                text.ty(&assoc.ty);
            }
            GenericArgument::Constraint(constraint) => {
                text.ident(&constraint.ident);
                if let Some(generics) = &constraint.generics {
                    text.arguments(generics);
                }
                text.push(": ");
                text.bounds(&constraint.bounds);
            }
            // Constants are expressions.
            other => text.tokens(other.to_token_stream()),
        });
        self.push(">");
    }

    /// Writes tokens, each separated by one space: `> >` for `>>`.
    fn tokens(&mut self, tokens: TokenStream) {
        self.list(" ", flat(tokens), |text, token| match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => unreachable!("the list is flat"),
                };
                text.push(open);
                text.tokens(group.stream());
                text.push(close);
            }
            TokenTree::Ident(ident) => text.ident(&ident),
            token => {
                let _ = write!(text.0, "{token}");
            }
        });
    }
}

/// Removes the invisible groups that a `macro_rules!` macro puts around its arguments.
fn flat(tokens: TokenStream) -> Vec<TokenTree> {
    let mut list = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::None => {
                list.extend(flat(group.stream()));
            }
            token => list.push(token),
        }
    }
    list
}

/// Returns the bounds that are traits: a lifetime is left out.
fn traits(bounds: &Punctuated<TypeParamBound, Token![+]>) -> impl Iterator<Item = &TypeParamBound> {
    bounds.iter().filter(|bound| !matches!(bound, TypeParamBound::Lifetime(_)))
}

fn is_unit(ty: &Type) -> bool {
    matches!(crate::item::bare(ty), Type::Tuple(tuple) if tuple.elems.is_empty())
}

#[cfg(test)]
mod tests;
