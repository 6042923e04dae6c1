//! Recognizes functions inside of an `impl` block or a trait, which a macro can't see.
//!
//! The companion type of a function can't be there, and the compiler would report that in words about
//! a struct which the user has not written. So if the lines above the function look like such a block,
//! the source file is parsed to find out. This happens only where the error is likely. Without a source
//! file, or in doubt, the function counts as a free one.

use std::path::Path;

use syn::visit::Visit;
use syn::{ImplItemFn, ItemFn, Signature, TraitItemFn};

/// Returns whether the function with this name is an associated one.
pub(crate) fn is_associated(name: &syn::Ident) -> bool {
    // Not in a unit test, which is no macro.
    if !proc_macro::is_available() {
        return false;
    }
    // A function that is not indented is not worth reading the file.
    if proc_macro::Span::call_site().column() == 1 {
        return false;
    }
    let span = name.span().unwrap();
    let Some(path) = span.local_file() else { return false };
    is_associated_in(&path, span.line(), &name.to_string())
}

fn is_associated_in(path: &Path, line: usize, name: &str) -> bool {
    let Ok(text) = std::fs::read_to_string(path) else { return false };
    is_below_block(&text, line) && is_associated_only(&text, name)
}

/// Returns whether the first line above `line` that is less indented begins a block of functions.
/// Lines are counted from 1.
fn is_below_block(text: &str, line: usize) -> bool {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let lines: Vec<&str> = text.lines().take(line).collect();
    let Some((last, above)) = lines.split_last() else { return false };
    let mut outer = above.iter().rev().filter(|line| {
        let code = line.trim_start();
        // The end of a header, and what is between items.
        let begins_nothing = code.is_empty()
            || ["{", "}", ")", "]", "where", "//", "#"].iter().any(|start| code.starts_with(start));
        !begins_nothing && indent(line) < indent(last)
    });
    outer.next().is_some_and(|header| {
        // `unsafe impl`, `pub(crate) unsafe trait`, but no function that returns `impl Trait`.
        let words = header.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.filter(|word| !word.is_empty()).take(4).any(|word| word == "impl" || word == "trait")
    })
}

/// Returns whether functions with this name and the attribute occur in `impl` blocks and traits only.
fn is_associated_only(text: &str, name: &str) -> bool {
    struct Search<'a> {
        name: &'a str,
        free: bool,
        associated: bool,
    }
    impl Search<'_> {
        fn matches(&self, sig: &Signature, attrs: &[syn::Attribute]) -> bool {
            sig.ident == self.name
                && sig.receiver().is_none()
                && attrs.iter().any(crate::check::is_own_attribute)
        }
    }
    impl<'a> Visit<'a> for Search<'_> {
        fn visit_item_fn(&mut self, item: &'a ItemFn) {
            self.free |= self.matches(&item.sig, &item.attrs);
            syn::visit::visit_item_fn(self, item);
        }
        fn visit_impl_item_fn(&mut self, item: &'a ImplItemFn) {
            self.associated |= self.matches(&item.sig, &item.attrs);
            syn::visit::visit_impl_item_fn(self, item);
        }
        fn visit_trait_item_fn(&mut self, item: &'a TraitItemFn) {
            self.associated |= self.matches(&item.sig, &item.attrs);
            syn::visit::visit_trait_item_fn(self, item);
        }
    }
    let Ok(file) = syn::parse_file(text) else { return false };
    let mut search = Search { name, free: false, associated: false };
    search.visit_file(&file);
    search.associated && !search.free
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the result for the line that contains `fn f(`.
    fn found(text: &str) -> bool {
        let line = text.lines().position(|line| line.contains("fn f(")).unwrap() + 1;
        is_below_block(text, line) && is_associated_only(text, "f")
    }

    #[test]
    fn associated_function_is_found() {
        assert!(found("impl A {\n    #[background_task]\n    fn f() {}\n}"));
        assert!(found("impl A {\n    #[atasker::background_task(tt = \"mp\")] fn f() {}\n}"));
        assert!(found(
            "mod m {\n    impl A {\n        #[background_task]\n        fn f() {}\n    }\n}"
        ));
        assert!(found("pub unsafe trait A {\n    #[background_task]\n    fn f() {}\n}"));
        let header = "impl<T> B<T> for A<T>\nwhere\n    T: C,\n{\n    const X: u8 = 1;\n\n";
        assert!(found(&format!(
            "{header}    /// Docs.\n    #[background_task]\n    fn f() {{}}\n}}"
        )));
    }

    #[test]
    fn free_function_is_not_found() {
        assert!(!found("#[background_task]\nfn f() {}"));
        assert!(!found("impl A {}\nmod m {\n    #[background_task]\n    fn f() {}\n}"));
        assert!(!found(
            "impl A {\n    fn g() {\n        #[background_task]\n        fn f() {}\n    }\n}"
        ));
        assert!(!found("fn g() -> impl A {\n    #[background_task]\n    fn f() {}\n}"));
        let text = "const T: &str = \"\nimpl A {\n    #\";\nmod m {\n    #[background_task]\n    fn f() {}\n}";
        assert!(!found(text));
    }

    #[test]
    fn doubt_is_no_finding() {
        let both =
            "impl A {\n    #[background_task]\n    fn f() {}\n}\n#[background_task]\nfn f() {}";
        assert!(!found(both));
        assert!(!found("impl A {\n    #[background_task]\n    fn f() {}\n")); // not parsable
        assert!(!is_associated_in(Path::new("/nonexistent"), 1, "f"));
    }
}
