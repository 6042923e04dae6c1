//! Does the example `embed` use worker processes without a word about them?

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Returns stdout, stderr and the exit code.
fn run(files: &[&Path]) -> (String, String, Option<i32>) {
    // Next to the directory of the tests. `cargo test` builds the examples before it runs tests;
    // with `--test embed` it does not.
    let path = std::env::current_exe().unwrap();
    let path = path.parent().unwrap().parent().unwrap().join("examples/embed");
    let output = Command::new(path)
        .args(files)
        .stdin(Stdio::null())
        .output()
        .expect("run `cargo build --examples` first");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code())
}

fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("embed-{name}"));
    std::fs::write(&path, content).unwrap();
    path
}

#[test]
fn program_does_not_mention_the_library_of_tasks() {
    for text in [include_str!("../embed/main.rs"), include_str!("../embed/thumbs/src/lib.rs")] {
        assert!(text.contains("thumbnails"));
    }
    assert!(!include_str!("../embed/main.rs").to_lowercase().contains("atasker"));
}

#[test]
fn picture_is_shown_and_a_bomb_costs_only_itself() {
    let (out, err, code) = run(&[]);
    let picture = out.strip_prefix("ball:\n").expect(&out);
    let rows: Vec<&str> = picture.lines().take(24).collect();
    assert!(rows.len() == 24 && rows.iter().all(|row| row.len() == 48), "{out}");
    // Bright in the upper left, dark in the corners.
    assert_eq!((&rows[6][13..15], rows[0].trim(), rows[23].trim()), ("@@", "", ""), "{out}");
    // The kernel refuses the allocation, and the worker process aborts.
    assert_eq!(err, "embed: bomb: can't be decoded: memory limit, SIGABRT (6)\n");
    assert_eq!(code, Some(1));
}

#[test]
fn files_are_shown_or_refused_by_content() {
    // White and black columns, two pixels wide.
    let columns: Vec<u8> = [255, 255, 0, 0].repeat(24 * 4);
    let good = file("good.pgm", &[b"P5 # comment\n96 4\n255\n", &columns[..]].concat());
    let short = file("short.pgm", b"P5 2 2 255\nxxx");
    let other = file("other.pgm", b"P6 1 1 255\nxxx");
    let (out, err, code) = run(&[&good, &short, &other]);
    assert_eq!(out, format!("{}:\n{}\n\n", good.display(), "@ ".repeat(24)), "{err}");
    let line = |file: &Path, cause| format!("embed: {}: not a picture: {cause}\n", file.display());
    let lines = [line(&short, "pixels are missing"), line(&other, "it does not begin with `P5`")];
    assert_eq!((err, code), (lines.concat(), Some(1)));
}
