//! A shared library with tasks of all three kinds, for a program that loads it at run time.

use std::ffi::{CString, c_char};

use atasker::{MpPoolConfig, Supervisor, background_task};

#[background_task]
fn double(n: u64) -> u64 {
    2 * n
}

#[background_task]
async fn triple(n: u64) -> u64 {
    3 * n
}

#[background_task(tt = "mp")]
fn square(n: u64) -> u64 {
    n * n
}

/// The outcome of a task of each kind, one per line. The caller owns the string.
#[unsafe(no_mangle)]
pub extern "C" fn library_report() -> *mut c_char {
    let supervisor = Supervisor::builder()
        .mp_pool(MpPoolConfig::new(1).worker_init(|| println!("a worker of a library")))
        .build();
    let thread = double::builder(7).supervisor(&supervisor).start().join();
    let future = triple::builder(7).supervisor(&supervisor).start().join();
    let process = square::builder(7).supervisor(&supervisor).start().join();
    let text = format!("thread {thread:?}\nasync {future:?}\nmp {process:?}\n");
    CString::new(text).expect("no NUL byte").into_raw()
}
