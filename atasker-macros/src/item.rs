//! The function: its context, its parameters, its result, and which of its attributes go where.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::parse::ParseStream;
use syn::visit::Visit;
use syn::visit_mut::VisitMut;
use syn::{
    Attribute, Block, FnArg, GenericArgument, GenericParam, Ident, Lifetime, Pat, PatType,
    PathArguments, Receiver, ReturnType, Signature, Type, Visibility, parse_quote,
};

/// Which attribute stands at a function.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Task,
    Worker,
}

impl Role {
    /// The attribute.
    pub(crate) fn attribute(self) -> &'static str {
        match self {
            Role::Task => "background_task",
            Role::Worker => "background_worker",
        }
    }

    /// What it makes, in messages.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Role::Task => "task",
            Role::Worker => "worker",
        }
    }

    /// The type that its context is known by.
    pub(crate) fn context(self) -> &'static str {
        match self {
            Role::Task => "TaskContext",
            Role::Worker => "WorkerContext",
        }
    }
}

/// A function as it was written, and what was found in it.
pub(crate) struct TaskFn {
    pub(crate) role: Role,
    pub(crate) attrs: Attrs,
    pub(crate) vis: Visibility,
    /// As it was written.
    pub(crate) sig: Signature,
    pub(crate) block: Block,
    pub(crate) receiver: Option<Receiver>,
    pub(crate) context: Option<Context>,
    /// References to contexts that stand elsewhere, or are mutable: mistakes.
    pub(crate) misplaced: Vec<Type>,
    /// Those that the caller gives.
    pub(crate) params: Vec<Param>,
}

/// The context that the supervisor gives.
pub(crate) struct Context {
    pub(crate) by_ref: bool,
    pub(crate) receives: Type,
    pub(crate) sends: Type,
}

/// A parameter that the caller gives.
pub(crate) struct Param {
    /// What the launcher calls it.
    pub(crate) name: Ident,
    pub(crate) ty: Type,
    pub(crate) arg: PatType,
}

/// The function's attributes, sorted by where they belong.
#[derive(Default)]
pub(crate) struct Attrs {
    pub(crate) docs: Vec<Attribute>,
    /// `cfg` and lint levels: on all that is written.
    pub(crate) everywhere: Vec<Attribute>,
    /// `deprecated` and the like: about calling it.
    pub(crate) launcher: Vec<Attribute>,
    /// Everything else is about the body.
    pub(crate) body: Vec<Attribute>,
}

impl Attrs {
    fn sort(attrs: Vec<Attribute>) -> Attrs {
        let mut sorted = Attrs::default();
        for attr in attrs {
            let place = match attr.path().get_ident().map(Ident::to_string).as_deref() {
                Some("doc") => &mut sorted.docs,
                Some("cfg" | "cfg_attr" | "allow" | "warn" | "deny" | "forbid") => {
                    &mut sorted.everywhere
                }
                Some("deprecated") => &mut sorted.launcher,
                _ => &mut sorted.body,
            };
            place.push(attr);
        }
        sorted
    }
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
                    "#[{}] needs the function's body: it can't stand at a declaration",
                    role.attribute()
                ),
            ));
        }
        let block: Block = input.parse()?;

        let mut receiver = None;
        let mut context = None;
        let mut misplaced = Vec::new();
        let mut params = Vec::new();
        for (index, arg) in sig.inputs.iter().enumerate() {
            match arg {
                FnArg::Receiver(found) => receiver = Some(found.clone()),
                FnArg::Typed(arg) => {
                    let first = index == usize::from(receiver.is_some());
                    let shared = !is_mut_reference(&arg.ty);
                    match Context::find(role, arg) {
                        Some(found) if first && shared => context = Some(found),
                        // One by value may be another task's, as an argument.
                        Some(found) if found.by_ref => {
                            misplaced.push((*arg.ty).clone());
                            context.get_or_insert(found);
                        }
                        _ => params.push(Param::new(arg, params.len())),
                    }
                }
            }
        }
        let attrs = Attrs::sort(attrs);
        Ok(TaskFn { role, attrs, vis, sig, block, receiver, context, misplaced, params })
    }
}

impl Context {
    /// A parameter of type `TaskContext<I, O>`, or of a worker's context, or a reference to one, by
    /// whatever path.
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
        Some(Context {
            by_ref,
            receives: types.next().unwrap_or_else(unit),
            sends: types.next().unwrap_or_else(unit),
        })
    }
}

impl Param {
    fn new(arg: &PatType, index: usize) -> Param {
        // The pattern stays with the body; the launcher needs a plain name for it.
        let name = match &*arg.pat {
            Pat::Ident(pat) if pat.subpat.is_none() => pat.ident.clone(),
            _ => format_ident!("arg{}", index, span = Span::call_site()),
        };
        Param { name, ty: bare(&arg.ty).clone(), arg: arg.clone() }
    }

    /// Where an error about its type should point.
    pub(crate) fn span(&self) -> Span {
        use syn::spanned::Spanned;
        let ty = match &self.ty {
            Type::Reference(reference) => &*reference.elem,
            ty => ty,
        };
        ty.span().resolved_at(Span::call_site())
    }
}

impl TaskFn {
    /// The type written as its result.
    pub(crate) fn result(&self) -> Type {
        match &self.sig.output {
            ReturnType::Default => parse_quote!(()),
            ReturnType::Type(_, ty) => bare(ty).clone(),
        }
    }

    /// The result is written as some `Result<..>`.
    pub(crate) fn returns_result(&self) -> bool {
        match self.result() {
            Type::Path(path) => path.path.segments.last().is_some_and(|s| s.ident == "Result"),
            _ => false,
        }
    }

    /// The types of the task's channels, for `Task<R, I, O>`: nothing without a context.
    pub(crate) fn channels(&self) -> TokenStream {
        match &self.context {
            Some(Context { receives, sends, .. }) => quote!(, #receives, #sends),
            None => quote!(),
        }
    }

    /// The parameters as the launcher has them.
    pub(crate) fn launcher_params(&self) -> Vec<TokenStream> {
        self.params.iter().map(|Param { name, ty, .. }| quote!(#name: #ty)).collect()
    }

    /// `::<T, N>`, to hand generic parameters on; nothing without any. Lifetimes are found anyway.
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

    /// Whether a type depends on the function's generic parameters, or on the type around it.
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

    /// Whether `Self` is named anywhere: then it stands in an `impl` block.
    pub(crate) fn names_self_type(&self) -> bool {
        fn search(tokens: TokenStream) -> bool {
            tokens.into_iter().any(|token| match token {
                proc_macro2::TokenTree::Ident(ident) => ident == "Self",
                proc_macro2::TokenTree::Group(group) => search(group.stream()),
                _ => false,
            })
        }
        search(self.sig.to_token_stream())
            || (search(self.block.to_token_stream()) && !self.block_has_impl())
    }

    /// An `impl` inside the body has a `Self` of its own.
    fn block_has_impl(&self) -> bool {
        fn search(tokens: TokenStream) -> bool {
            tokens.into_iter().any(|token| match token {
                proc_macro2::TokenTree::Ident(ident) => {
                    ident == "impl" || ident == "trait" || ident == "struct" || ident == "enum"
                }
                proc_macro2::TokenTree::Group(group) => search(group.stream()),
                _ => false,
            })
        }
        search(self.block.to_token_stream())
    }
}

/// The type without parentheses, and without the invisible ones that a `macro_rules!` puts around
/// what it was given.
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

/// Whether `impl Trait` stands anywhere in a type.
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

/// The borrows in a type: references and named lifetimes that are not `'static`. Those inside the
/// types of functions (`fn(&str)`, `dyn Fn(&str)`) are no borrows.
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

/// The type with every named lifetime left to inference, for use where none is declared.
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

/// The type with every lifetime and every reference `'static`, for use where nothing can be elided.
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
