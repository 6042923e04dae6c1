//! Does every wrong use of the attributes and macros report one error, at the right token, that says what
//! to write instead?
//!
//! Each file contains one mistake. The expected messages are those of the current toolchain;
//! `TRYBUILD=overwrite cargo test --test ui` updates them.

#[cfg(all(
    any(target_os = "linux", target_os = "macos", target_os = "freebsd"),
    not(atasker_no_mp)
))]
#[test]
fn wrong_uses_have_helpful_errors() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}

/// On platforms without worker processes, each use of them reports one error, and nothing else does.
#[cfg(any(
    not(any(target_os = "linux", target_os = "macos", target_os = "freebsd")),
    atasker_no_mp
))]
#[test]
fn uses_of_worker_processes_are_errors() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui-no-mp/*.rs");
}

/// Tasks on other machines have further keys and restrictions.
#[cfg(all(feature = "remote", target_os = "linux", not(atasker_no_mp)))]
#[test]
fn wrong_uses_of_remote_tasks_have_helpful_errors() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui-remote/*.rs");
}

/// Without the feature, each use is one error. Not a part of the usual tests, in which other packages enable the
/// feature: see `scripts/features`.
#[cfg(not(feature = "remote"))]
#[test]
fn remote_task_without_feature_is_one_error() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui-no-remote/*.rs");
}
