//! Every wrong use of the attributes and of `background!` gets one error, at the right token, that
//! says what to write instead: one mistake a file. The expected messages are those of the toolchain
//! in use; `TRYBUILD=overwrite cargo test --test ui` writes them anew.

#[test]
fn wrong_uses() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
