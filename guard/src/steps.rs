//! Counts instructions by letting the kernel stop every thread of a program after each instruction,
//! for programs whose worker processes cannot be started under valgrind. The worker processes run
//! freely and are not counted.

use std::collections::HashSet;
use std::io;
use std::process::Command;
use std::ptr::null_mut;

use libc::{c_int, c_void, pid_t};

const MARK: c_int = libc::SIGUSR2;

/// Must be called by the program before anything else.
pub fn wait_for_counter() {
    // SAFETY: no preconditions.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// Ends a part and begins the next one.
pub fn mark() {
    // SAFETY: no preconditions. The counting process intercepts the signal.
    unsafe { libc::raise(MARK) };
}

/// Runs a program and counts the instructions of all its threads in each part, up to `parts` parts.
pub fn count(program: &mut Command, parts: usize) -> io::Result<Vec<u64>> {
    let mut child = program.spawn()?;
    let pid = child.id() as pid_t;
    let mut status = 0;
    checked(wait_for(pid, &mut status, libc::WUNTRACED))?;
    if !libc::WIFSTOPPED(status) {
        return Err(io::Error::other("the program did not wait for the counter"));
    }
    let options = libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;
    if let Err(error) = checked(ptrace(libc::PTRACE_SEIZE, pid, options as usize) as c_int) {
        child.kill()?;
        child.wait()?;
        return Err(error);
    }
    // SAFETY: no preconditions.
    checked(unsafe { libc::kill(pid, libc::SIGCONT) })?;
    let mut steps = Steps { threads: HashSet::from([pid]), counts: Vec::new(), parts };
    let status = steps.follow(pid)?;
    if !libc::WIFEXITED(status) || libc::WEXITSTATUS(status) != 0 {
        return Err(io::Error::other(format!("the program ended with status {status:#x}")));
    }
    if steps.counts.len() != parts + 1 {
        return Err(io::Error::other(format!("it made {} marks", steps.counts.len())));
    }
    // Instructions after the last mark.
    steps.counts.pop();
    Ok(steps.counts)
}

struct Steps {
    threads: HashSet<pid_t>,
    /// One entry per mark.
    counts: Vec<u64>,
    parts: usize,
}

impl Steps {
    fn counting(&self) -> bool {
        (1..=self.parts).contains(&self.counts.len())
    }

    /// Follows the program until it ends, and returns its status.
    fn follow(&mut self, pid: pid_t) -> io::Result<c_int> {
        loop {
            let mut status = 0;
            let thread = checked(wait_for(-1, &mut status, libc::__WALL))?;
            if !libc::WIFSTOPPED(status) {
                self.threads.remove(&thread);
                if thread == pid {
                    return Ok(status);
                }
                continue;
            }
            let (event, signal) = (status >> 16, libc::WSTOPSIG(status));
            let deliver = match (event, signal) {
                (0, MARK) => {
                    self.counts.push(0);
                    if self.counts.len() == 1 {
                        self.threads.iter().filter(|one| **one != thread).for_each(|one| {
                            // A waiting thread continues to wait, step by step.
                            ptrace(libc::PTRACE_INTERRUPT, *one, 0);
                        });
                    }
                    0
                }
                (0, libc::SIGTRAP) => {
                    if self.counting() {
                        *self.counts.last_mut().expect("a mark was set") += 1;
                    }
                    0
                }
                (0, signal) => signal,
                // Also the first stop of a new thread.
                _ => {
                    self.threads.insert(thread);
                    0
                }
            };
            let request = match self.counting() {
                true => libc::PTRACE_SINGLESTEP,
                false => libc::PTRACE_CONT,
            };
            // The thread may have been killed meanwhile; its end is reported next.
            ptrace(request, thread, deliver as usize);
        }
    }
}

fn ptrace(request: libc::c_uint, thread: pid_t, data: usize) -> i64 {
    // SAFETY: `data` is a number, or points to memory that the request fills.
    unsafe { libc::ptrace(request, thread, null_mut::<c_void>(), data as *mut c_void) }
}

fn wait_for(pid: pid_t, status: &mut c_int, options: c_int) -> pid_t {
    // SAFETY: `status` is valid during the call.
    unsafe { libc::waitpid(pid, status, options) }
}

fn checked(result: c_int) -> io::Result<c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
