//! A nats-server of a test's own, on loopback, with a folder of its own. It ends with the test, also
//! if that fails.
#![allow(dead_code)]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use atasker_nats::Nats;
use atasker_runtime::__broker::Broker;

/// How long anything may take that has to happen.
pub const LIMIT: Duration = Duration::from_secs(30);

pub struct Server {
    child: Option<Child>,
    pub port: u16,
    pub dir: tempfile::TempDir,
    config: String,
}

impl Server {
    /// Starts a server with JetStream.
    pub fn start() -> Server {
        Server::with("jetstream { store_dir: \"STORE\" }")
    }

    /// Starts a server with further lines of configuration, in which `STORE` and `DIR` stand for
    /// folders of its own.
    pub fn with(config: &str) -> Server {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dir = tempfile::Builder::new().prefix("atasker-nats-").tempdir().unwrap();
        let mut server = Server { child: None, port, dir, config: config.to_owned() };
        server.run();
        server
    }

    /// Starts servers that replicate their streams.
    pub fn replicated(count: usize) -> Vec<Server> {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let listeners: Vec<_> = (0..count).map(|_| free()).collect();
        let ports: Vec<_> = listeners.iter().map(|l| l.local_addr().unwrap().port()).collect();
        drop(listeners);
        let routes: Vec<_> =
            ports.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
        let routes = routes.join(", ");
        let config = |(number, port): (usize, &u16)| {
            format!(
                "server_name: \"server{number}\"\njetstream {{ store_dir: \"STORE\" }}\ncluster {{ name: \
                 \"c\", listen: \"127.0.0.1:{port}\", routes: [ {routes} ] }}"
            )
        };
        ports.iter().enumerate().map(config).map(|config| Server::with(&config)).collect()
    }

    /// Starts it again, or for the first time, with the same port and folder.
    pub fn run(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let dir = self.dir.path();
        let text = format!("listen: \"127.0.0.1:{}\"\n{}\n", self.port, self.config)
            .replace("STORE", &dir.join("store").display().to_string())
            .replace("DIR", &dir.display().to_string());
        let file = dir.join("server.conf");
        let text =
            if std::env::var_os("NATS_TRACE").is_some() { text + "trace: true\n" } else { text };
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("nats-server");
        command.arg("-c").arg(&file).stderr(Stdio::piped()).stdout(Stdio::null());
        // It may write the files of a consumer whose folder is missing to its working directory.
        command.current_dir(dir);
        // SAFETY: `prctl` is safe to call between `fork` and `exec`.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let mut child = command.spawn().expect("nats-server: install it, or use scripts/nats");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        loop {
            let Some(line) = lines.next() else {
                let _ = child.wait();
                panic!("nats-server has not started:\n{}", said.join("\n"));
            };
            let line = line.unwrap();
            let ready = line.contains("Server is ready");
            if std::env::var_os("NATS_LOG").is_some() {
                eprintln!("{line}");
            }
            said.push(line);
            if ready {
                break;
            }
        }
        // What it says from now on is read, so that it doesn't block.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if std::env::var_os("NATS_LOG").is_some() {
                    eprintln!("{line}");
                }
            }
        });
        self.child = Some(child);
    }

    /// Sets the configuration with which it is started the next time.
    pub fn set(&mut self, config: &str) {
        self.config = config.to_owned();
    }

    /// Ends it by SIGKILL.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it doesn't run");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Ends it by SIGTERM.
    pub fn stop(&mut self) {
        self.signal(libc::SIGTERM);
        self.child.take().unwrap().wait().unwrap();
    }

    pub fn signal(&self, signal: i32) {
        let pid = self.child.as_ref().expect("it doesn't run").id();
        // SAFETY: a plain system call. The child was not waited for, so the pid is its own.
        assert_eq!(unsafe { libc::kill(pid as i32, signal) }, 0);
    }

    /// Lets it print what it does, which is shown if `NATS_LOG` is set, and end.
    pub fn dump(&self) {
        self.signal(libc::SIGQUIT);
        std::thread::sleep(Duration::from_secs(1));
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn nats(&self) -> Nats {
        Nats::new(self.url()).lost_after(Duration::from_secs(2))
    }

    pub async fn broker(&self) -> Arc<dyn Broker> {
        self.nats().__broker().await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Runs a test on a runtime like that of a cluster.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(180), test).await.expect("the test hangs")
    })
}

/// Waits until something is so.
pub async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let end = Instant::now() + LIMIT;
    while !is_so().await {
        assert!(Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
