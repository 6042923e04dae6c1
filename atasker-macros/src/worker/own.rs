//! What the constructor is given, and how a run has it.

use proc_macro2::TokenStream;
use quote::quote;
use syn::Type;

use crate::item::{Param, bare};

/// How a run has one of the worker's own values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    /// By value: a clone for each run.
    Cloned,
    /// `&T`: the worker owns it and lends it to each run.
    Lent,
    /// `&mut T`: likewise; what a run has changed, the next one finds.
    Kept,
}

impl Own {
    pub(super) fn of(param: &Param) -> Own {
        match &param.ty {
            Type::Reference(reference)
                if reference.lifetime.as_ref().is_some_and(|l| l.ident == "static") =>
            {
                Own::Cloned
            }
            Type::Reference(reference) if reference.mutability.is_some() => Own::Kept,
            Type::Reference(_) => Own::Lent,
            _ => Own::Cloned,
        }
    }

    /// The type that the constructor is given.
    pub(super) fn given(param: &Param) -> TokenStream {
        match (Own::of(param), &param.ty) {
            (Own::Lent | Own::Kept, Type::Reference(reference)) => sized(bare(&reference.elem)),
            (_, ty) => quote!(#ty),
        }
    }
}

/// What owns a value of that type.
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
            // Somebody's own type of that name is its own owner if it is `Clone`.
            quote!(<#ty as ::std::borrow::ToOwned>::Owned)
        }
        // That was reported.
        Type::TraitObject(object) => quote!(::std::boxed::Box<#object>),
        ty => quote!(#ty),
    }
}
