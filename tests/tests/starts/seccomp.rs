//! Does a program reach `main` under a seccomp filter that kills processes for receiving from sockets?

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use atasker_tests::{FAR, Watchdog};

/// Ends the process for `recvfrom`, as a filter against network access may do.
fn forbid_recvfrom() -> std::io::Result<()> {
    const NUMBER_OFFSET: u32 = 0;
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let compare = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let answer = (libc::BPF_RET | libc::BPF_K) as u16;
    let op = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        op(load, 0, 0, NUMBER_OFFSET),
        op(compare, 0, 1, libc::SYS_recvfrom as u32),
        op(answer, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
        op(answer, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the filter outlives the calls; both may be made between fork and exec.
    let set = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            | libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
    };
    if set == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

#[test]
fn forbidden_recvfrom_does_not_end_the_program() {
    let _watchdog = Watchdog::new("a program under a filter", FAR);
    let mut program = Command::new(env!("CARGO_BIN_EXE_startup"));
    program.arg("rights").stdin(Stdio::null());
    // SAFETY: the function only makes system calls.
    unsafe { program.pre_exec(forbid_recvfrom) };
    let output = match program.output() {
        Ok(output) => output,
        Err(error) => return println!("skipped: no seccomp filters here: {error}"),
    };
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.starts_with(b"user "), "{output:?}");
}
