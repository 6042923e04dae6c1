//! A Redis server for one test, on a free port of 127.0.0.1.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use redis::{Client, Connection, FromRedisValue, cmd};
use tempfile::TempDir;

/// The time limit for everything in these tests.
const FAR: Duration = Duration::from_secs(60);

/// Held from the choice of a port until it is used, so that no other server gets the port of one
/// that is restarting, whose clients reconnect.
static PORTS: Mutex<()> = Mutex::new(());

/// A server, which ends when dropped.
pub struct Server {
    process: Option<Child>,
    directory: TempDir,
    port: u16,
    password: Option<&'static str>,
}

impl Server {
    /// # Panics
    /// If `redis-server` is not installed or does not start.
    pub fn start() -> Server {
        Self::with_password(None)
    }

    /// # Panics
    /// As `start`.
    pub fn with_password(password: Option<&'static str>) -> Server {
        let _ports = ports();
        // Another program may take the port first.
        for _ in 0..20 {
            let directory = TempDir::new().unwrap();
            let mut server = Server { process: None, directory, port: free_port(), password };
            if server.launch() {
                return server;
            }
        }
        panic!("no free port was found for redis-server");
    }

    /// Kills the server and restarts it on the same port, empty.
    ///
    /// # Panics
    /// If it does not run, or if its port does not become free in time.
    pub fn restart(&mut self) {
        let _ports = ports();
        self.kill();
        let end = Instant::now() + FAR;
        while !self.launch() {
            assert!(Instant::now() < end, "the port is still in use");
        }
    }

    /// Returns false if the port is in use.
    fn launch(&mut self) -> bool {
        let mut command = Command::new("redis-server");
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--appendonly", "no", "--dir"]).arg(self.directory.path());
        if let Some(password) = self.password {
            command.args(["--requirepass", password]);
        }
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process =
            process.spawn().expect("redis-server is not installed: apt-get install redis-server");
        let pid = process.id();
        self.process = Some(process);
        let end = Instant::now() + FAR;
        loop {
            if self.process.as_mut().unwrap().try_wait().unwrap().is_some() {
                return false;
            }
            // The server that replies must be this one, not the previous one on this port.
            if self
                .try_connect()
                .is_some_and(|mut it| info(&mut it, "process_id") == pid.to_string())
            {
                return true;
            }
            assert!(Instant::now() < end, "redis-server does not reply");
            sleep(Duration::from_millis(10));
        }
    }

    /// Kills the server.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Stops the server by SIGSTOP; requests are buffered in its sockets.
    ///
    /// # Panics
    /// If it does not run.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Resumes the server.
    ///
    /// # Panics
    /// If it does not run.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let pid = self.process.as_ref().unwrap().id();
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status();
        assert!(sent.unwrap().success());
    }

    /// The URL, with the password if there is one.
    pub fn url(&self) -> String {
        let user = self.password.map_or_else(String::new, |password| format!(":{password}@"));
        format!("redis://{user}127.0.0.1:{}/", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    fn try_connect(&self) -> Option<Connection> {
        Client::open(self.url()).unwrap().get_connection_with_timeout(FAR).ok()
    }

    /// Sends a command.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut connection = self.try_connect().expect("the server runs");
        cmd(words[0]).arg(&words[1..]).query(&mut connection).unwrap()
    }

    /// The number of connections that wait for an element.
    pub fn blocked(&self) -> u32 {
        let mut connection = self.try_connect().expect("the server runs");
        info(&mut connection, "blocked_clients").parse().unwrap()
    }

    /// The number of subscribers of a channel.
    pub fn listeners(&self, channel: &str) -> u32 {
        self.ask::<(String, u32)>(&["PUBSUB", "NUMSUB", channel]).1
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
    }
}

fn ports() -> MutexGuard<'static, ()> {
    PORTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A port without a listener.
///
/// # Panics
/// If there is none.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn info(connection: &mut Connection, key: &str) -> String {
    let text: String = cmd("INFO").query(connection).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}
