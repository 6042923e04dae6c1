//! The spans of generated code.
//!
//! Generated tokens have *mixed-site* spans: generated local variables are invisible to the user's
//! code and the user's variables are invisible to generated code, so that their names can't
//! conflict. Everything else is resolved at the call site of the macro, which the user's types
//! require.

use proc_macro2::Span;

/// `quote::quote!` with mixed-site spans.
macro_rules! quote {
    ($($tokens:tt)*) => {
        ::quote::quote_spanned!(::proc_macro2::Span::mixed_site()=> $($tokens)*)
    };
}
pub(crate) use quote;

/// Returns the span for generated tokens that an error may be reported at: located at the user's
/// tokens, and resolved like the rest of the generated code.
pub(crate) fn error_span(span: Span) -> Span {
    span.resolved_at(Span::mixed_site())
}
