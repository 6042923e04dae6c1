//! The values that the constructor takes, and how each run receives them.

use proc_macro2::TokenStream;
use syn::Type;

use crate::hygiene::quote;
use crate::item::{Param, bare};

/// How a run receives a value that the worker owns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Captured {
    /// `T`: each run receives a clone.
    Cloned,
    /// `&T`: each run borrows the value.
    Borrowed,
    /// `&mut T`: each run borrows the value mutably, and changes persist.
    State,
}

impl Captured {
    pub(super) fn of(param: &Param) -> Captured {
        match &param.ty {
            Type::Reference(reference)
                if reference.lifetime.as_ref().is_some_and(|l| l.ident == "static") =>
            {
                Captured::Cloned
            }
            Type::Reference(reference) if reference.mutability.is_some() => Captured::State,
            Type::Reference(_) => Captured::Borrowed,
            _ => Captured::Cloned,
        }
    }

    /// Returns the type that the constructor takes.
    pub(super) fn given(param: &Param) -> TokenStream {
        match (Captured::of(param), &param.ty) {
            (Captured::Borrowed | Captured::State, Type::Reference(reference)) => {
                sized(bare(&reference.elem))
            }
            (_, ty) => quote!(#ty),
        }
    }
}

/// Returns the owned form of a type.
fn sized(ty: &Type) -> TokenStream {
    match ty {
        Type::Slice(slice) => {
            let item = &slice.elem;
            quote!(::std::vec::Vec<#item>)
        }
        Type::Path(path) if path.path.is_ident("str") => quote!(::std::string::String),
        Type::Path(path)
            if path.path.segments.last().is_some_and(|last| {
                ["Path", "OsStr", "CStr"].iter().any(|name| last.ident == name)
                    && last.arguments.is_none()
            }) =>
        {
            // Another type of that name is its own owned form if it is `Clone`.
            quote!(<#ty as ::std::borrow::ToOwned>::Owned)
        }
        // `check` reports this as an error.
        Type::TraitObject(object) => quote!(::std::boxed::Box<#object>),
        ty => quote!(#ty),
    }
}
