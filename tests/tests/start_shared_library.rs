//! Does a shared library that contains atasker work with every linker, and does it leave the worker
//! processes of the program that loads it alone?

use std::ffi::{CStr, CString, c_char};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

use atasker_tests::processes::copy_program;
use atasker_tests::{FAR, Watchdog};

const PACKAGE: &str = "atasker-tests-library";

/// Builds a target of the package with additional linker arguments. `None` if that linker is not
/// installed.
fn build(linker: &str, target: &[&str], more: &[String]) -> Option<PathBuf> {
    // One build at a time, because they share a directory, and the file name is the same for each
    // linker.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(|poison| poison.into_inner());
    if Command::new(format!("ld.{linker}")).arg("--version").output().is_err() {
        println!("skipped: there is no ld.{linker}");
        return None;
    }
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests-library/Cargo.toml");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["rustc", "--quiet", "--offline", "--package", PACKAGE]).args(target);
    cargo.arg("--manifest-path").arg(manifest);
    cargo.arg("--target-dir").arg(directory.join("library"));
    cargo.args(["--config", "profile.dev.debug=false", "--", "-C"]);
    cargo.arg(format!("link-arg=-fuse-ld={linker}"));
    for argument in more {
        cargo.arg("-C").arg(format!("link-arg={argument}"));
    }
    // A linker selected by the environment of these tests must not interfere.
    let built =
        cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS").output().unwrap();
    assert!(built.status.success(), "{linker}: {}", text(&built.stderr));
    let is_program = target.contains(&"--bin");
    let built = if is_program { "late" } else { "libatasker_tests_library.so" };
    let kept = directory.join(format!("{linker}-{}-{built}", target.concat().replace('-', "")));
    copy_program(directory.join("library/debug").join(built), &kept);
    Some(kept)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Loads a library into this program and returns its report.
fn load_and_report(library: &Path) -> String {
    let path = CString::new(library.to_str().unwrap()).unwrap();
    // SAFETY: the library belongs to the tests: its constructors may run here, and its function has
    // this type and returns a static string. The library is never unloaded.
    unsafe {
        let loaded = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
        if loaded.is_null() {
            panic!("{}", CStr::from_ptr(libc::dlerror()).to_string_lossy());
        }
        let report = libc::dlsym(loaded, c"library_report".as_ptr());
        assert!(!report.is_null());
        let report: extern "C" fn() -> *const c_char = std::mem::transmute(report);
        CStr::from_ptr(report()).to_string_lossy().into_owned()
    }
}

fn check_report(report: &str, at: &str) {
    assert!(report.contains("thread Ok(14)\n"), "{at}: {report}");
    assert!(report.contains("async Ok(21)\n"), "{at}: {report}");
    let mp = report.lines().find(|line| line.starts_with("mp ")).unwrap();
    assert!(mp.contains("NotStarted") && mp.contains("belongs to a library"), "{at}: {mp}");
}

#[test]
fn library_works_with_every_linker() {
    let c_library = &["--lib"][..];
    let rust_library = &["--lib", "--crate-type", "dylib"][..];
    let kinds = ["bfd", "gold", "lld", "mold"].map(|linker| (linker, c_library));
    for (linker, target) in kinds.into_iter().chain([("bfd", rust_library)]) {
        let at = format!("{linker}, {target:?}");
        let _watchdog = Watchdog::new(&at, 20 * FAR);
        if let Some(library) = build(linker, target, &[]) {
            check_report(&load_and_report(&library), &at);
        }
    }
}

/// Runs the program of `tests/src/bin/startup.rs` with a preloaded library.
fn run_with(library: &Path) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_startup"));
    program.arg("run").env("LD_PRELOAD", library).output().unwrap()
}

#[test]
fn library_does_not_affect_workers_of_program() {
    let _watchdog = Watchdog::new("a preloaded library", 20 * FAR);
    for linker in ["bfd", "lld"] {
        let Some(library) = build(linker, &["--lib"], &[]) else { continue };
        let output = run_with(&library);
        let (out, errors) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success() && errors.is_empty(), "{linker}: {out}\n{errors}");
        assert_eq!(out, "main\nsum 3, elsewhere: true\n", "{linker}");
    }
}

/// A constructor that runs after the hook, in the program and in its worker processes.
#[test]
fn late_constructors_run_in_workers_and_start_none() {
    let _watchdog = Watchdog::new("late constructors", 20 * FAR);
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (source, object) = (directory.join("late.c"), directory.join("late.o"));
    let code = "extern void late_constructor(void);\n\
                __attribute__((constructor)) static void late(void) { late_constructor(); }\n";
    std::fs::write(&source, code).unwrap();
    let compiled = Command::new("cc").arg("-c").arg(&source).arg("-o").arg(&object).status();
    assert!(compiled.expect("the linker of Rust is a C compiler").success());
    for linker in ["bfd", "lld"] {
        let late = [object.display().to_string()];
        let Some(program) = build(linker, &["--bin", "late"], &late) else { continue };
        let output = Command::new(program).output().unwrap();
        assert!(output.status.success(), "{linker}: {output:?}");
        let none = "the task could not be started: a worker process can't have worker processes";
        assert_eq!(
            text(&output.stdout),
            format!("main: Some(\"25\")\nworker: Ok(Some(\"{none}\"))\nworkers: 1\n"),
            "{linker}: {}",
            text(&output.stderr)
        );
    }
}
