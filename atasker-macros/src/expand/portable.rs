//! The check that the types of a function can be sent to and from worker processes.
//!
//! For each type that can't, one error is to point at the tokens to change: at `Point` in
//! `Vec<Point>`, or at the error in `Result<u32, io::Error>`. A macro doesn't know which of the types
//! in a type matter: a `PhantomData<Point>` can be sent. So the generated code asks for facts (see
//! `macro_support::verdict`): a type is at fault if it can't be sent, nor can any type around it, and
//! all types in it can.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident};
use syn::{GenericArgument, PathArguments, Type, TypeParamBound};

use super::bounds::{self, At};
use super::numbered;
use super::plain::is_plain;
use crate::crate_path::CratePath;
use crate::hygiene::quote;
use crate::item::{bare, elide_lifetimes};

/// What a type seems to be, which selects the words of the error.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Value,
    /// `io::Result<()>`: only the compiler knows the error.
    ResultAlias,
    Error,
    /// `Arc<T>`.
    Shared,
    /// `fn()`, `Box<dyn Trait>`.
    NotData,
}

/// A type of the signature, or a type in it.
struct Node {
    /// The type that is sent.
    ty: Type,
    /// The type to report.
    named: Type,
    kind: Kind,
    /// The nodes around this one, by index.
    around: Vec<usize>,
    /// The nodes directly in this one, by index.
    inside: Vec<usize>,
}

/// Returns an item that checks the types. The result must also be `Send`.
pub(super) fn check<'a>(
    krate: &CratePath,
    result: &'a Type,
    types: impl IntoIterator<Item = &'a Type>,
) -> TokenStream {
    let mut nodes = Vec::new();
    for ty in types.into_iter().chain([result]).filter(|ty| !is_plain(ty)) {
        add(&mut nodes, &elide_lifetimes(ty), false, &[]);
    }
    if nodes.is_empty() {
        return quote!();
    }
    let fits = numbered("fits", nodes.len());
    let skips = numbered("skip", nodes.len());
    let texts: Vec<String> =
        nodes.iter().map(|node| node.named.to_token_stream().to_string()).collect();
    let facts = nodes.iter().zip(&fits).map(|(node, fits)| {
        let fact = fact(krate, &node.ty);
        quote!(let #fits = #fact;)
    });
    let checks = nodes.iter().enumerate().map(|(i, node)| {
        let (own, skip, named) = (&fits[i], &skips[i], &node.named);
        let around = node.around.iter().map(|&outer| &fits[outer]);
        let inside = node.inside.iter().map(|&inner| &fits[inner]);
        // A type that occurs twice is reported once.
        let before = (0..i).filter(|&before| texts[before] == texts[i]).map(|i| &skips[i]);
        let faulty = quote!(#krate::__private::Arg::<#named>::new());
        let by = |check| report(krate, check, named, skip, &faulty);
        let check = match node.kind {
            Kind::Value => by("Portable"),
            Kind::Error => by("PortableError"),
            Kind::Shared => by("PortableShared"),
            Kind::NotData => by("PortableData"),
            Kind::ResultAlias => report_inferred(krate, named, skip, &faulty),
        };
        quote! {
            let #skip = #own #(.or(#around))* #(.or(#inside.not()))* #(.or(#before.not()))*;
            #check
        }
    });
    // One error about the result is enough.
    let send = bounds::send_if(krate, &fact(krate, result), result, bounds::type_at(result));
    let traits = traits(krate);
    quote! {
        const _: fn() = || {
            #traits
            #(#facts)*
            #(#checks)*
            #send
        };
    }
}

/// Returns whether the type can be sent, as an expression.
fn fact(krate: &CratePath, ty: &Type) -> TokenStream {
    quote!((&&&&&#krate::__private::Arg::<#ty>::new()).__atasker_portable())
}

/// Returns a statement that checks types which only the compiler knows: variables of the type
/// `Arg<P>`, each with the tokens to report.
pub(crate) fn check_inferred(
    krate: &CratePath,
    params: impl Iterator<Item = (TokenStream, TokenStream)>,
    result: (TokenStream, TokenStream),
) -> TokenStream {
    let checks = params
        .chain([result.clone()])
        .map(|(ty, at)| report_inferred(krate, &at, &quote!((&&&&&#ty).__atasker_portable()), &ty));
    // One error about the result is enough.
    let (result, result_at) = result;
    let not_portable = quote!((&&&&&#result).__atasker_portable().not());
    let checked = At::all_of(&result_at).call(quote!(#not_portable, #result));
    let traits = traits(krate);
    // Never called.
    quote! {
        let _ = || {
            #traits
            #(#checks)*
            #krate::__private::sendable(#checked);
        };
    }
}

/// Imports what checks use.
fn traits(krate: &CratePath) -> TokenStream {
    quote! {
        #[allow(unused_imports)]
        use #krate::__private::{
            FaultyErr as _, FaultyItem as _, FaultyOk as _, FaultyTarget as _, FaultyWhole as _,
            NotPortable as _, PortableBlock as _, PortableOwned as _, PortableRef as _,
            PortableSlice as _, IsSend as _, NotSend as _, unless as __atasker_unless,
        };
    }
}

/// Adds a type and the types in it. Returns its index.
fn add(nodes: &mut Vec<Node>, ty: &Type, is_error: bool, around: &[usize]) -> usize {
    let index = nodes.len();
    // Of a borrowed parameter, the target is sent; of a borrowed slice, its items.
    let named = match bare(ty) {
        Type::Reference(reference) => match bare(&reference.elem) {
            Type::Slice(slice) => bare(&slice.elem),
            target => target,
        },
        ty => ty,
    };
    nodes.push(Node {
        ty: ty.clone(),
        named: named.clone(),
        kind: if is_error { Kind::Error } else { Kind::of(named) },
        around: around.to_vec(),
        inside: Vec::new(),
    });
    let around: Vec<usize> = around.iter().copied().chain([index]).collect();
    let is_result = ends_with(named, "Result");
    for (i, inner) in types_in(named).into_iter().enumerate() {
        // A trait object is no value by itself.
        if !matches!(bare(inner), Type::TraitObject(_) | Type::Infer(_)) && !is_plain(inner) {
            let inner = add(nodes, inner, is_error || (is_result && i == 1), &around);
            nodes[index].inside.push(inner);
        }
    }
    index
}

impl Kind {
    fn of(ty: &Type) -> Kind {
        let inside = types_in(ty);
        let is_dyn = |ty: &&&Type| matches!(bare(ty), Type::TraitObject(_));
        let dyn_inside = inside.iter().find(is_dyn);
        if ends_with(ty, "Error") || dyn_inside.is_some_and(|ty| ends_with(ty, "Error")) {
            Kind::Error
        } else if matches!(ty, Type::BareFn(_) | Type::TraitObject(_)) || dyn_inside.is_some() {
            Kind::NotData
        } else if ends_with(ty, "Result") && inside.len() < 2 {
            Kind::ResultAlias
        } else if ["Arc", "Rc", "Weak"].iter().any(|name| ends_with(ty, name)) {
            Kind::Shared
        } else {
            Kind::Value
        }
    }
}

/// Returns the types that are written in a type.
pub(super) fn types_in(ty: &Type) -> Vec<&Type> {
    match bare(ty) {
        Type::Array(array) => vec![&*array.elem],
        Type::Slice(slice) => vec![&*slice.elem],
        Type::Tuple(tuple) => tuple.elems.iter().collect(),
        Type::Path(path) => match path.path.segments.last().map(|last| &last.arguments) {
            Some(PathArguments::AngleBracketed(arguments)) => arguments
                .args
                .iter()
                .filter_map(|argument| match argument {
                    GenericArgument::Type(ty) => Some(ty),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// Returns whether the last name of a type, or of the first trait of a trait object, ends so.
pub(super) fn ends_with(ty: &Type, name: &str) -> bool {
    let path = match bare(ty) {
        Type::Path(path) => &path.path,
        Type::TraitObject(object) => match object.bounds.first() {
            Some(TypeParamBound::Trait(bound)) => &bound.path,
            _ => return false,
        },
        _ => return false,
    };
    path.segments.last().is_some_and(|last| last.ident.to_string().ends_with(name))
}

/// Returns the checks of a type of which only the compiler knows the parts. `ty` is an expression of
/// the type `Arg<P>`.
fn report_inferred(
    krate: &CratePath,
    at: &impl ToTokens,
    skip: &impl ToTokens,
    ty: &TokenStream,
) -> TokenStream {
    let value = quote!((&&&&&#ty).__atasker_faulty());
    let error = quote!((&&&&&#ty).__atasker_faulty_error());
    let value = report(krate, "Portable", at, skip, &value);
    let error = report(krate, "PortableError", at, skip, &error);
    quote!(#value #error)
}

/// Returns the check by a trait. Its error points at all tokens of `at`.
fn report(
    krate: &CratePath,
    by: &str,
    at: &impl ToTokens,
    skip: &impl ToTokens,
    faulty: &TokenStream,
) -> TokenStream {
    let by = format_ident!("{by}", span = Span::mixed_site());
    let checked = At::all_of(at).call(quote!(#skip, #faulty));
    quote!(#krate::__private::#by::__check(#checked);)
}
