//! The processes of one repetition: a server with an empty folder, workers, a launcher. Each
//! repetition starts all of them anew, and none outlives it.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything takes that works.
const LIMIT: Duration = Duration::from_secs(120);

/// A process that is killed when this is dropped.
pub struct Process {
    child: Child,
    lines: Option<BufReader<ChildStdout>>,
}

impl Process {
    pub fn start(command: &mut Command) -> Process {
        // SAFETY: `prctl` and `setpgid` may be called between `fork` and `exec`.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                libc::setpgid(0, 0);
                Ok(())
            });
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{:?} does not start: {error}", command.get_program()));
        let lines = child.stdout.take().map(BufReader::new);
        Process { child, lines }
    }

    /// Starts this program in another role.
    pub fn role(args: &[&str]) -> Process {
        let program = std::env::current_exe().expect("the path of this program");
        Process::start(Command::new(program).args(args))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads up to a line that begins with `word`, and returns the rest of it.
    pub fn until(&mut self, word: &str) -> String {
        let lines = self.lines.as_mut().expect("the output is read here");
        let mut line = String::new();
        loop {
            line.clear();
            let read = lines.read_line(&mut line).expect("the output can be read");
            assert!(read > 0, "the process has ended before it said `{word}`");
            if let Some(rest) = line.trim_end().strip_prefix(word) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Reads the figures that the process prints.
    pub fn figures(&mut self) -> Vec<f64> {
        let text = self.until("figures");
        let numbers: Vec<Option<f64>> = serde_json::from_str(&text).expect("figures");
        numbers.into_iter().map(|number| number.unwrap_or(f64::NAN)).collect()
    }

    /// Lets its output pass unread.
    pub fn unread(&mut self) {
        if let Some(mut lines) = self.lines.take() {
            std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        }
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: the process was started here, and is not reaped before this is dropped.
        unsafe { libc::kill(self.pid() as libc::pid_t, signal) };
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self) {
        let begin = Instant::now();
        while self.child.try_wait().expect("it is a child").is_none() {
            assert!(begin.elapsed() < LIMIT, "the process has not ended");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The CPU time of the process and its descendants, in seconds.
    pub fn cpu(&self) -> f64 {
        cpu_of(self.pid())
    }

    /// Its resident memory, in bytes.
    pub fn resident(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kib.map_or(f64::NAN, |kib| kib * 1024.0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // SAFETY: the group was made for this process, which is not reaped yet.
            unsafe { libc::kill(-(self.pid() as libc::pid_t), libc::SIGKILL) };
        }
        let _ = self.child.wait();
    }
}

fn cpu_of(pid: u32) -> f64 {
    let mut sum = 0.0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let read = |name: &str| std::fs::read_to_string(thread.path().join(name));
        let ran = read("schedstat").unwrap_or_default();
        let nanos = ran.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok());
        sum += nanos.unwrap_or(0.0) / 1e9;
        let children = read("children").unwrap_or_default();
        sum +=
            children.split_whitespace().filter_map(|pid| pid.parse().ok()).map(cpu_of).sum::<f64>();
    }
    sum
}

/// A server on loopback, with a folder that is removed at the end.
pub struct Server {
    pub process: Option<Process>,
    port: u16,
    folder: tempfile::TempDir,
    scheme: &'static str,
}

impl Server {
    /// `nats-server` with JetStream, which stores in files.
    pub fn nats() -> Server {
        Server::start("nats")
    }

    /// `redis-server` as it comes.
    pub fn redis() -> Server {
        Server::start("redis")
    }

    fn start(scheme: &'static str) -> Server {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let folder = tempfile::Builder::new().prefix("atasker-benches-").tempdir();
        let folder = folder.expect("a folder");
        let mut server =
            Server { process: None, port: free.expect("a port").port(), folder, scheme };
        server.run();
        server
    }

    /// Starts it, or starts it again, and returns when it has accepted a connection first.
    pub fn run(&mut self) -> u64 {
        let folder: PathBuf = self.folder.path().to_owned();
        let port = self.port.to_string();
        let mut command = match self.scheme {
            "nats" => {
                let mut command = Command::new("nats-server");
                // It may write the files of a consumer whose folder is missing to its working directory.
                command.current_dir(&folder);
                command.args(["-js", "-a", "127.0.0.1", "-p", &port, "-sd"]).arg(folder);
                command
            }
            _ => {
                let mut command = Command::new("redis-server");
                command.args(["--bind", "127.0.0.1", "--port", &port, "--dir"]).arg(folder);
                command
            }
        };
        let mut process = Process::start(command.stderr(Stdio::null()));
        process.unread();
        self.process = Some(process);
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(begin.elapsed() < LIMIT, "the server accepts no connections");
            std::thread::sleep(Duration::from_millis(2));
        }
        let accepts = crate::figures::now();
        // JetStream is there a moment later.
        if self.scheme == "nats" {
            std::thread::sleep(Duration::from_millis(300));
        }
        accepts
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.process = None;
    }

    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("the server runs")
    }

    pub fn url(&self) -> String {
        match self.scheme {
            "nats" => format!("nats://127.0.0.1:{}", self.port),
            _ => format!("redis://127.0.0.1:{}/0", self.port),
        }
    }
}

/// A server, workers, and what they have used when the measurement begins.
pub struct Stage {
    pub server: Server,
    pub workers: Vec<Process>,
}

impl Stage {
    /// Returns the first figure of a launcher that prints `begin`, and then its rate and its own CPU
    /// time per call. Adds the CPU time per call, in microseconds, of all processes, of the launcher,
    /// of the workers, and of the server.
    pub fn rate(&self, mut launcher: Process, count: u64) -> Vec<f64> {
        let used = || {
            let workers: f64 = self.workers.iter().map(Process::cpu).sum();
            (workers, self.server.process().cpu())
        };
        launcher.until("begin");
        let before = used();
        let figures = launcher.figures();
        let after = used();
        let per_call = |seconds: f64| seconds * 1e6 / count as f64;
        let (own, workers) = (figures[1], per_call(after.0 - before.0));
        let server = per_call(after.1 - before.1);
        vec![figures[0], own + workers + server, own, workers, server]
    }
}
