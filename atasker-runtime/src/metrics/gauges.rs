//! The gauges: samples of a supervisor, and what was written of them.

use ::metrics::Gauge;

use super::catalog;
use super::series::Handle;
use crate::info::{TaskType, Waiting};
use crate::priority::Priority;
use crate::supervisor::load::{Load, PoolLoad};

/// The series of a gauge.
pub(super) struct Id {
    pub(super) name: &'static str,
    tt: Option<TaskType>,
    priority: Option<Priority>,
}

impl Id {
    const fn of(name: &'static str) -> Id {
        Id { name, tt: None, priority: None }
    }

    const fn in_place(name: &'static str, tt: TaskType) -> Id {
        Id { name, tt: Some(tt), priority: None }
    }

    const fn waiting(tt: TaskType, priority: Priority) -> Id {
        Id { name: catalog::WAITING, tt: Some(tt), priority: Some(priority) }
    }

    /// Returns the labels besides that of the supervisor.
    pub(super) fn labels(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let tt = self.tt.map(|tt| ("tt", tt.as_str()));
        tt.into_iter().chain(self.priority.map(|priority| ("priority", priority.as_str())))
    }
}

const SERIES: usize = 16;

/// All series, in the order of a [`Sample`].
static ALL: [Id; SERIES] = [
    Id::waiting(TaskType::Thread, Priority::Low),
    Id::waiting(TaskType::Thread, Priority::Normal),
    Id::waiting(TaskType::Thread, Priority::High),
    Id::waiting(TaskType::Thread, Priority::Critical),
    Id::waiting(TaskType::Mp, Priority::Low),
    Id::waiting(TaskType::Mp, Priority::Normal),
    Id::waiting(TaskType::Mp, Priority::High),
    Id::waiting(TaskType::Mp, Priority::Critical),
    Id::in_place(catalog::RUNNING, TaskType::Thread),
    Id::in_place(catalog::RUNNING, TaskType::Mp),
    Id::in_place(catalog::RUNNING, TaskType::Async),
    Id::in_place(catalog::SLOTS, TaskType::Thread),
    Id::in_place(catalog::SLOTS, TaskType::Mp),
    Id::of(catalog::THREADS),
    Id::of(catalog::PROCESSES),
    Id::in_place(catalog::RUNNING, TaskType::Remote),
];

/// The values of all gauges. `None` for one that does not exist, or of a supervisor that is not
/// active: such a gauge is not written, or set to 0 if it was written before.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub(super) struct Sample([Option<usize>; SERIES]);

impl Sample {
    /// `remote` is the number of tasks that run on nodes.
    pub(super) fn of(load: &Load, remote: Option<usize>) -> Sample {
        let waiting = |pool: Option<&PoolLoad>| {
            let all = pool.map(|pool| pool.waiting);
            let of = |f: fn(&Waiting) -> usize| all.as_ref().map(f);
            [
                of(|waiting| waiting.low),
                of(|waiting| waiting.normal),
                of(|waiting| waiting.high),
                of(|waiting| waiting.critical),
            ]
        };
        let [low, normal, high, critical] = waiting(Some(&load.threads));
        let mp = load.processes.as_ref();
        let [mp_low, mp_normal, mp_high, mp_critical] = waiting(mp);
        Sample([
            low,
            normal,
            high,
            critical,
            mp_low,
            mp_normal,
            mp_high,
            mp_critical,
            Some(load.threads.running),
            mp.map(|pool| pool.running),
            load.futures,
            load.threads.slots,
            mp.and_then(|pool| pool.slots),
            Some(load.threads.workers),
            mp.map(|pool| pool.workers),
            remote,
        ])
    }
}

/// Whether values are written that have not changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refresh {
    Always,
    IfChanged,
}

/// The handle of a gauge, and the value that was written.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) handle: Handle<Gauge>,
    pub(super) written: Option<usize>,
}

/// The handles of the gauges, and the values that were written.
#[derive(Default)]
pub(super) struct Gauges([Slot; SERIES]);

impl Gauges {
    /// Writes all values if any has changed, or if they are to be `refreshed`: some recorders drop
    /// gauges that were not written for a while. Returns whether any has changed.
    pub(super) fn write(
        &mut self,
        sample: &Sample,
        refresh: Refresh,
        mut set: impl FnMut(&mut Handle<Gauge>, &Id, f64),
    ) -> bool {
        let of = |slot: &Slot, value: Option<usize>| value.or(slot.written.map(|_| 0));
        let mut slots = self.0.iter().zip(sample.0);
        let changed = slots.any(|(slot, value)| of(slot, value) != slot.written);
        if changed || refresh == Refresh::Always {
            for ((slot, id), value) in self.0.iter_mut().zip(&ALL).zip(sample.0) {
                slot.written = of(slot, value);
                if let Some(value) = slot.written {
                    set(&mut slot.handle, id, value as f64);
                }
            }
        }
        changed
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn idle_gauges_are_not_written_and_what_is_gone_is_0() {
        let mut gauges = Gauges::default();
        let mut sample = Sample::default();
        let mut write = |sample: &Sample, refresh| {
            let mut written = Vec::new();
            gauges.write(sample, refresh, |_, id, value| written.push((id.name, value)));
            written
        };
        assert_eq!(write(&sample, Refresh::Always), []);
        sample.0[13] = Some(4);
        sample.0[14] = Some(0);
        let both = [(catalog::THREADS, 4.0), (catalog::PROCESSES, 0.0)];
        assert_eq!(write(&sample, Refresh::IfChanged), both);
        assert_eq!(write(&sample, Refresh::IfChanged), []);
        assert_eq!(write(&sample, Refresh::Always), both);
        sample.0[13] = None;
        let gone = [(catalog::THREADS, 0.0), (catalog::PROCESSES, 0.0)];
        assert_eq!(write(&sample, Refresh::IfChanged), gone);
        assert_eq!(write(&Sample::default(), Refresh::IfChanged), []);
    }
}
