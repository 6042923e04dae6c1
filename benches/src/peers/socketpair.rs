//! A hand-written pool of worker processes: one socket per process, calls in the order of
//! submission, many in flight, written and read in batches. It has no priorities, crash handling,
//! limits or cancellation: it shows about the minimum cost of a pool over sockets.
//!
//! A message is a length (8 bytes), a kind (8 bytes), and the payload.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

use crate::pools::processes::{Processes, check_echo};

/// Marks a copy of this program as one of the worker processes.
const MARK: &str = "ATASKER_BENCHES_SOCKETPAIR";

const HEAD: usize = 16;
const ADD: u64 = 0;
const ECHO: u64 = 1;
const PID: u64 = 2;

/// Does not return if this process is a worker process.
pub fn serve() {
    if std::env::var_os(MARK).is_none() {
        return;
    }
    // SAFETY: the parent passed the socket as standard input, and no other code here uses it.
    let mut socket = UnixStream::from(unsafe { OwnedFd::from_raw_fd(0) });
    let mut incoming = Incoming::default();
    let mut out = Vec::new();
    while incoming.read(&mut socket) {
        while let Some((kind, payload)) = incoming.next() {
            match kind {
                ADD => {
                    message(&mut out, ADD, &(number(payload) + number(&payload[8..])).to_le_bytes())
                }
                ECHO => message(&mut out, ECHO, payload),
                _ => message(&mut out, PID, &u64::from(std::process::id()).to_le_bytes()),
            }
        }
        if socket.write_all(&out).is_err() {
            break;
        }
        out.clear();
    }
    std::process::exit(0);
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"))
}

fn message(out: &mut Vec<u8>, kind: u64, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(payload);
}

/// Bytes that were received and not yet parsed.
#[derive(Default)]
struct Incoming {
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
}

impl Incoming {
    /// Waits for more bytes. Returns false at the end.
    fn read(&mut self, socket: &mut UnixStream) -> bool {
        const ROOM: usize = 1 << 16;
        self.buffer.copy_within(self.begin..self.end, 0);
        self.end -= self.begin;
        self.begin = 0;
        let wanted = match self.end >= HEAD {
            true => HEAD + number(&self.buffer) as usize,
            false => 0,
        };
        let size = wanted.max(self.end + ROOM);
        if self.buffer.len() < size {
            self.buffer.resize(size, 0);
        }
        loop {
            match socket.read(&mut self.buffer[self.end..]) {
                Ok(0) | Err(_) => return false,
                Ok(count) => self.end += count,
            }
            // A large message: its bytes are not moved again until all have arrived.
            if self.end >= wanted {
                return true;
            }
        }
    }

    /// The next complete message.
    fn next(&mut self) -> Option<(u64, &[u8])> {
        let here = &self.buffer[self.begin..self.end];
        if here.len() < HEAD || here.len() - HEAD < number(here) as usize {
            return None;
        }
        let (length, kind) = (number(here) as usize, number(&here[8..]));
        self.begin += HEAD + length;
        Some((kind, &here[HEAD..HEAD + length]))
    }
}

enum Waiting {
    Number(oneshot::Sender<u64>),
    Bytes(oneshot::Sender<Vec<u8>>),
}

struct Worker {
    process: Child,
    socket: UnixStream,
    out: Vec<u8>,
    waiting: Arc<Mutex<VecDeque<Waiting>>>,
}

/// See the documentation of the module.
pub struct Socketpair {
    workers: Vec<Worker>,
    next: usize,
}

/// Calls are written once this number of bytes is buffered.
const BATCH: usize = 1 << 14;

impl Worker {
    fn start() -> Worker {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let process = Command::new("/proc/self/exe")
            .env(MARK, "")
            .stdin(OwnedFd::from(theirs))
            .spawn()
            .unwrap();
        let waiting = Arc::new(Mutex::new(VecDeque::new()));
        let mut from = ours.try_clone().unwrap();
        let answers = Arc::clone(&waiting);
        std::thread::spawn(move || {
            let mut incoming = Incoming::default();
            while incoming.read(&mut from) {
                while let Some((_, payload)) = incoming.next() {
                    let next = answers.lock().unwrap().pop_front();
                    match next.expect("a reply to a call") {
                        Waiting::Number(to) => drop(to.send(number(payload))),
                        Waiting::Bytes(to) => drop(to.send(payload.to_vec())),
                    }
                }
            }
        });
        Worker { process, socket: ours, out: Vec::new(), waiting }
    }

    fn flush(&mut self) {
        self.socket.write_all(&self.out).unwrap();
        self.out.clear();
    }
}

impl Socketpair {
    fn number(&mut self, kind: u64, payload: &[u8]) -> oneshot::Receiver<u64> {
        let (tx, rx) = oneshot::channel();
        self.submit(kind, payload, Waiting::Number(tx));
        rx
    }

    fn submit(&mut self, kind: u64, payload: &[u8], waiting: Waiting) {
        let count = self.workers.len();
        let worker = &mut self.workers[self.next];
        self.next = (self.next + 1) % count;
        worker.waiting.lock().unwrap().push_back(waiting);
        message(&mut worker.out, kind, payload);
        if worker.out.len() >= BATCH {
            worker.flush();
        }
    }

    fn flush(&mut self) {
        self.workers.iter_mut().for_each(Worker::flush);
    }
}

fn pair(a: u64, b: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&a.to_le_bytes());
    bytes[8..].copy_from_slice(&b.to_le_bytes());
    bytes
}

impl Processes for Socketpair {
    fn new(workers: usize) -> Self {
        Socketpair { workers: (0..workers).map(|_| Worker::start()).collect(), next: 0 }
    }
    fn add_all(&mut self, calls: u64) {
        let handles: Vec<_> = (0..calls).map(|i| self.number(ADD, &pair(i, i + 1))).collect();
        self.flush();
        for (i, handle) in (0..).zip(handles) {
            assert_eq!(handle.recv().unwrap(), 2 * i + 1);
        }
    }
    fn add(&mut self, a: u64, b: u64) -> u64 {
        let handle = self.number(ADD, &pair(a, b));
        self.flush();
        handle.recv().unwrap()
    }
    fn echo(&mut self, payload: &[u8], calls: usize) {
        let mut oldest: Option<oneshot::Receiver<Vec<u8>>> = None;
        for _ in 0..calls {
            let (tx, rx) = oneshot::channel();
            self.submit(ECHO, payload, Waiting::Bytes(tx));
            self.flush();
            if let Some(handle) = oldest.replace(rx) {
                check_echo(payload, &handle.recv().unwrap());
            }
        }
        if let Some(handle) = oldest {
            check_echo(payload, &handle.recv().unwrap());
        }
    }
    fn worker_pid(&mut self) -> u32 {
        let handle = self.number(PID, &[]);
        self.flush();
        handle.recv().unwrap() as u32
    }
    fn close(self) {
        for mut worker in self.workers {
            worker.socket.shutdown(std::net::Shutdown::Both).unwrap();
            worker.process.wait().unwrap();
        }
    }
}
