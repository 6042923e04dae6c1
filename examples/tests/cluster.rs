//! Does the example `cluster` survey files on several nodes, also when one of them is killed?
//!
//! The tests start a `nats-server`. They are skipped, and say so, where none is installed.

use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

/// A program that ends with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Program {
    fn signal(&self, signal: &str) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }
}

/// Starts a broker and returns its address, and the rest of its log, which is complete when it has
/// ended. `None` if there is no `nats-server`.
fn broker(test: &str, args: &[&str]) -> Option<(Program, String, JoinHandle<Vec<String>>)> {
    let mut command = Command::new("nats-server");
    // A free port, which the log says.
    let folder = directory(test);
    // It may write the files of a consumer whose folder is missing to its working directory.
    command.current_dir(&folder);
    command.args(["-js", "-a", "127.0.0.1", "-p", "-1", "-sd"]).arg(folder).args(args);
    let mut child = match command.stderr(Stdio::piped()).spawn() {
        Ok(child) => Program(child),
        Err(_) => {
            eprintln!("SKIPPED: `nats-server` is not installed; `scripts/nats` installs it");
            return None;
        }
    };
    let mut log = BufReader::new(child.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    let listening = "Listening for client connections on ";
    let address = log.find_map(|line| Some(line.split_once(listening)?.1.to_owned()));
    assert!(log.any(|line| line.contains("Server is ready")));
    // Read at once, so that the server never waits for a reader.
    let rest = std::thread::spawn(move || log.collect());
    Some((child, address.unwrap(), rest))
}

/// Returns an empty directory.
fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cluster-{name}"));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// Starts the example.
fn start(address: &str, args: &[&str]) -> Program {
    // Next to the directory of the tests. `cargo test` builds the examples before it runs tests;
    // with `--test cluster` it does not.
    let path = std::env::current_exe().unwrap();
    let path = path.parent().unwrap().parent().unwrap().join("examples/cluster");
    let mut command = Command::new(path);
    let url = format!("nats://{address}");
    command.args(["--url", &url]).args(args).stdin(Stdio::null());
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    Program(command.spawn().expect("run `cargo build --examples` first"))
}

/// Returns stdout, stderr and the exit code.
fn end(mut program: Program) -> (String, String, Option<i32>) {
    let [mut out, mut err] = [String::new(), String::new()];
    program.0.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    program.0.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    (out, err, program.0.wait().unwrap().code())
}

/// Starts a node and waits until it serves.
#[expect(
    clippy::unbuffered_bytes,
    reason = "a buffer would keep the beginning of what is read later"
)]
fn node(address: &str, name: &str) -> Program {
    let mut node = start(address, &["node", "--jobs", "2", "--name", name]);
    let mut line = Vec::new();
    let out = node.0.stdout.as_mut().unwrap();
    let byte = |byte: io::Result<u8>| byte.unwrap();
    line.extend(out.bytes().map(byte).take_while(|byte| *byte != b'\n'));
    assert_eq!(String::from_utf8(line).unwrap(), format!("{name} serves with 2 slots"));
    node
}

/// Returns a directory with this many files.
fn files(test: &str, count: usize) -> PathBuf {
    let path = directory(&format!("files-{test}"));
    for n in 0..count {
        let text = format!("// File {n}.\nfn number() -> u32 {{\n    {n}\n}}\n");
        std::fs::write(path.join(format!("{n}.rs")), text).unwrap();
    }
    path
}

fn check(result: (String, String, Option<i32>), count: usize) {
    let (out, err, code) = result;
    assert_eq!(code, Some(0), "{out}{err}");
    // Language, files, size and unit, code, comments, blank. Thousands are separated.
    let row = out.lines().find(|line| line.starts_with("Rust ")).expect(&out).replace(',', "");
    let columns: Vec<&str> = row.split_whitespace().collect();
    let numbers = [count, 3 * count, count, 0].map(|number| number.to_string());
    assert_eq!([columns[1], columns[4], columns[5], columns[6]], numbers.each_ref().map(|n| &**n));
    assert!(out.contains("; 0 failed"), "{out}");
}

#[test]
fn files_are_surveyed_by_nodes_that_drain_at_sigterm() {
    let Some((_broker, address, _)) = broker("drain", &[]) else { return };
    let root = files("drain", 60);
    // Calls wait at the broker until there is a node.
    let survey = start(&address, &["submit", root.to_str().unwrap()]);
    let nodes = [node(&address, "north"), node(&address, "south")];
    check(end(survey), 60);

    let (out, err, code) = end(start(&address, &["info"]));
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("2 nodes, 0 dead letters"), "{out}");
    assert!(out.contains("default: 0 waiting, 0 given out"), "{out}");

    for (node, name) in nodes.into_iter().zip(["north", "south"]) {
        node.signal("TERM");
        assert_eq!(end(node), (format!("{name} is drained\n"), String::new(), Some(0)));
    }
}

#[test]
fn calls_of_a_killed_node_run_on_another_one() {
    let Some((_broker, address, _)) = broker("kill", &[]) else { return };
    let root = files("kill", 400);
    let survey = start(&address, &["submit", root.to_str().unwrap()]);
    let north = node(&address, "north");
    north.signal("KILL");
    let _south = node(&address, "south");
    check(end(survey), 400);
}

#[test]
fn rights_in_the_book_are_sufficient() {
    let chapter = include_str!("../../atasker/src/guide/other_machines.md");
    let block = |start: &str| {
        let from = chapter.find(start).unwrap();
        &chapter[from..from + chapter[from..].find("\n```").unwrap()]
    };
    let rights = block("authorization {").replace("video", "survey");
    let from = rights.find("password: \"").unwrap() + "password: \"".len();
    let to = from + rights[from..].find('"').unwrap();
    let rights = format!("{}secret{}", &rights[..from], &rights[to..]);
    let settings = block("max_payload: ").lines().next().unwrap();
    let config = directory("rights-config").join("nats.conf");
    std::fs::write(&config, format!("{settings}\n{rights}\n")).unwrap();

    let Some((broker, address, log)) = broker("rights", &["-c", config.to_str().unwrap()]) else {
        return;
    };
    let refused = end(start(&format!("survey:wrong@{address}"), &["info"]));
    assert!(refused.1.starts_with("cluster: the broker denies access: "), "{}", refused.1);
    let address = format!("survey:secret@{address}");
    let root = files("rights", 30);
    // More than fits into one message.
    std::fs::write(root.join("large.txt"), "word\n".repeat(1 << 20)).unwrap();
    let north = node(&address, "north");
    check(end(start(&address, &["submit", root.to_str().unwrap()])), 30);
    assert_eq!(end(start(&address, &["info"])).2, Some(0));
    north.signal("TERM");
    assert_eq!(end(north).2, Some(0));
    drop(broker);
    let mut log = log.join().unwrap();
    log.retain(|line| line.contains("Violation"));
    assert_eq!(log, [""; 0]);
}

#[test]
fn missing_broker_and_wrong_arguments_are_reported() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (out, err, code) = end(start(&closed.to_string(), &["info"]));
    assert_eq!((out.as_str(), code), ("", Some(2)), "{err}");
    assert!(err.starts_with("cluster: the broker is not reachable: "), "{err}");
    let (_, err, code) = end(start("127.0.0.1", &["serve"]));
    assert!(err.contains("Usage: cluster") && code == Some(2), "{err}");
}
