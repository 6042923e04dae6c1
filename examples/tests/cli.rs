//! Does the example `cli` print checksums, report what fails, and end at Ctrl-C?

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};

const CONTENT: &[u8] = b"some text";

/// The example and its output.
struct Cli {
    child: Child,
    out: BufReader<ChildStdout>,
    err: BufReader<ChildStderr>,
}

fn start<A: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = A>) -> Cli {
    // Next to the directory of the tests. `cargo test` builds the examples before it runs tests;
    // with `--test cli` it does not.
    let path = std::env::current_exe().unwrap();
    let path = path.parent().unwrap().parent().unwrap().join("examples/cli");
    let mut child = Command::new(path)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run `cargo build --examples` first");
    let out = BufReader::new(child.stdout.take().unwrap());
    let err = BufReader::new(child.stderr.take().unwrap());
    Cli { child, out, err }
}

impl Cli {
    fn press_ctrl_c(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", "INT", &pid]).status().unwrap().success());
    }

    /// Returns the rest of stdout and stderr, and the exit code.
    fn end(mut self) -> (String, String, Option<i32>) {
        let [mut out, mut err] = [String::new(), String::new()];
        self.out.read_to_string(&mut out).unwrap();
        self.err.read_to_string(&mut err).unwrap();
        (out, err, self.child.wait().unwrap().code())
    }
}

/// Ends a program that a failed test leaves behind.
impl Drop for Cli {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn line(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line
}

/// Creates a directory with a file.
fn directory(test: &str) -> (PathBuf, PathBuf) {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{test}"));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    let file = path.join("file");
    std::fs::write(&file, CONTENT).unwrap();
    (path, file)
}

/// What the example prints for the file.
fn checksum(file: &Path) -> String {
    format!("{}  {}\n", blake3::hash(CONTENT), file.display())
}

#[test]
fn files_are_hashed_and_a_missing_one_is_reported() {
    let (directory, file) = directory("hash");
    let large = directory.join("large");
    let bytes = vec![7; 1_000_000];
    std::fs::write(&large, &bytes).unwrap();
    let missing = directory.join("missing");
    let args = ["--jobs".as_ref(), "1".as_ref(), file.as_path(), &missing, &large];
    let (out, err, code) = start(args).end();
    let of_large = format!("{}  {}\n", blake3::hash(&bytes), large.display());
    assert_eq!(out, checksum(&file) + &of_large, "{err}");
    assert!(err.starts_with(&format!("cli: {}: ", missing.display())), "{err}");
    assert_eq!((err.lines().count(), code), (1, Some(1)), "{err}");
}

#[test]
fn invalid_arguments_are_refused() {
    let cases = [
        (&["--jobs", "0", "file"][..], "'0' for '--jobs <N>'"),
        (&["--job", "1", "file"], "'--job'"),
        (&[], "<FILE>"),
    ];
    for (args, cause) in cases {
        let (out, err, code) = start(args).end();
        assert_eq!((out.as_str(), code), ("", Some(2)), "{err}");
        assert!(err.contains(cause), "{err}");
    }
}

#[test]
fn ctrl_c_stops_running_and_waiting_tasks() {
    let (_, file) = directory("interrupt");
    // The others never end. One of them runs, and the rest waits for it.
    let endless = Path::new("/dev/zero");
    let args = ["--jobs".as_ref(), "1".as_ref(), file.as_path(), endless, endless, endless];
    let mut cli = start(args);
    assert_eq!(line(&mut cli.out), checksum(&file));
    cli.press_ctrl_c();
    let (out, err, code) = cli.end();
    assert_eq!((out.as_str(), code), ("", Some(130)), "{err}");
    let lines: Vec<&str> = err.lines().collect();
    let stopping = "cli: stopping; press Ctrl-C again to end at once";
    assert_eq!(lines, [stopping, "cli: interrupted: 1 of 4 files are complete"]);
}

#[test]
fn second_ctrl_c_ends_program_at_once() {
    let (directory, file) = directory("second");
    // Blocks the task that opens it, which thus does not notice the stop request.
    let pipe = directory.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut cli = start(["--jobs".as_ref(), "2".as_ref(), file.as_path(), &pipe]);
    assert_eq!(line(&mut cli.out), checksum(&file));
    cli.press_ctrl_c();
    assert!(line(&mut cli.err).contains("stopping"));
    cli.press_ctrl_c();
    // Without the report, so it has not waited for the task.
    assert_eq!(cli.end(), (String::new(), String::new(), Some(130)));
}
