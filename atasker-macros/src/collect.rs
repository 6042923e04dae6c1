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

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::spanned::Spanned;
use syn::{
    Attribute, Expr, ExprLit, FnArg, Ident, ItemFn, Lit, Path, Token, Type, UnOp, Visibility,
};

use crate::args::{Form, not_literal_but_str, priority, string};
use crate::errors::{Errors, nearest};

const EXAMPLE: &str = "#[collect(STARTUP, priority = \"high\")]";
const KEYS: [&str; 2] = ["priority", "name"];

/// What was said in the attribute.
struct Options {
    collection: Path,
    priority: Option<TokenStream>,
    name: Option<Expr>,
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
    let Options { collection, .. } = options;
    let ident = &f.sig.ident;
    let attrs = f.attrs.iter().filter(|attr| {
        ["cfg", "cfg_attr", "allow", "warn", "deny", "forbid"]
            .iter()
            .any(|name| attr.path().is_ident(name))
    });
    let name = match &options.name {
        Some(name) => {
            let at = name.span().resolved_at(Span::call_site());
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
            let at = priority.span().resolved_at(Span::call_site());
            quote_spanned!(at=> ::core::convert::Into::into(#priority))
        }
        None => quote!(::core::default::Default::default()),
    };
    // What does not fit is said at the collection, or at the type that the function returns.
    let result = match &f.sig.output {
        syn::ReturnType::Type(_, ty) => ty.span(),
        syn::ReturnType::Default => ident.span(),
    };
    let mut given = ident.clone();
    given.set_span(ident.span().located_at(result));
    let at = collection.span().resolved_at(Span::call_site());
    let static_ref = quote_spanned!(at=> &#collection);
    // Not `_`: so an associated function, which is no function here, is one error and not two.
    let words = collection.segments.iter().map(|segment| segment.ident.unraw().to_string());
    let words: Vec<String> = [ident.unraw().to_string()].into_iter().chain(words).collect();
    let holder = format_ident!("__ATASKER_COLLECT_{}", words.join("_"));
    quote! {
        #(#attrs)*
        #[doc(hidden)]
        #[allow(dead_code, non_upper_case_globals)]
        const #holder: () = {
            #[::atasker::__private::linkme::distributed_slice(::atasker::__private::COLLECTED)]
            #[linkme(crate = ::atasker::__private::linkme)]
            static __ATASKER_COLLECTED: ::atasker::__private::Collected =
                ::atasker::__private::Collected {
                    file: ::core::file!(),
                    line: ::core::line!(),
                    column: ::core::column!(),
                    answer: |__ask| ::atasker::__private::collected(
                        __ask,
                        #static_ref,
                        || (#name, #priority),
                        #given,
                    ),
                };
        };
    }
}

/// The function could not be parsed: is it one at all?
fn not_a_function(item: &TokenStream, error: syn::Error) -> syn::Error {
    match syn::parse2::<syn::Item>(item.clone()) {
        Ok(syn::Item::Verbatim(_)) | Err(_) => error,
        Ok(other) => syn::Error::new_spanned(other, "#[collect] belongs on a function"),
    }
}

/// What nobody could run without knowing more.
fn check(f: &ItemFn, errors: &mut Errors) {
    let sig = &f.sig;
    if let Some(FnArg::Receiver(receiver)) = sig.inputs.first() {
        errors.on(
            receiver,
            "a method can't be collected, for nobody would give it its `self`: \
             write a function without parameters",
        );
    } else if !sig.inputs.is_empty() {
        errors.on(
            &sig.inputs,
            "a collected function takes no parameters, for nobody would give it any",
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
            "an unsafe fn can't be collected: nobody could keep its promise when it runs; \
             write a safe fn around it",
        );
    }
    if !sig.generics.params.is_empty() {
        errors.on(
            &sig.generics,
            "a generic function can't be collected, for nobody says what it is of: \
             write one with concrete types",
        );
    }
    if let Some(attr) = f.attrs.iter().find(|attr| crate::check::is_ours(attr)) {
        errors.on(
            attr,
            "a collected function is run by its collection, not launched: \
             remove this attribute, and use a `TaskCollection`",
        );
    }
}

impl Options {
    fn parse(input: ParseStream<'_>, errors: &mut Errors) -> syn::Result<Options> {
        let no_collection = format!("the collection stands first: write `{EXAMPLE}`");
        if input.is_empty() || (input.peek(Ident::peek_any) && input.peek2(Token![=])) {
            return Err(syn::Error::new(input.span(), no_collection));
        }
        let collection = match input.parse::<Path>() {
            Ok(path) => path,
            Err(error) => return Err(syn::Error::new(error.span(), no_collection)),
        };
        let mut options = Options { collection, priority: None, name: None };
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
        let value = input.parse::<Expr>()?;
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
            "priority" => self.priority = Some(place_in_order(value)?),
            "name" => {
                not_literal_but_str(&value, "a name is a string: write `name = \"caches\"`")?;
                self.name = Some(value);
            }
            _ => return Err(syn::Error::new(key.span(), unknown(name))),
        }
        Ok(())
    }
}

/// A priority as tasks have it, or an integer.
fn place_in_order(value: Expr) -> syn::Result<TokenStream> {
    if is_integer(&value) {
        return Ok(quote!(#value));
    }
    if matches!(value, Expr::Lit(_)) && string(&value).is_none() {
        return Err(syn::Error::new(
            value.span(),
            "a priority is one of \"low\", \"normal\", \"high\", \"critical\", \
             an integer, or an expression of type `Priority`",
        ));
    }
    priority(value, Form::Attribute)
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
    let meant = match name {
        "prio" | "order" => Some("priority"),
        "key" | "id" => Some("name"),
        _ => nearest(name, &KEYS),
    };
    match meant {
        Some(key) => format!("unknown key `{name}`: did you mean `{key}`?"),
        None => format!("unknown key `{name}`: the keys are `priority`, `name`"),
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
            errors.on(quote!(#token #value), "a collection begins empty: leave its value out");
        }
        Ok(Declared { attrs, vis, token, ident, ty })
    }
}

pub(crate) fn collection(input: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let parser = |input: ParseStream<'_>| {
        let mut all = Vec::new();
        while all.is_empty() || !input.is_empty() {
            all.push(Declared::parse(input, &mut errors)?);
            if !input.is_empty() {
                input.parse::<Token![;]>()?;
            }
        }
        Ok(all)
    };
    let all: Vec<Declared> = match parser.parse2(input) {
        Ok(all) => all,
        Err(error) => return error.to_compile_error(),
    };
    let declared: TokenStream = all.iter().map(declare).collect();
    let errors = errors.into_tokens();
    quote!(#errors #declared)
}

fn declare(declared: &Declared) -> TokenStream {
    let Declared { attrs, vis, token, ident, ty } = declared;
    let at = ty.span().resolved_at(Span::call_site());
    let value = quote_spanned!(at=> <#ty as ::atasker::__private::Collection>::NEW);
    quote! {
        #(#attrs)*
        #vis #token #ident: #ty = #value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_name_the_right_one() {
        assert!(unknown("priorty").contains("did you mean `priority`?"));
        assert!(unknown("nmae").contains("did you mean `name`?"));
        assert!(unknown("colour").contains("the keys are"));
        assert!(no_value("high").contains("priority = \"high\""));
        assert!(no_value("name").contains("name = \"caches\""));
    }

    #[test]
    fn integers_with_their_sign_are_priorities() {
        for (text, fits) in [("5", true), ("-5", true), ("1u8", true), ("\"x\"", false)] {
            assert_eq!(is_integer(&syn::parse_str(text).unwrap()), fits, "{text}");
        }
    }
}
