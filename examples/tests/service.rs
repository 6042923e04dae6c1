//! Does the example `service` reply, and shut down gracefully while it is busy?

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The time limit for everything in this test.
const FAR: Duration = Duration::from_secs(60);

fn start() -> (Child, impl BufRead, String) {
    // Next to the directory of the tests. `cargo test` builds the examples before it runs tests;
    // with `--test service` it does not.
    let path = std::env::current_exe().unwrap();
    let path = path.parent().unwrap().parent().unwrap().join("examples/service");
    let mut child = Command::new(path)
        .arg("127.0.0.1:0")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run `cargo build --examples` first");
    let mut says = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    says.read_line(&mut line).unwrap();
    let address =
        line.strip_prefix("service: listening on ").and_then(|rest| rest.split(',').next());
    let address = address.expect(&line).to_owned();
    (child, says, address)
}

fn connect(address: &str) -> (TcpStream, impl BufRead) {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(FAR)).unwrap();
    let reader = BufReader::new(stream.try_clone().unwrap());
    (stream, reader)
}

fn next(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line
}

#[test]
fn busy_service_replies_and_shuts_down() {
    for signal in ["TERM", "INT", "HUP"] {
        let (mut child, mut says, address) = start();
        let (mut idle, mut from_idle) = connect(&address);
        idle.write_all(b"1000\nx\n").unwrap();
        assert_eq!(next(&mut from_idle), "168\n");
        assert_eq!(next(&mut from_idle), "not a number\n");
        // Half a line, for longer than one check interval.
        idle.write_all(b"1").unwrap();
        let (mut busy, mut from_busy) = connect(&address);
        // A number that takes too long; the connection gets its reply nevertheless.
        busy.write_all(format!("{}\n", u64::MAX).as_bytes()).unwrap();
        idle.write_all(b"0\n").unwrap();
        assert_eq!(next(&mut from_idle), "4\n");
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        assert_eq!(next(&mut from_busy), "unavailable: the service is shutting down\n");
        assert_eq!((next(&mut from_busy), next(&mut from_idle)), (String::new(), String::new()));
        let mut text = String::new();
        says.read_to_string(&mut text).unwrap();
        assert!(text.ends_with(", 0 abandoned\n"), "{text}");
        assert_eq!(child.wait().unwrap().code(), Some(0), "{text}");
    }
}
