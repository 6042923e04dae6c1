//! What are the compile errors for wrong arguments of the `wait_*!` macros?

#[test]
fn wrong_arguments_have_helpful_errors() {
    trybuild::TestCases::new().compile_fail("tests/ui/wait/*.rs");
}
