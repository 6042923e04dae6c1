//! The network between the processes of a run and the broker: a line for each process, which can be
//! cut.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::options::Network;

/// The lines of a run.
pub enum Net {
    Namespaces(Namespaces),
    Loopback { server: u16, proxies: Vec<Proxy> },
}

/// How a line is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// Nothing is forwarded, and no end is told.
    Silently,
    /// Connections are closed. With namespaces, this is not possible.
    Loudly,
}

impl Net {
    /// Creates this many lines to a server on this port.
    pub fn new(wanted: Option<Network>, lines: usize, server: u16) -> io::Result<Net> {
        let loopback = || {
            let proxies = (0..lines).map(|_| Proxy::start(server)).collect::<io::Result<_>>()?;
            Ok(Net::Loopback { server, proxies })
        };
        match wanted {
            Some(Network::Loopback) => loopback(),
            Some(Network::Namespaces) => Ok(Net::Namespaces(Namespaces::new(lines, server)?)),
            None => Namespaces::new(lines, server).map(Net::Namespaces).or_else(|error| {
                println!("no network namespaces here ({error}): proxies on loopback");
                loopback()
            }),
        }
    }

    pub fn kind(&self) -> Network {
        match self {
            Net::Namespaces(_) => Network::Namespaces,
            Net::Loopback { .. } => Network::Loopback,
        }
    }

    /// The address to which the server is to be bound.
    pub fn host(&self) -> String {
        match self {
            Net::Namespaces(namespaces) => namespaces.host(),
            Net::Loopback { .. } => "127.0.0.1".to_owned(),
        }
    }

    /// Where the server is from here.
    pub fn direct(&self) -> String {
        match self {
            Net::Namespaces(namespaces) => namespaces.url(),
            Net::Loopback { server, .. } => format!("nats://127.0.0.1:{server}"),
        }
    }

    /// Where the server is from the far end of a line.
    pub fn url(&self, line: usize) -> String {
        match self {
            Net::Namespaces(namespaces) => namespaces.url(),
            Net::Loopback { proxies, .. } => format!("nats://127.0.0.1:{}", proxies[line].port),
        }
    }

    /// Puts a process at the far end of a line, as soon as it has been forked.
    pub fn place(&self, line: usize, command: &mut Command) -> io::Result<()> {
        match self {
            Net::Namespaces(namespaces) => namespaces.enter(line, command),
            Net::Loopback { .. } => Ok(()),
        }
    }

    pub fn cut(&self, line: usize, how: Cut) {
        match self {
            Net::Namespaces(namespaces) => namespaces.set(line, false),
            Net::Loopback { proxies, .. } => proxies[line].cut(how),
        }
    }

    pub fn mend(&self, line: usize) {
        match self {
            Net::Namespaces(namespaces) => namespaces.set(line, true),
            Net::Loopback { proxies, .. } => proxies[line].state.store(OPEN, Ordering::SeqCst),
        }
    }
}

const OPEN: u8 = 0;
/// Holds back what it receives.
const HELD: u8 = 1;
/// Closes new connections as well.
const CLOSED: u8 = 2;

/// Forwards the connections to one port to another one.
pub struct Proxy {
    port: u16,
    state: Arc<AtomicU8>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    fn start(server: u16) -> io::Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(AtomicU8::new(OPEN));
        let streams = Arc::<Mutex<Vec<TcpStream>>>::default();
        let proxy = Proxy { port, state: Arc::clone(&state), streams: Arc::clone(&streams) };
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if state.load(Ordering::SeqCst) == CLOSED {
                    continue;
                }
                // Without a server, the near end is closed.
                let Ok(far) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let _ = (near.set_nodelay(true), far.set_nodelay(true));
                let ends = [&near, &far, &near, &far].map(|end| end.try_clone());
                let [Ok(a), Ok(b), Ok(c), Ok(d)] = ends else { continue };
                streams.lock().unwrap().extend([near, far]);
                let (there, back) = (Arc::clone(&state), Arc::clone(&state));
                std::thread::spawn(move || forward(a, b, &there));
                std::thread::spawn(move || forward(d, c, &back));
            }
        });
        Ok(proxy)
    }

    fn cut(&self, how: Cut) {
        self.state.store(if how == Cut::Silently { HELD } else { CLOSED }, Ordering::SeqCst);
        if how == Cut::Loudly {
            for stream in self.streams.lock().unwrap().drain(..) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, state: &AtomicU8) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        while state.load(Ordering::SeqCst) == HELD {
            std::thread::sleep(Duration::from_millis(5));
        }
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// A network namespace for each line, all connected to a bridge.
pub struct Namespaces {
    /// In the names of all devices and namespaces of the run.
    tag: String,
    /// The third byte of the addresses.
    net: u8,
    port: u16,
    lines: usize,
}

impl Namespaces {
    fn new(lines: usize, port: u16) -> io::Result<Namespaces> {
        let pid = std::process::id();
        let tag = format!("at{:05x}", pid % 0xf_ffff);
        let namespaces = Namespaces { tag, net: (pid % 251) as u8 + 1, port, lines };
        let Namespaces { tag, net, .. } = &namespaces;
        let bridge = format!("{tag}b");
        ip(&format!("link add {bridge} type bridge"))?;
        ip(&format!("addr add 10.213.{net}.1/24 dev {bridge}"))?;
        ip(&format!("link set {bridge} up"))?;
        for line in 0..lines {
            let (space, near, far) = namespaces.names(line);
            ip(&format!("netns add {space}"))?;
            ip(&format!("link add {near} type veth peer name {far} netns {space}"))?;
            ip(&format!("link set {near} master {bridge} up"))?;
            ip(&format!("-n {space} addr add 10.213.{net}.{}/24 dev {far}", line + 2))?;
            ip(&format!("-n {space} link set {far} up"))?;
            ip(&format!("-n {space} link set lo up"))?;
        }
        Ok(namespaces)
    }

    fn host(&self) -> String {
        format!("10.213.{}.1", self.net)
    }

    fn url(&self) -> String {
        format!("nats://{}:{}", self.host(), self.port)
    }

    /// The namespace of a line, and its devices there and here.
    fn names(&self, line: usize) -> (String, String, String) {
        let tag = &self.tag;
        (format!("{tag}n{line}"), format!("{tag}h{line}"), format!("{tag}f{line}"))
    }

    fn enter(&self, line: usize, command: &mut Command) -> io::Result<()> {
        use std::os::unix::process::CommandExt as _;
        let space = std::fs::File::open(format!("/var/run/netns/{}", self.names(line).0))?;
        // SAFETY: `setns` may be called between fork and exec, and the file stays open until then.
        unsafe {
            command.pre_exec(move || match libc::setns(space.as_raw_fd(), libc::CLONE_NEWNET) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            });
        }
        Ok(())
    }

    fn set(&self, line: usize, up: bool) {
        let (_, near, _) = self.names(line);
        let state = if up { "up" } else { "down" };
        if let Err(error) = ip(&format!("link set {near} {state}")) {
            println!("the link can't be set {state}: {error}");
        }
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for line in 0..self.lines {
            let (space, near, _) = self.names(line);
            let _ = (ip(&format!("link del {near}")), ip(&format!("netns del {space}")));
        }
        let _ = ip(&format!("link del {}b", self.tag));
    }
}

fn ip(arguments: &str) -> io::Result<()> {
    let output = Command::new("ip").args(arguments.split(' ')).output()?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(io::Error::other(format!("ip {arguments}: {error}")))
        }
    }
}
