//! A small HTTP client, which sends exactly what a test says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use serde_json::Value;

use atasker_tests::FAR;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The reason of a refusal with this status.
    #[track_caller]
    pub fn refused(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        let json = self.json();
        assert_eq!(json.as_object().unwrap().len(), 1, "{json}");
        json["error"].as_str().unwrap().to_owned()
    }
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    addr: SocketAddr,
    method: String,
    path: String,
    host: Option<String>,
    headers: Vec<(String, String)>,
    body: String,
    from: Option<IpAddr>,
}

pub fn get(addr: SocketAddr, path: &str) -> Request {
    request(addr, "GET", path)
}

/// A POST as the page sends it.
pub fn post(addr: SocketAddr, path: &str) -> Request {
    request(addr, "POST", path).header("x-atasker", "1")
}

/// The form to sign in.
pub fn login(addr: SocketAddr, path: &str, token: &str) -> Request {
    let form = "application/x-www-form-urlencoded";
    request(addr, "POST", path).header("content-type", form).body(&format!("token={token}"))
}

pub fn request(addr: SocketAddr, method: &str, path: &str) -> Request {
    Request {
        addr,
        method: method.to_owned(),
        path: path.to_owned(),
        host: Some(addr.to_string()),
        headers: Vec::new(),
        body: String::new(),
        from: None,
    }
}

impl Request {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn host(mut self, host: Option<&str>) -> Self {
        self.host = host.map(str::to_owned);
        self
    }

    pub fn body(mut self, body: &str) -> Self {
        self.body = body.to_owned();
        self
    }

    /// The client's address.
    pub fn from(mut self, address: IpAddr) -> Self {
        self.from = Some(address);
        self
    }

    /// Sends the request, and returns the connection after the head of the answer.
    pub fn open(self) -> (Answer, BufReader<TcpStream>) {
        let stream = self.connect();
        stream.set_read_timeout(Some(FAR)).unwrap();
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        if let Some(host) = &self.host {
            text += &format!("Host: {host}\r\n");
        }
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += &format!("Content-Length: {}\r\nConnection: close\r\n\r\n", self.body.len());
        (&stream).write_all((text + &self.body).as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let line = line(&mut reader);
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let mut answer =
            Answer { status: status.expect(&line), headers: Vec::new(), body: Vec::new() };
        loop {
            let line = self::line(&mut reader);
            let Some((name, value)) = line.split_once(':') else { break };
            answer.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        (answer, reader)
    }

    /// Sends the request, and returns the whole answer.
    pub fn send(self) -> Answer {
        let (mut answer, mut reader) = self.open();
        reader.read_to_end(&mut answer.body).unwrap();
        if answer.header("transfer-encoding") == Some("chunked") {
            answer.body = unchunked(&answer.body);
        }
        answer
    }

    fn connect(&self) -> TcpStream {
        let Some(from) = self.from else { return TcpStream::connect(self.addr).unwrap() };
        // std can't bind a socket before it connects.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let stream = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::new(from, 0)).unwrap();
            socket.connect(self.addr).await.unwrap()
        });
        let stream = stream.into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        stream
    }
}

fn line(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|two| two == b"\r\n").unwrap();
        let len = std::str::from_utf8(&body[..end]).unwrap();
        let len = usize::from_str_radix(len, 16).unwrap();
        if len == 0 {
            return whole;
        }
        whole.extend(&body[end + 2..][..len]);
        body = &body[end + 2 + len + 2..];
    }
}

/// Server-sent events.
pub struct Events {
    reader: BufReader<TcpStream>,
    /// What a chunk has brought beyond the last event.
    rest: String,
}

impl Events {
    /// # Panics
    /// If the answer is none of events.
    #[track_caller]
    pub fn open(request: Request) -> Events {
        let (answer, reader) = request.open();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        Events { reader, rest: String::new() }
    }

    /// The next event: its name and its data. `None` at the end.
    pub fn next_event(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.rest.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.rest = rest;
                let field = |name: &str| {
                    let mut lines = event.lines().filter_map(|line| line.split_once(": "));
                    lines.find(|(of, _)| *of == name).map(|(_, value)| value.to_owned())
                };
                let data = field("data").unwrap();
                return Some((field("event").unwrap(), serde_json::from_str(&data).unwrap()));
            }
            let len = usize::from_str_radix(&line(&mut self.reader), 16).ok().filter(|n| *n > 0)?;
            let mut chunk = vec![0; len + 2];
            self.reader.read_exact(&mut chunk).ok()?;
            self.rest += std::str::from_utf8(&chunk[..len]).unwrap();
        }
    }

    /// The next event of this name.
    pub fn next_of(&mut self, name: &str) -> Option<Value> {
        loop {
            match self.next_event()? {
                (of, data) if of == name => return Some(data),
                _ => {}
            }
        }
    }
}
