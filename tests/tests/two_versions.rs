//! Does cargo reject two incompatible versions of atasker in one program? Both would gather their
//! functions in one table and recognize each other's worker processes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The package section of the runtime's manifest; its dependencies are irrelevant here.
fn package() -> String {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../atasker-runtime/Cargo.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    let package = manifest.split("\n[").next().unwrap();
    let own = |line: &&str| !line.ends_with(".workspace = true");
    package.lines().filter(own).collect::<Vec<_>>().join("\n")
}

fn write(directory: PathBuf, manifest: &str) {
    fs::create_dir_all(directory.join("src")).unwrap();
    fs::write(directory.join("Cargo.toml"), manifest).unwrap();
    fs::write(directory.join("src/lib.rs"), "").unwrap();
    fs::write(directory.join("build.rs"), "fn main() {}").unwrap();
}

/// Whether cargo can resolve a program with these two versions, and its output.
fn resolves(name: &str, versions: &[&str]) -> (bool, String) {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut program = "[package]\nname = \"program\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
                       [workspace]\nexclude = [\"0\", \"1\"]\n[dependencies]\n"
        .to_owned();
    for (index, version) in versions.iter().enumerate() {
        let directory = format!("{index}");
        let manifest = format!("{}\nversion = \"{version}\"\nedition = \"2024\"\n", package());
        write(root.join(&directory), &manifest);
        program +=
            &format!("v{index} = {{ package = \"atasker-runtime\", path = \"{directory}\" }}\n");
    }
    write(root.clone(), &program);
    let _ = fs::remove_file(root.join("Cargo.lock"));
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--offline", "--format-version", "1"])
        .current_dir(&root)
        .output()
        .unwrap();
    fs::remove_dir_all(&root).unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn two_versions_are_rejected() {
    let (resolved, said) = resolves("two-versions", &["0.1.0", "0.2.0"]);
    assert!(!resolved, "{said}");
    assert!(said.contains("links to the native library `atasker`"), "{said}");
}

#[test]
fn one_version_is_accepted() {
    let (resolved, said) = resolves("one-version", &["0.1.0"]);
    assert!(resolved, "{said}");
}
