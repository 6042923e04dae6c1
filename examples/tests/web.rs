//! Does the example `web` work on uploads, kill what is not wanted any more, and shut down?

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The time limit for everything in this test.
const FAR: Duration = Duration::from_secs(60);

struct Web {
    child: Child,
    says: BufReader<std::process::ChildStderr>,
    address: String,
}

fn start() -> Web {
    // Next to the directory of the tests. `cargo test` builds the examples before it runs tests;
    // with `--test web` it does not.
    let path = std::env::current_exe().unwrap();
    let path = path.parent().unwrap().parent().unwrap().join("examples/web");
    let mut child = Command::new(path)
        .arg("127.0.0.1:0")
        .env("DASHBOARD_TOKEN", "s3cret")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run `cargo build --examples` first");
    let mut says = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    says.read_line(&mut line).unwrap();
    let address = line.split("http://").nth(1).and_then(|rest| rest.split(',').next());
    let address = address.expect(&line).to_owned();
    Web { child, says, address }
}

impl Web {
    fn send(&self, head: &str, body: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(FAR)).unwrap();
        let fields = format!("Host: {}\r\nContent-Length: {}", self.address, body.len());
        write!(stream, "{head}\r\n{fields}\r\nConnection: close\r\n\r\n").unwrap();
        stream.write_all(body).unwrap();
        stream
    }

    fn upload(&self, rounds: u64, body: &[u8]) -> TcpStream {
        self.send(&format!("POST /digest/{rounds} HTTP/1.1"), body)
    }

    /// What the dashboard says about the worker processes.
    fn state(&self) -> String {
        let head = "GET /tasks/api/state HTTP/1.1\r\nAuthorization: Bearer s3cret";
        let (status, body) = answer(self.send(head, b""));
        assert_eq!(status, 200, "{body}");
        body
    }

    fn wait_for(&self, text: &str) {
        let end = Instant::now() + FAR;
        while !self.state().contains(text) {
            assert!(Instant::now() < end, "{text} is not in {}", self.state());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The status and the body.
fn answer(mut stream: TcpStream) -> (u16, String) {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").expect(&text);
    (head[9..12].parse().unwrap(), body.to_owned())
}

#[test]
fn uploads_are_digested_limited_and_given_up() {
    let mut web = start();
    let digest = blake3::hash(blake3::hash(b"some text").as_bytes());
    let (status, body) = answer(web.upload(2, b"some text"));
    assert_eq!((status, body), (200, format!("{digest}\n")));
    assert_eq!(answer(web.send("GET /tasks HTTP/1.1", b"")).0, 401);

    // A client that leaves takes its task with it.
    let client = web.upload(u64::MAX, b"x");
    web.wait_for("\"running_total\":1");
    drop(client);
    web.wait_for("\"running_total\":0");
    // A task that takes too long is killed.
    let (status, body) = answer(web.upload(u64::MAX, b"x"));
    assert_eq!((status, body.as_str()), (504, "too many rounds\n"));

    // A busy service, with an open page, shuts down.
    let client = web.upload(u64::MAX, b"x");
    web.wait_for("\"running_total\":1");
    let head = "GET /tasks/api/events HTTP/1.1\r\nAuthorization: Bearer s3cret";
    let mut page = BufReader::new(web.send(head, b""));
    page.read_line(&mut String::new()).unwrap();
    let pid = web.child.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().unwrap().success());
    assert_eq!(answer(client), (503, "the service is shutting down\n".to_owned()));
    let mut text = String::new();
    web.says.read_to_string(&mut text).unwrap();
    assert!(text.ends_with(", 0 abandoned\n"), "{text}");
    assert_eq!(web.child.wait().unwrap().code(), Some(0), "{text}");
}
