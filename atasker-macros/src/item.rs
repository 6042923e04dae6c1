//! Parses the function: its context, parameters, result and attributes.

use crate::hygiene::{error_span, quote};
use proc_macro2::{Span, TokenStream};
use quote::format_ident;
use syn::ext::IdentExt;
use syn::parse::ParseStream;
use syn::punctuated::Punctuated;
use syn::visit::Visit;
use syn::visit_mut::VisitMut;
use syn::{
    Attribute, Block, FnArg, GenericArgument, GenericParam, Ident, Lifetime, Meta, Pat, PatType,
    Path, PathArguments, Receiver, ReturnType, Signature, Token, Type, Visibility, parse_quote,
};

/// The attribute of a function.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Task,
    Worker,
}

impl Role {
    /// Returns the name of the attribute.
    pub(crate) fn attribute(self) -> &'static str {
        match self {
            Role::Task => "background_task",
            Role::Worker => "background_worker",
        }
    }

    /// Returns what the attribute creates, for messages.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Role::Task => "task",
            Role::Worker => "worker",
        }
    }

    /// Returns the name of the context type.
    pub(crate) fn context(self) -> &'static str {
        match self {
            Role::Task => "TaskContext",
            Role::Worker => "WorkerContext",
        }
    }
}

/// A parsed function.
pub(crate) struct TaskFn {
    pub(crate) role: Role,
    pub(crate) attrs: Attrs,
    pub(crate) vis: Visibility,
    /// The signature as written.
    pub(crate) sig: Signature,
    pub(crate) block: Block,
    pub(crate) receiver: Option<Receiver>,
    pub(crate) context: Option<Context>,
    /// References to contexts that are not the first parameter, or are mutable. These are errors.
    pub(crate) misplaced_contexts: Vec<Type>,
    /// The parameters that the caller passes.
    pub(crate) params: Vec<Param>,
}

/// The context parameter, which the supervisor passes.
pub(crate) struct Context {
    pub(crate) by_ref: bool,
    /// The name of the parameter, if it has one.
    pub(crate) name: Option<Ident>,
    /// The type of the parameter as written.
    pub(crate) ty: Type,
    pub(crate) receives: Type,
    pub(crate) sends: Type,
}

/// A parameter that the caller passes.
pub(crate) struct Param {
    /// The name of the launcher's parameter.
    pub(crate) name: Ident,
    pub(crate) ty: Type,
    pub(crate) arg: PatType,
}

/// The attributes of the function, by the generated items that they apply to.
#[derive(Default)]
pub(crate) struct Attrs {
    pub(crate) docs: Vec<Attribute>,
    /// `cfg` and lint levels, which apply to all generated items.
    pub(crate) everywhere: Vec<Attribute>,
    /// `deprecated`, which applies to callers.
    pub(crate) launcher: Vec<Attribute>,
    /// All other attributes, which apply to the body.
    pub(crate) body: Vec<Attribute>,
}

impl Attrs {
    fn sort(attrs: Vec<Attribute>) -> Attrs {
        let mut sorted = Attrs::default();
        for attr in attrs.into_iter().flat_map(split_cfg_attr) {
            let place = match effective_path(&attr).get_ident().map(Ident::to_string).as_deref() {
                Some("doc") => &mut sorted.docs,
                Some("cfg" | "allow" | "warn" | "deny" | "forbid") => &mut sorted.everywhere,
                Some("deprecated") => &mut sorted.launcher,
                _ => &mut sorted.body,
            };
            place.push(attr);
        }
        sorted
    }
}

/// Returns the condition and the attributes of a `cfg_attr`.
fn conditional(attr: &Attribute) -> Option<(Meta, Vec<Meta>)> {
    if !attr.path().is_ident("cfg_attr") {
        return None;
    }
    let metas = attr.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).ok()?;
    let mut metas = metas.into_iter();
    Some((metas.next()?, metas.collect()))
}

/// Splits a `cfg_attr` into one for each attribute, because these may apply to different items.
pub(crate) fn split_cfg_attr(attr: Attribute) -> Vec<Attribute> {
    match conditional(&attr) {
        Some((condition, metas)) => {
            metas.iter().map(|meta| parse_quote!(#[cfg_attr(#condition, #meta)])).collect()
        }
        None => vec![attr],
    }
}

/// Returns the path of an attribute, or of the first attribute in a `cfg_attr`.
pub(crate) fn effective_path(attr: &Attribute) -> Path {
    conditional(attr)
        .and_then(|(_, metas)| Some(metas.first()?.path().clone()))
        .unwrap_or_else(|| attr.path().clone())
}

/// Returns the attribute with `change` applied to its content, inside a `cfg_attr` as well.
pub(crate) fn map_meta(attr: &Attribute, change: impl Fn(&Meta) -> Option<Meta>) -> Attribute {
    let mut changed = attr.clone();
    match conditional(attr) {
        Some((condition, metas)) => {
            let metas = metas.iter().map(|meta| change(meta).unwrap_or_else(|| meta.clone()));
            changed.meta = parse_quote!(cfg_attr(#condition, #(#metas),*));
        }
        None => changed.meta = change(&attr.meta).unwrap_or(changed.meta),
    }
    changed
}

impl TaskFn {
    pub(crate) fn parse(role: Role, input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis: Visibility = input.parse()?;
        let sig: Signature = input.parse()?;
        if input.peek(syn::Token![;]) {
            return Err(syn::Error::new_spanned(
                &sig.ident,
                format!(
                    "#[{}] needs a function with a body: it can't be used on a declaration",
                    role.attribute()
                ),
            ));
        }
        let block: Block = input.parse()?;

        let mut receiver = None;
        let mut context = None;
        let mut misplaced_contexts = Vec::new();
        let mut params = Vec::new();
        for (index, arg) in sig.inputs.iter().enumerate() {
            match arg {
                FnArg::Receiver(found) => receiver = Some(found.clone()),
                FnArg::Typed(arg) => {
                    let first = index == usize::from(receiver.is_some());
                    let shared = !is_mut_reference(&arg.ty);
                    match Context::find(role, arg) {
                        Some(found) if first && shared => context = Some(found),
                        // A context by value may be that of another task, passed as an argument.
                        Some(found) if found.by_ref => {
                            misplaced_contexts.push((*arg.ty).clone());
                            context.get_or_insert(found);
                        }
                        _ => params.push(Param::new(arg, params.len())),
                    }
                }
            }
        }
        let attrs = Attrs::sort(attrs);
        Ok(TaskFn { role, attrs, vis, sig, block, receiver, context, misplaced_contexts, params })
    }
}

impl Context {
    /// Parses a parameter of the context type of `role` or of a reference to it, by any path.
    pub(crate) fn find(role: Role, arg: &PatType) -> Option<Context> {
        let (by_ref, ty) = match bare(&arg.ty) {
            Type::Reference(reference) => (true, bare(&reference.elem)),
            ty => (false, ty),
        };
        let Type::Path(path) = ty else { return None };
        let last = path.path.segments.last()?;
        if last.ident != role.context() {
            return None;
        }
        let mut types = match &last.arguments {
            PathArguments::AngleBracketed(args) => args
                .args
                .iter()
                .filter_map(|arg| match arg {
                    GenericArgument::Type(ty) => Some(ty.clone()),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        }
        .into_iter();
        let unit = || parse_quote!(());
        let name = match &*arg.pat {
            Pat::Ident(pat) => Some(pat.ident.clone()),
            _ => None,
        };
        Some(Context {
            by_ref,
            name,
            ty: (*arg.ty).clone(),
            receives: types.next().unwrap_or_else(unit),
            sends: types.next().unwrap_or_else(unit),
        })
    }
}

impl Param {
    fn new(arg: &PatType, index: usize) -> Param {
        // The body keeps the pattern. The launcher needs a plain name.
        let name = match &*arg.pat {
            Pat::Ident(pat) if pat.subpat.is_none() => pat.ident.clone(),
            _ => format_ident!("arg{}", index, span = Span::mixed_site()),
        };
        Param { name, ty: bare(&arg.ty).clone(), arg: arg.clone() }
    }

    /// Returns the span for errors about the type.
    pub(crate) fn span(&self) -> Span {
        use syn::spanned::Spanned;
        let ty = match &self.ty {
            Type::Reference(reference) => &*reference.elem,
            ty => ty,
        };
        error_span(ty.span())
    }
}

impl TaskFn {
    /// Returns the written return type.
    pub(crate) fn result(&self) -> Type {
        match &self.sig.output {
            ReturnType::Default => parse_quote!(()),
            ReturnType::Type(_, ty) => bare(ty).clone(),
        }
    }

    /// Returns whether the return type is written as a `Result`.
    pub(crate) fn returns_result(&self) -> bool {
        is_written_as_result(&self.result())
    }

    /// Returns the types of the task's channels for `Task<R, I, O>`, or nothing without a context.
    pub(crate) fn channels(&self) -> TokenStream {
        match &self.context {
            Some(Context { receives, sends, .. }) => quote!(, #receives, #sends),
            None => quote!(),
        }
    }

    /// Returns the type of the context as written.
    pub(crate) fn context_type(&self) -> Option<&Type> {
        self.context.as_ref().map(|context| &context.ty)
    }

    /// Returns the parameters of the launcher.
    pub(crate) fn launcher_params(&self) -> Vec<TokenStream> {
        self.params.iter().map(|Param { name, ty, .. }| quote!(#name: #ty)).collect()
    }

    /// Returns `::<T, N>`, which forwards generic parameters, or nothing without any. Lifetimes are
    /// inferred.
    pub(crate) fn turbofish(&self) -> TokenStream {
        let params: Vec<&Ident> = self
            .sig
            .generics
            .params
            .iter()
            .filter_map(|param| match param {
                GenericParam::Type(param) => Some(&param.ident),
                GenericParam::Const(param) => Some(&param.ident),
                GenericParam::Lifetime(_) => None,
            })
            .collect();
        if params.is_empty() { quote!() } else { quote!(::<#(#params),*>) }
    }

    /// Returns whether a type depends on generic parameters or on `Self`, or contains a macro,
    /// which may.
    pub(crate) fn is_generic(&self, ty: &Type) -> bool {
        struct Search<'a>(&'a TaskFn, bool);
        impl Visit<'_> for Search<'_> {
            fn visit_ident(&mut self, ident: &Ident) {
                self.1 |= ident == "Self"
                    || self.0.sig.generics.params.iter().any(|param| match param {
                        GenericParam::Type(param) => param.ident == *ident,
                        GenericParam::Const(param) => param.ident == *ident,
                        GenericParam::Lifetime(_) => false,
                    });
            }
            fn visit_type_impl_trait(&mut self, _: &syn::TypeImplTrait) {
                self.1 = true;
            }
            fn visit_type_infer(&mut self, _: &syn::TypeInfer) {
                self.1 = true;
            }
            fn visit_type_never(&mut self, _: &syn::TypeNever) {
                self.1 = true;
            }
            fn visit_macro(&mut self, _: &syn::Macro) {
                self.1 = true;
            }
        }
        let mut search = Search(self, false);
        search.visit_type(ty);
        search.1
    }

    /// Returns whether the function uses the `Self` of an `impl` block. Items in the body may have
    /// their own `Self`, and the expansion of a macro is unknown, so both are skipped.
    pub(crate) fn names_self_type(&self) -> bool {
        struct Search(bool);
        impl Visit<'_> for Search {
            fn visit_ident(&mut self, ident: &Ident) {
                self.0 |= ident == "Self";
            }
            fn visit_item(&mut self, _: &syn::Item) {}
            fn visit_macro(&mut self, _: &syn::Macro) {}
            fn visit_attribute(&mut self, _: &Attribute) {}
        }
        let mut search = Search(false);
        search.visit_signature(&self.sig);
        search.visit_block(&self.block);
        search.0
    }
}

/// Returns whether a return type is written as a `Result`: its last name ends in that word, as in
/// `Result<T, E>`, `io::Result<T>` or `QueryResult`. The generated code finds out whether it is one.
pub(crate) fn is_written_as_result(ty: &Type) -> bool {
    match bare(ty) {
        Type::Path(path) => path
            .path
            .segments
            .last()
            .is_some_and(|last| last.ident.unraw().to_string().ends_with("Result")),
        _ => false,
    }
}

/// Removes parentheses, and the invisible groups that a `macro_rules!` macro puts around its
/// arguments.
pub(crate) fn bare(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => bare(&group.elem),
        Type::Paren(paren) => bare(&paren.elem),
        ty => ty,
    }
}

pub(crate) fn is_mut_reference(ty: &Type) -> bool {
    matches!(bare(ty), Type::Reference(reference) if reference.mutability.is_some())
}

/// Returns the span of an `impl Trait` in a type, if there is any.
pub(crate) fn impl_trait(ty: &Type) -> Option<Span> {
    struct Search(Option<Span>);
    impl Visit<'_> for Search {
        fn visit_type_impl_trait(&mut self, ty: &syn::TypeImplTrait) {
            self.0 = Some(ty.impl_token.span);
        }
    }
    let mut search = Search(None);
    search.visit_type(ty);
    search.0
}

/// Returns the borrows in a type: references and lifetimes, with a mark for `'static`. Those inside
/// function types (`fn(&str)`, `dyn Fn(&str)`) don't count.
pub(crate) fn borrows(ty: &Type) -> Vec<Borrow> {
    struct Search(Vec<Borrow>);
    impl<'a> Visit<'a> for Search {
        fn visit_type_reference(&mut self, reference: &'a syn::TypeReference) {
            if reference.lifetime.is_none() {
                self.0.push(Borrow { span: reference.and_token.spans[0], is_static: false });
            }
            syn::visit::visit_type_reference(self, reference);
        }
        fn visit_lifetime(&mut self, lifetime: &'a Lifetime) {
            self.0.push(Borrow { span: lifetime.span(), is_static: lifetime.ident == "static" });
        }
        fn visit_type_bare_fn(&mut self, _: &'a syn::TypeBareFn) {}
        fn visit_parenthesized_generic_arguments(
            &mut self,
            _: &'a syn::ParenthesizedGenericArguments,
        ) {
        }
        fn visit_bound_lifetimes(&mut self, _: &'a syn::BoundLifetimes) {}
    }
    let mut search = Search(Vec::new());
    search.visit_type(ty);
    search.0
}

/// A reference or lifetime in a type.
pub(crate) struct Borrow {
    pub(crate) span: Span,
    pub(crate) is_static: bool,
}

/// Replaces every named lifetime by `'_`, for use where none is declared.
pub(crate) fn elide_lifetimes(ty: &Type) -> Type {
    struct Elide;
    impl VisitMut for Elide {
        fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
            if lifetime.ident != "static" {
                lifetime.ident = Ident::new("_", lifetime.ident.span());
            }
        }
        fn visit_type_bare_fn_mut(&mut self, _: &mut syn::TypeBareFn) {}
    }
    let mut ty = ty.clone();
    Elide.visit_type_mut(&mut ty);
    ty
}

/// Replaces every lifetime by `'static`, for use where lifetimes can't be elided.
pub(crate) fn static_lifetimes(ty: &Type) -> Type {
    struct Static;
    impl VisitMut for Static {
        fn visit_type_reference_mut(&mut self, reference: &mut syn::TypeReference) {
            reference.lifetime.get_or_insert_with(|| parse_quote!('static));
            syn::visit_mut::visit_type_reference_mut(self, reference);
        }
        fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
            lifetime.ident = Ident::new("static", lifetime.ident.span());
        }
        fn visit_type_bare_fn_mut(&mut self, _: &mut syn::TypeBareFn) {}
    }
    let mut ty = ty.clone();
    Static.visit_type_mut(&mut ty);
    ty
}
