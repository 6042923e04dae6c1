//! The remote functions. Each run writes down when it begins and when it ends.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use atasker::{RecvError, TaskContext, background_task};
use serde::{Deserialize, Serialize};

use crate::log::{self, Log};
use crate::options::Role;

/// The result of most functions.
#[derive(Serialize, Deserialize, Debug, PartialEq, Eq, Hash, Clone)]
pub struct Answer {
    pub call: u64,
    /// The number of the run that has returned it.
    pub attempt: u32,
    pub value: u64,
}

/// A run, from its begin to its end. A panic ends it as well.
struct Run {
    call: u64,
    attempt: u32,
}

fn runs() -> &'static (Log, String) {
    static RUNS: OnceLock<(Log, String)> = OnceLock::new();
    RUNS.get_or_init(|| {
        let role = Role::of_this_process().expect("the node has given it to this process");
        (Log::open(role.folder.join(log::RUNS)), role.name)
    })
}

impl Run {
    fn begin(call: u64, attempt: u32) -> Run {
        let (file, node) = runs();
        let pid = std::process::id();
        file.line(&format!("B {call} {attempt} {} {node} {pid}", log::now()));
        Run { call, attempt }
    }

    fn answer(&self, value: u64) -> Answer {
        Answer { call: self.call, attempt: self.attempt, value }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        runs().0.line(&format!("E {} {} {}", self.call, self.attempt, log::now()));
    }
}

#[background_task(tt = "remote")]
pub fn short(ctx: &TaskContext, call: u64) -> Answer {
    Run::begin(call, ctx.attempt()).answer(call * 3)
}

/// Takes its time, or ends early on a stop request: the value says which.
#[background_task(tt = "remote")]
pub fn long(ctx: &TaskContext, call: u64, time: Duration) -> Answer {
    let run = Run::begin(call, ctx.attempt());
    let stopped = ctx.wait_stop(time);
    ctx.progress(1, 1);
    run.answer(u64::from(stopped))
}

/// Panics in its first runs.
#[background_task(tt = "remote")]
pub fn panics(ctx: &TaskContext, call: u64, bad_runs: u32) -> Answer {
    let run = Run::begin(call, ctx.attempt());
    assert!(ctx.attempt() > bad_runs, "meant");
    run.answer(u64::from(bad_runs))
}

/// Returns an error in its first runs.
#[background_task(tt = "remote")]
pub fn errs(ctx: &TaskContext, call: u64, bad_runs: u32) -> Result<Answer, String> {
    let run = Run::begin(call, ctx.attempt());
    if ctx.attempt() <= bad_runs {
        return Err("meant".to_owned());
    }
    Ok(run.answer(u64::from(bad_runs)))
}

/// Ends its process in its first runs. For nodes with worker processes only.
#[background_task(tt = "remote", queue = "processes")]
pub fn dies(ctx: &TaskContext, call: u64, bad_runs: u32) -> Answer {
    let run = Run::begin(call, ctx.attempt());
    if ctx.attempt() <= bad_runs {
        std::process::abort();
    }
    run.answer(u64::from(bad_runs))
}

/// Does not listen to stop requests. For nodes with worker processes only.
#[background_task(tt = "remote", queue = "processes")]
pub fn hangs(ctx: &TaskContext, call: u64) -> Answer {
    let run = Run::begin(call, ctx.attempt());
    std::thread::sleep(Duration::from_secs(3600));
    run.answer(0)
}

/// Returns the bytes, with the number of the run before them.
#[background_task(tt = "remote")]
pub fn echo(ctx: &TaskContext, call: u64, mut bytes: Vec<u8>) -> Vec<u8> {
    let _run = Run::begin(call, ctx.attempt());
    bytes.extend_from_slice(&ctx.attempt().to_le_bytes());
    bytes
}

/// A message of `talks`: the number of the run, that of the message in this run, and what it answers.
pub type Reply = (u32, u64, u64);

/// Answers each message, until there is none for a while or the last one has come: 0. Returns what
/// this run has received.
#[background_task(tt = "remote")]
pub fn talks(ctx: &TaskContext<u64, Reply>, call: u64, patience: Duration) -> (u32, Vec<u64>) {
    let _run = Run::begin(call, ctx.attempt());
    let mut received = Vec::new();
    let mut until = Instant::now() + patience;
    while Instant::now() < until {
        match ctx.recv_timeout(Duration::from_millis(200)) {
            Ok(message) => {
                received.push(message);
                until = Instant::now() + patience;
                ctx.progress(received.len() as u64, 0);
                let number = received.len() as u64;
                if ctx.send((ctx.attempt(), number, message)).is_err() || message == 0 {
                    break;
                }
            }
            Err(RecvError::Timeout | RecvError::Empty) => {}
            Err(_) => break,
        }
    }
    (ctx.attempt(), received)
}
