//! Faults of a worker process, for tests.

use std::os::fd::AsRawFd;

use crate::process::transport::entry::ReplyLocation;
use crate::process::worker::{WORKER, current_call};
use crate::sys::{ipc, worker};
use crate::wire::frame::{ToParent, reply_header};

/// Writes bytes to the data socket.
pub(crate) fn send_raw(bytes: &[u8]) {
    if let Some(process) = WORKER.get() {
        let _out = process.outgoing.lock();
        let _ = ipc::write_all(&process.data, bytes);
    }
}

/// Writes bytes to the control socket.
pub(crate) fn send_control(bytes: &[u8]) {
    if let Some(process) = WORKER.get() {
        let _ = ipc::write_all(&process.control, bytes);
    }
}

/// The descriptors of data, control and doorbell.
pub(crate) fn descriptors() -> [std::os::fd::RawFd; 3] {
    let process = WORKER.get().expect("this is a worker");
    [&process.data, &process.control, &process.doorbell].map(AsRawFd::as_raw_fd)
}

/// Corrupts the page, and continues.
pub(crate) fn corrupt_page(pattern: u64) {
    if let Some(process) = WORKER.get() {
        process.page.corrupt(pattern);
    }
}

/// Replies through the page for its own call, and by a frame for another one.
pub(crate) fn reply_for_another() {
    let Some(process) = WORKER.get() else { return };
    let call = current_call();
    process.page.finish(call, ReplyLocation::Socket, &[], process.outgoing.lock().written);
    process.write(&ToParent::Reply { call: call + 1, ok: true, bytes: &[] });
    loop {
        std::thread::park();
    }
}

/// Replies, with a claim that a frame was written before.
pub(crate) fn claim_frames() {
    if let Some(process) = WORKER.get() {
        process.outgoing.lock().written += 1;
    }
}

/// Dies like a worker that is killed while it writes a large reply.
pub(crate) fn die_in_reply(size: usize) {
    let Some(process) = WORKER.get() else { return };
    let call = current_call();
    process.page.finish(call, ReplyLocation::Socket, &[], process.outgoing.lock().written);
    let _ = ipc::write_all(&process.data, &reply_header(call, true, size));
    let _ = ipc::write_all(&process.data, &vec![0; size / 2]);
    worker::exit_with_group();
}
