//! The bytes that wait to be written to a worker process.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::sync::lock::Mutex;
use crate::sys::ipc;
use crate::sys::mapping::Region;
use crate::wire::buffer_pool::PooledBuf;
use crate::wire::frame::{Filter, Message, ToWorker, decode_ack, decode_filter};

/// The queues of bytes to write.
#[derive(Default)]
pub(crate) struct Outgoing {
    /// Arguments that are too large to be copied at once.
    pub(crate) data: SendQueue,
    /// Frames.
    pub(crate) control: SendQueue,
    /// The worker is not ready, and calls can't be revoked once they are in transit.
    pub(crate) data_held: bool,
}

#[derive(Default)]
pub(crate) struct SendQueue {
    pub(crate) pieces: VecDeque<Piece>,
    /// Bytes of the first piece that are already written.
    pub(crate) written: usize,
}

pub(crate) struct Piece {
    pub(crate) bytes: Arc<PooledBuf>,
    /// The offset in the region of arguments; `None` if the piece goes through the socket.
    pub(crate) to: Option<usize>,
    /// The call that the piece belongs to, and whether it is the first piece of that call.
    pub(crate) of: u64,
    pub(crate) starts_call: bool,
}

impl SendQueue {
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Writes as much as possible without blocking. Returns `true` if more can be written at once.
    /// An error means that the worker is gone, which the reader thread notices as well.
    pub(crate) fn write(&mut self, to: &OwnedFd, args: &Mutex<Region>) -> bool {
        /// Bytes that are copied at once. Then the lock is released, because other threads may want
        /// to revoke the call, or to write.
        const COPY_LIMIT: usize = 1 << 20;
        let mut room = COPY_LIMIT;
        while let Some(piece) = self.pieces.front() {
            let bytes = &piece.bytes[self.written..];
            self.written += match piece.to {
                Some(_) if room == 0 => return true,
                Some(at) => {
                    let count = bytes.len().min(room);
                    args.lock().write(at + self.written, &bytes[..count]);
                    room -= count;
                    count
                }
                None => match ipc::try_write(to, bytes) {
                    Ok(0) => return false,
                    Ok(n) => n,
                    Err(_) => {
                        *self = SendQueue::default();
                        return false;
                    }
                },
            };
            if self.written == piece.bytes.len() {
                self.pieces.pop_front();
                self.written = 0;
            }
        }
        false
    }

    /// Appends bytes that belong to no call.
    pub(crate) fn push(&mut self, bytes: Vec<u8>) {
        self.pieces.push_back(Piece {
            bytes: Arc::new(PooledBuf::new(bytes)),
            to: None,
            of: 0,
            starts_call: true,
        });
    }

    /// Appends an acknowledgment, or adds it to that at the end of the queue. Otherwise a worker
    /// that sends messages but does not read would accumulate acknowledgments.
    pub(crate) fn push_ack(&mut self, call: u64, count: u64) {
        let mut total = count;
        // The first piece may be written in part.
        if (self.pieces.len() > 1 || self.written == 0)
            && let Some((of, before)) = self.pieces.back().and_then(|last| decode_ack(&last.bytes))
            && of == call
        {
            total = total.saturating_add(before);
            self.pieces.pop_back();
        }
        let mut frame = Vec::new();
        ToWorker::Ack { call, count: total }.write(&mut frame);
        self.push(frame);
    }

    /// Appends a filter, or adds it to one that waits. Otherwise a worker that does not read would
    /// accumulate filters.
    pub(crate) fn push_filter(&mut self, filter: Filter) {
        // The first piece may be written in part.
        let first = usize::from(self.written > 0);
        let waiting = self.pieces.iter_mut().skip(first).find_map(|piece| {
            let before = decode_filter(&piece.bytes)?;
            Some((piece, before))
        });
        let mut frame = Vec::new();
        match waiting {
            Some((piece, before)) => {
                ToWorker::Filter(before.followed_by(filter)).write(&mut frame);
                piece.bytes = Arc::new(PooledBuf::new(frame));
            }
            None => {
                ToWorker::Filter(filter).write(&mut frame);
                self.push(frame);
            }
        }
    }

    /// Whether no byte of the call was written yet.
    pub(crate) fn is_whole(&self, call: u64) -> bool {
        let first = self.pieces.iter().position(|piece| piece.of == call && piece.starts_call);
        first.is_some_and(|at| at > 0 || self.written == 0)
    }
}

#[cfg(test)]
mod unit {
    use super::*;
    use crate::wire::frame::MaxLevels;
    use crate::wire::framing::Frames;

    fn frames(queue: &SendQueue) -> Vec<String> {
        let mut frames = Frames::new();
        for piece in &queue.pieces {
            frames.room().extend_from_slice(&piece.bytes);
        }
        let mut all = Vec::new();
        while let Some(frame) = frames.next::<ToWorker<'_>>().unwrap() {
            all.push(format!("{frame:?}"));
        }
        all
    }

    #[test]
    fn acks_for_a_worker_that_does_not_read_are_one_frame() {
        let mut queue = SendQueue::default();
        (0..1000).for_each(|_| queue.push_ack(7, 2));
        assert_eq!(frames(&queue), ["Ack { call: 7, count: 2000 }"]);
        // Written in part.
        queue.written = 3;
        (0..1000).for_each(|_| queue.push_ack(7, 1));
        queue.push_ack(8, 4);
        queue.push_ack(8, u64::MAX);
        assert_eq!(
            frames(&queue),
            [
                "Ack { call: 7, count: 2000 }".to_owned(),
                "Ack { call: 7, count: 1000 }".into(),
                format!("Ack {{ call: 8, count: {} }}", u64::MAX),
            ]
        );
    }

    #[test]
    fn filters_for_a_worker_that_does_not_read_are_one_frame() {
        let filter = |tracing, callsites: &[(u32, bool)]| Filter {
            levels: MaxLevels { tracing, log: 0 },
            callsites: callsites.to_vec(),
        };
        let mut queue = SendQueue::default();
        queue.push_filter(filter(1, &[(0, false), (2, false)]));
        queue.push_ack(7, 1);
        (0..1000).for_each(|n| queue.push_filter(filter(3, &[(2, n % 2 == 0), (3, false)])));
        let merged = filter(3, &[(0, false), (2, false), (3, false)]);
        let ack = "Ack { call: 7, count: 1 }".to_owned();
        assert_eq!(frames(&queue), [format!("Filter({merged:?})"), ack.clone()]);
        // Written in part.
        queue.written = 3;
        queue.push_filter(filter(4, &[(2, true)]));
        queue.push_filter(filter(5, &[]));
        let last = filter(5, &[(2, true)]);
        let all = [format!("Filter({merged:?})"), ack, format!("Filter({last:?})")];
        assert_eq!(frames(&queue), all);
    }
}
