//! The processes of a run: the broker, nodes, submitters.

use std::fs::File;
use std::io;
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use atasker_tests::processes::Process;

use crate::net::Net;
use crate::options::{ROLE, Role};

/// The folder for the temporary files of the members, in that of the run.
pub const TEMPORARY: &str = "tmp";

/// How long a server may take to start.
const START: Duration = Duration::from_secs(30);

/// Ends a process with the thread that has started it.
fn ends_with_parent(command: &mut Command) {
    // SAFETY: `prctl` may be called between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
}

pub fn signal(pid: u32, signal: i32) {
    // SAFETY: a plain system call.
    unsafe { libc::kill(pid as i32, signal) };
}

/// A nats-server with file storage.
pub struct Server {
    folder: PathBuf,
    address: String,
    child: Option<Child>,
}

impl Server {
    pub fn new(folder: &Path, net: &Net, port: u16) -> io::Result<Server> {
        let address = format!("{}:{port}", net.host());
        let store = folder.join("store");
        let config = format!(
            "listen: \"{address}\"\nmax_payload: 1MB\nlog_file: \"{}\"\njetstream {{ store_dir: \"{}\" }}\n",
            folder.join("nats.log").display(),
            store.display()
        );
        std::fs::write(folder.join("nats.conf"), config)?;
        Ok(Server { folder: folder.to_owned(), address, child: None })
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Starts it, and waits until it accepts connections.
    pub fn start(&mut self) -> io::Result<()> {
        let mut command = Command::new("nats-server");
        command.arg("-c").arg(self.folder.join("nats.conf")).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        ends_with_parent(&mut command);
        let mut child = command.spawn()?;
        let until = Instant::now() + START;
        while TcpStream::connect(&self.address).is_err() {
            if let Some(status) = child.try_wait()? {
                return Err(io::Error::other(format!("nats-server has ended: {status}")));
            }
            if Instant::now() > until {
                let _ = (child.kill(), child.wait());
                return Err(io::Error::other("nats-server does not accept connections"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.child = Some(child);
        Ok(())
    }

    /// Ends it by a signal. A clean end takes at most some seconds.
    pub fn end(&mut self, with: i32) {
        let Some(mut child) = self.child.take() else { return };
        signal(child.id(), with);
        let _ = child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end(libc::SIGKILL);
    }
}

/// A node or a submitter.
pub struct Member {
    pub role: Role,
    pub line: usize,
    /// It was asked to drain.
    pub is_drained: bool,
    child: Child,
}

impl Member {
    pub fn start(role: Role, net: &Net, line: usize) -> io::Result<Member> {
        let output = File::options()
            .append(true)
            .create(true)
            .open(role.folder.join(format!("{}.out", role.name)))?;
        let mut command = Command::new(std::env::current_exe()?);
        let temporary = role.folder.join(TEMPORARY);
        std::fs::create_dir_all(&temporary)?;
        command.env(ROLE, role.to_text()).env("TMPDIR", temporary);
        command.stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(output);
        ends_with_parent(&mut command);
        net.place(line, &mut command)?;
        Ok(Member { role, line, is_drained: false, child: command.spawn()? })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns whether it has ended, and how.
    pub fn ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(|status| status.to_string())
    }

    pub fn is_stopped(&self) -> bool {
        Process::of(self.pid()).is_some_and(|process| process.state == 'T')
    }

    /// Closes its standard input.
    pub fn close_stdin(&mut self) {
        self.child.stdin.take();
    }

    pub fn kill(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }

    /// Stops it, and its worker processes if this is the whole machine.
    pub fn freeze(&self, whole: bool) {
        signal(self.pid(), libc::SIGSTOP);
        if whole {
            children_of(self.pid()).into_iter().for_each(|pid| signal(pid, libc::SIGSTOP));
        }
    }

    pub fn thaw(&self) {
        children_of(self.pid()).into_iter().for_each(|pid| signal(pid, libc::SIGCONT));
        signal(self.pid(), libc::SIGCONT);
    }

    /// Waits until it has ended. Returns its status.
    pub fn wait(&mut self, limit: Duration) -> Option<String> {
        let until = Instant::now() + limit;
        loop {
            let ended = self.ended();
            if ended.is_some() || Instant::now() > until {
                return ended;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

fn pids() -> Vec<u32> {
    let all = std::fs::read_dir("/proc").into_iter().flatten();
    all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

fn children_of(parent: u32) -> Vec<u32> {
    let mut all = pids();
    all.retain(|pid| Process::of(*pid).is_some_and(|process| process.parent == parent));
    all
}

/// The processes that belong to the run of this folder, worker processes included, and their commands.
pub fn of_run(folder: &Path) -> Vec<(u32, String)> {
    let mark = folder.to_string_lossy().into_owned();
    let belongs = |pid: &u32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let text = String::from_utf8_lossy(&environment);
        text.split('\0').any(|variable| variable.starts_with(ROLE) && variable.contains(&mark))
            && !Process::is_gone(*pid)
    };
    let command = |pid: u32| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        (pid, String::from_utf8_lossy(&command).replace('\0', " "))
    };
    pids().into_iter().filter(belongs).map(command).collect()
}
