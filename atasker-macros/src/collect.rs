//! `#[collect]` and `collection!`.
//!
//! ```text
//! #[collect(STARTUP, priority = "high")]        fn load() -> i32 { BODY }
//! fn load() -> i32 { BODY }                =>   const __ATASKER_COLLECT_..: () = {
//!                                                   #[distributed_slice(COLLECTED)]
//!                                                   static ..: Collected = .. STARTUP .. load ..;
//!                                               };
//!
//! collection!(pub static A: C<T>);         =>   pub static A: C<T> = <C<T> as Collection>::NEW;
//! ```
//!
//! All collected functions of the program are entries of one table, which the linker gathers. An
//! entry refers to its collection by an expression, so that any path works and the compiler checks
//! the types. At its first use, a collection asks each entry whether it belongs to the collection,
//! by the address of the static. The order of the linker is irrelevant, because functions are
//! sorted by priority and name.

use proc_macro2::TokenStream;
use quote::{format_ident, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::spanned::Spanned;
use syn::{
    Attribute, Expr, ExprLit, FnArg, Ident, ItemFn, Lit, Path, Token, Type, UnOp, Visibility,
};

use crate::args::{Syntax, not_literal_but_str, priority, str_literal, without_groups};
use crate::crate_path::CratePath;
use crate::errors::{Errors, nearest};
use crate::hygiene::{error_span, quote};
use crate::item::{effective_path, split_cfg_attr};

const EXAMPLE: &str = "#[collect(STARTUP, priority = \"high\")]";
const KEYS: [&str; 3] = ["priority", "name", "crate"];

/// The arguments of the attribute.
struct Options {
    collection: Path,
    priority: Option<TokenStream>,
    name: Option<Expr>,
    krate: CratePath,
}

pub(crate) fn collect(args: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let f: ItemFn = match syn::parse2(item.clone()) {
        Ok(f) => f,
        Err(error) => {
            errors.push(not_a_function(&item, error));
            let errors = errors.into_tokens();
            return quote!(#errors #item);
        }
    };
    let parser = |input: ParseStream<'_>| Options::parse(input, &mut errors);
    let options = match parser.parse2(args) {
        Ok(options) => Some(options),
        Err(error) => {
            errors.push(error);
            None
        }
    };
    check(&f, &mut errors);
    match options {
        Some(options) if !errors.any() => {
            let entry = entry(&options, &f);
            quote!(#f #entry)
        }
        _ => {
            let errors = errors.into_tokens();
            quote!(#errors #f)
        }
    }
}

fn entry(options: &Options, f: &ItemFn) -> TokenStream {
    let Options { collection, krate, .. } = options;
    let ident = &f.sig.ident;
    let attrs = f.attrs.iter().cloned().flat_map(split_cfg_attr).filter(|attr| {
        ["cfg", "allow", "warn", "deny", "forbid"]
            .iter()
            .any(|name| effective_path(attr).is_ident(name))
    });
    let name = match &options.name {
        Some(name) => {
            let at = error_span(name.span());
            quote_spanned!(at=> ::core::convert::Into::into(#name))
        }
        None => {
            let ident = ident.unraw().to_string();
            quote!(::core::convert::Into::into(::core::concat!(
                ::core::module_path!(),
                "::",
                #ident
            )))
        }
    };
    let priority = match &options.priority {
        Some(priority) => {
            let at = error_span(priority.span());
            quote_spanned!(at=> ::core::convert::Into::into(#priority))
        }
        None => quote!(::core::default::Default::default()),
    };
    // Type errors are reported at the collection, or at the return type of the function.
    let result = match &f.sig.output {
        syn::ReturnType::Type(_, ty) => ty.span(),
        syn::ReturnType::Default => ident.span(),
    };
    let mut given = ident.clone();
    given.set_span(ident.span().located_at(result));
    let at = error_span(collection.span());
    let static_ref = quote_spanned!(at=> &#collection);
    // Not `_`, because an associated function would then cause two errors instead of one.
    let names = collection.segments.iter().map(|segment| segment.ident.unraw().to_string());
    let names: Vec<String> = [ident.unraw().to_string()].into_iter().chain(names).collect();
    let holder = format_ident!("__ATASKER_COLLECT_{}", names.join("_"));
    quote! {
        #(#attrs)*
        #[doc(hidden)]
        #[allow(dead_code, non_upper_case_globals)]
        const #holder: () = {
            #[#krate::__private::linkme::distributed_slice(#krate::__private::COLLECTED)]
            #[linkme(crate = #krate::__private::linkme)]
            static __ATASKER_COLLECTED: #krate::__private::CollectedFn =
                #krate::__private::CollectedFn {
                    file: ::core::file!(),
                    line: ::core::line!(),
                    column: ::core::column!(),
                    answer: |__probe| #krate::__private::collected(
                        __probe,
                        #static_ref,
                        || (#name, #priority),
                        #given,
                    ),
                };
        };
    }
}

/// Returns the parse error, or a better one if the item is not a function.
fn not_a_function(item: &TokenStream, error: syn::Error) -> syn::Error {
    match syn::parse2::<syn::Item>(item.clone()) {
        Ok(syn::Item::Verbatim(_)) | Err(_) => error,
        Ok(other) => syn::Error::new_spanned(other, "#[collect] belongs on a function"),
    }
}

/// Reports functions that can't be called without further information.
fn check(f: &ItemFn, errors: &mut Errors) {
    let sig = &f.sig;
    if let Some(FnArg::Receiver(receiver)) = sig.inputs.first() {
        errors.on(
            receiver,
            "a method can't be collected, because the collection has no `self` to call it with: \
             write a function without parameters",
        );
    } else if !sig.inputs.is_empty() {
        errors.on(
            &sig.inputs,
            "a collected function can't have parameters, because the collection has no arguments \
             to pass",
        );
    }
    if let Some(token) = &sig.asyncness {
        errors.on(
            token,
            "an `async fn` can't be collected: write a function that runs it, for example by \
             `Aloop::run`",
        );
    }
    if let Some(token) = &sig.unsafety {
        errors.on(
            token,
            "an unsafe fn can't be collected, because its safety requirements can't be checked \
             when it runs: wrap it in a safe fn",
        );
    }
    if !sig.generics.params.is_empty() {
        errors.on(
            &sig.generics,
            "a generic function can't be collected, because its type parameters can't be inferred: \
             write one with concrete types",
        );
    }
    if let Some(attr) = f.attrs.iter().find(|attr| crate::check::is_own_attribute(attr)) {
        errors.on(
            attr,
            "a collected function is run by its collection, not launched: \
             remove this attribute, and use a `TaskCollection`",
        );
    }
}

impl Options {
    fn parse(input: ParseStream<'_>, errors: &mut Errors) -> syn::Result<Options> {
        let no_collection = format!("the collection must come first: write `{EXAMPLE}`");
        if input.is_empty() || (input.peek(Ident::peek_any) && input.peek2(Token![=])) {
            return Err(syn::Error::new(input.span(), no_collection));
        }
        let collection = match input.parse::<Path>() {
            Ok(path) => path,
            Err(error) => return Err(syn::Error::new(error.span(), no_collection)),
        };
        let krate = CratePath::find_in(input.fork().parse()?);
        let mut options = Options { collection, priority: None, name: None, krate };
        let mut seen: Vec<String> = Vec::new();
        while !input.is_empty() {
            input.parse::<Token![,]>().map_err(|error| {
                syn::Error::new(error.span(), "expected `,` before the next key")
            })?;
            if input.is_empty() {
                break;
            }
            options.parse_one(input, &mut seen, errors)?;
        }
        Ok(options)
    }

    fn parse_one(
        &mut self,
        input: ParseStream<'_>,
        seen: &mut Vec<String>,
        errors: &mut Errors,
    ) -> syn::Result<()> {
        if !input.peek(Ident::peek_any) {
            return Err(input.error("expected `key = value`, for example `priority = \"low\"`"));
        }
        let key = input.call(Ident::parse_any)?;
        let name = key.to_string();
        if !input.peek(Token![=]) {
            return Err(syn::Error::new(key.span(), no_value(&name)));
        }
        input.parse::<Token![=]>()?;
        if input.is_empty() || input.peek(Token![,]) {
            return Err(syn::Error::new(
                key.span(),
                format!("the value is missing: write `{}`", example(&name)),
            ));
        }
        let value = without_groups(input.parse::<Expr>()?);
        if seen.contains(&name) {
            errors.at(key.span(), format!("`{name}` is given twice: keep one of the two"));
        } else if let Err(error) = self.set(&key, &name, value) {
            errors.push(error);
        }
        seen.push(name);
        Ok(())
    }

    fn set(&mut self, key: &Ident, name: &str, value: Expr) -> syn::Result<()> {
        match name {
            "priority" => self.priority = Some(collect_priority(value, &self.krate)?),
            "name" => {
                not_literal_but_str(&value, "a name is a string: write `name = \"caches\"`")?;
                self.name = Some(value);
            }
            "crate" => self.krate = CratePath::from_expr(&value)?,
            _ => return Err(syn::Error::new(key.span(), unknown(name))),
        }
        Ok(())
    }
}

/// Parses a priority of tasks, or an integer.
fn collect_priority(value: Expr, krate: &CratePath) -> syn::Result<TokenStream> {
    if is_integer(&value) {
        return Ok(quote!(#value));
    }
    if matches!(value, Expr::Lit(_)) && str_literal(&value).is_none() {
        return Err(syn::Error::new(
            value.span(),
            "a priority is one of \"low\", \"normal\", \"high\", \"critical\", \
             an integer, or an expression of type `Priority`",
        ));
    }
    priority(value, Syntax::Attribute, krate)
}

fn is_integer(value: &Expr) -> bool {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Int(_), .. }) => true,
        Expr::Unary(unary) if matches!(unary.op, UnOp::Neg(_)) => is_integer(&unary.expr),
        Expr::Group(group) => is_integer(&group.expr),
        _ => false,
    }
}

fn example(key: &str) -> &'static str {
    match key {
        "name" => "name = \"caches\"",
        "crate" => "crate = my_name_for_atasker",
        _ => "priority = \"high\"",
    }
}

fn no_value(name: &str) -> String {
    match name {
        "low" | "normal" | "high" | "critical" => {
            format!("expected `key = value`: did you mean `priority = \"{name}\"`?")
        }
        _ if KEYS.contains(&name) => format!("`{name}` needs a value: write `{}`", example(name)),
        _ => unknown(name),
    }
}

fn unknown(name: &str) -> String {
    let suggestion = match name {
        "prio" | "order" => Some("priority"),
        "key" | "id" => Some("name"),
        "krate" => Some("crate"),
        _ => nearest(name, &KEYS),
    };
    match suggestion {
        Some(key) => format!("unknown key `{name}`: did you mean `{key}`?"),
        None => format!("unknown key `{name}`: the keys are `priority`, `name`, `crate`"),
    }
}

/// `pub static STARTUP: TaskCollection<i32>`, without a value.
struct Declared {
    attrs: Vec<Attribute>,
    vis: Visibility,
    token: Token![static],
    ident: Ident,
    ty: Type,
}

impl Declared {
    fn parse(input: ParseStream<'_>, errors: &mut Errors) -> syn::Result<Self> {
        const EXAMPLE: &str = "write `collection!(pub static STARTUP: TaskCollection<i32>);`";
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        let expected = |error: syn::Error| syn::Error::new(error.span(), EXAMPLE);
        let token = input.parse().map_err(expected)?;
        if let Some(token) = input.parse::<Option<Token![mut]>>()? {
            errors.on(
                token,
                "a collection is never `mut`: its functions are added through a shared reference",
            );
        }
        let ident = input.parse().map_err(expected)?;
        input.parse::<Token![:]>().map_err(expected)?;
        let ty = input.parse()?;
        if let Some(token) = input.parse::<Option<Token![=]>>()? {
            let value: Expr = input.parse()?;
            errors.on(quote!(#token #value), "a collection starts empty: remove the value");
        }
        Ok(Declared { attrs, vis, token, ident, ty })
    }
}

pub(crate) fn collection(input: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let parser = |input: ParseStream<'_>| {
        let (mut all, mut krate) = (Vec::new(), None);
        while all.is_empty() || !input.is_empty() {
            if input.peek(Token![crate]) && input.peek2(Token![=]) {
                let key: Token![crate] = input.parse()?;
                input.parse::<Token![=]>()?;
                let found = CratePath::from_expr(&input.parse()?)?;
                if krate.replace(found).is_some() {
                    errors.on(key, "`crate` is given twice: keep one of the two");
                }
            } else {
                all.push(Declared::parse(input, &mut errors)?);
            }
            if !input.is_empty() && input.parse::<Option<Token![,]>>()?.is_none() {
                input.parse::<Token![;]>()?;
            }
        }
        Ok((all, krate.unwrap_or_default()))
    };
    let (all, krate) = match parser.parse2(input) {
        Ok(parsed) => parsed,
        Err(error) => return error.to_compile_error(),
    };
    let declared: TokenStream = all.iter().map(|declared| declare(declared, &krate)).collect();
    let errors = errors.into_tokens();
    quote!(#errors #declared)
}

fn declare(declared: &Declared, krate: &CratePath) -> TokenStream {
    let Declared { attrs, vis, token, ident, ty } = declared;
    let at = error_span(ty.span());
    let krate = krate.at(at);
    let value = quote_spanned!(at=> <#ty as #krate::__private::Collection>::NEW);
    quote! {
        #(#attrs)*
        #vis #token #ident: #ty = #value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_key_suggests_known_one() {
        assert!(unknown("priorty").contains("did you mean `priority`?"));
        assert!(unknown("nmae").contains("did you mean `name`?"));
        assert!(unknown("colour").contains("the keys are"));
        assert!(no_value("high").contains("priority = \"high\""));
        assert!(no_value("name").contains("name = \"caches\""));
    }

    #[test]
    fn signed_integers_are_priorities() {
        for (text, fits) in [("5", true), ("-5", true), ("1u8", true), ("\"x\"", false)] {
            assert_eq!(is_integer(&syn::parse_str(text).unwrap()), fits, "{text}");
        }
    }
}
