//! What does the compiler say to wrong arguments of the `wait_*!` macros?

#[test]
fn wrong_arguments_are_explained() {
    trybuild::TestCases::new().compile_fail("tests/ui/wait/*.rs");
}
