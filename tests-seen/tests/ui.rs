//! What are the compile errors for wrong uses of features that are off by default?
//!
//! Those without the feature are in the package `tests`.

#[test]
fn wrong_uses_have_helpful_errors() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
