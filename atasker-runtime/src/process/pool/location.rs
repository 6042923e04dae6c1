//! Where a task is, as its header says.

use std::sync::atomic::Ordering;

use crate::task::AnyTask;

/// Where a task is, as encoded in the place tag of its header: in the backlog by its ticket, or in
/// a lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Location {
    /// The task has not arrived yet, or is over.
    Nowhere,
    /// The task was revoked before it arrived, and must not be enqueued.
    Withdrawn,
    Waiting(i64),
    Lane {
        lane: usize,
        call: u64,
    },
}

const LANES: u64 = 1 << 16;

impl Location {
    pub(crate) fn of(job_mark: u64) -> Self {
        match job_mark & 0b11 {
            1 => Location::Waiting(job_mark.cast_signed() >> 2),
            2 => Location::Lane {
                lane: ((job_mark >> 2) % LANES) as usize,
                call: job_mark >> 2 >> 16,
            },
            3 => Location::Withdrawn,
            _ => Location::Nowhere,
        }
    }

    pub(crate) fn record(self, task: &dyn AnyTask) {
        let mark = match self {
            Location::Nowhere => 0,
            Location::Withdrawn => 3,
            Location::Waiting(ticket) => (ticket << 2).cast_unsigned() | 1,
            Location::Lane { lane, call } => (call << 16 | lane as u64) << 2 | 2,
        };
        task.header().place_tag.store(mark, Ordering::Relaxed);
    }
}

/// The most worker processes of one pool.
pub(crate) const MAX_LANES: usize = LANES as usize;

#[cfg(test)]
mod unit {
    use crate::task::TaskArc;

    use super::*;
    use crate::job::Job;

    #[test]
    fn location_round_trips() {
        use crate::task::body::Once;
        let task = crate::task::cell::Cell::<(), _>::allocate(
            crate::task::header::Header::new(crate::TaskType::Mp, crate::TaskId::next()),
            Once(Some(|_: &TaskArc| ())),
            (),
        );
        let job = Job::new(task.erase());
        for place in [
            Location::Nowhere,
            Location::Withdrawn,
            Location::Waiting(0),
            Location::Waiting(-5),
            Location::Waiting(1 << 40),
            Location::Lane { lane: 3, call: 1 << 40 },
            Location::Lane { lane: MAX_LANES - 1, call: 1 },
        ] {
            place.record(&**job.task());
            assert_eq!(Location::of(job.header().place_tag.load(Ordering::Relaxed)), place);
        }
    }
}
