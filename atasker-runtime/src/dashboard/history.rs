//! The points of one supervisor: one per second, for the last 15 minutes. Pure: the clock is a
//! parameter.
//!
//! Seconds are numbered from the start of the dashboard. A second in which nothing happened is not
//! recorded when it ends, but filled in later: when something happens again, or when points are asked for.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::counts::{PLACES, Percentiles, Totals};
use crate::info::TaskType;
use crate::observe::outcome::WORDS;
use crate::priority::Priority;
use crate::supervisor::view::PlaceGauges;

/// The number of points that are kept.
pub(super) const LEN: usize = 900;

/// One second of one place. Plain numbers, so that the memory of a second in which nothing has
/// happened yet is not touched.
type Row = [u32; WIDTH];

// The columns of a row.
const LAUNCHED: usize = 0;
const ENDED: usize = 1;
const WAITING: usize = ENDED + WORDS.len();
const RUNNING: usize = WAITING + 4;
/// One more than the number of slots; 0 for no limit.
const SLOTS: usize = RUNNING + 1;
/// The bits of a float that is never 0; 0 for nothing measured.
const QUEUE: usize = SLOTS + 1;
const RUN: usize = QUEUE + 3;
const WIDTH: usize = RUN + 3;

/// The gauges of all places.
pub(super) type Gauges = [PlaceGauges; PLACES];

/// See the module documentation.
pub(super) struct History {
    rows: [Vec<Row>; PLACES],
    /// The first second that is not recorded.
    next: u64,
    /// The counters at the end of the last recorded second.
    before: Totals,
    /// The gauges at the end of the last recorded second.
    gauges: Gauges,
}

impl History {
    /// Returns the history of a supervisor that is first seen in this second.
    pub(super) fn new(second: u64, gauges: Gauges) -> Self {
        History {
            rows: std::array::from_fn(|_| vec![[0; WIDTH]; LEN]),
            next: second,
            before: Totals::zero(),
            gauges,
        }
    }

    /// Records what was counted since the last recorded second as that of `second`, which is over.
    /// In the seconds between, nothing has happened.
    pub(super) fn record(&mut self, second: u64, totals: Totals, gauges: Gauges) {
        // A late call can't change what is recorded.
        let second = second.max(self.next);
        self.fill(second);
        let counted = totals.since(&self.before);
        self.put(second, &rows(&counted, &gauges));
        self.next = second + 1;
        self.before = totals;
        self.gauges = gauges;
    }

    /// Records that nothing has happened before `second`.
    pub(super) fn fill(&mut self, second: u64) {
        let nothing = rows(&Totals::zero(), &self.gauges);
        // Older seconds would be overwritten at once.
        let first = self.next.max(second.saturating_sub(LEN as u64));
        for quiet in first..second {
            self.put(quiet, &nothing);
        }
        self.next = self.next.max(second);
    }

    fn put(&mut self, second: u64, rows: &[Row; PLACES]) {
        let at = (second % LEN as u64) as usize;
        for (ring, row) in self.rows.iter_mut().zip(rows) {
            ring[at] = *row;
        }
    }

    /// Returns the `len` points up to and including `now`, the current second. It is not over: its
    /// point is what was counted so far, and changes.
    pub(super) fn points(&self, now: u64, len: usize, totals: &Totals, gauges: Gauges) -> Places {
        debug_assert!(len <= LEN && self.next <= now + 1);
        let current = rows(&totals.since(&self.before), &gauges);
        let first = (now + 1).saturating_sub(len as u64);
        Places(std::array::from_fn(|place| {
            let row = |second: u64| match second {
                _ if second >= self.next => current[place],
                _ => self.rows[place][(second % LEN as u64) as usize],
            };
            Columns((first..=now).map(row).collect())
        }))
    }
}

fn rows(counted: &Totals, gauges: &Gauges) -> [Row; PLACES] {
    std::array::from_fn(|place| {
        let (counted, gauges) = (&counted.places[place], &gauges[place]);
        let mut row = [0; WIDTH];
        row[LAUNCHED] = counted.launched;
        row[ENDED..WAITING].copy_from_slice(&counted.ended);
        row[WAITING..RUNNING].copy_from_slice(&gauges.waiting);
        row[RUNNING] = gauges.running;
        row[SLOTS] = gauges.slots.map_or(0, |slots| slots.saturating_add(1));
        let bits = |Percentiles(of)| of.map(|seconds: Option<f32>| seconds.map_or(0, f32::to_bits));
        row[QUEUE..RUN].copy_from_slice(&bits(counted.queue()));
        row[RUN..WIDTH].copy_from_slice(&bits(counted.run()));
        row
    })
}

/// The points of all places, as JSON.
pub(super) struct Places([Columns; PLACES]);

struct Columns(Vec<Row>);

impl Serialize for Places {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let places = [TaskType::Thread, TaskType::Mp, TaskType::Async, TaskType::Remote];
        // Without the feature `remote`, nothing ever happens at the last one.
        let places = &places[..if cfg!(feature = "remote") { 4 } else { 3 }];
        let mut map = serializer.serialize_map(Some(places.len()))?;
        for tt in places.iter().copied() {
            map.serialize_entry(tt.as_str(), &self.0[tt as usize])?;
        }
        map.end()
    }
}

impl Serialize for Columns {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rows = &self.0;
        let number = |column: usize| Column(rows, move |row: &Row| row[column]);
        let mut map = serializer.serialize_map(Some(7))?;
        map.serialize_entry("launched", &number(LAUNCHED))?;
        let ended = WORDS.iter().enumerate();
        map.serialize_entry(
            "completed",
            &Named(ended.map(|(at, word)| (*word, number(ENDED + at)))),
        )?;
        let priorities = [Priority::Low, Priority::Normal, Priority::High, Priority::Critical];
        let waiting = priorities.map(|of| (of.as_str(), number(WAITING + of.index())));
        map.serialize_entry("waiting", &Named(waiting.into_iter()))?;
        map.serialize_entry("running", &number(RUNNING))?;
        map.serialize_entry("slots", &Column(rows, |row: &Row| row[SLOTS].checked_sub(1)))?;
        for (name, first) in [("queue", QUEUE), ("run", RUN)] {
            let percentile = |at: usize| {
                Column(rows, move |row: &Row| match row[first + at] {
                    0 => None,
                    bits => Some(Short(f32::from_bits(bits))),
                })
            };
            let percentiles = ["p50", "p95", "p99"].into_iter().enumerate();
            map.serialize_entry(
                name,
                &Named(percentiles.map(|(at, name)| (name, percentile(at)))),
            )?;
        }
        map.end()
    }
}

/// A float with as many digits as it has.
struct Short(f32);

impl Serialize for Short {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f32(self.0)
    }
}

#[derive(Clone)]
struct Column<'a, F>(&'a [Row], F);

impl<T: Serialize, F: Fn(&Row) -> T> Serialize for Column<'_, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(&self.1))
    }
}

struct Named<I>(I);

impl<V: Serialize, I: Iterator<Item = (&'static str, V)> + Clone> Serialize for Named<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.clone())
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::super::counts::Counts;
    use super::*;
    use serde_json::Value;

    const THREAD: usize = TaskType::Thread as usize;

    fn running(n: u32) -> Gauges {
        let mut gauges = Gauges::default();
        gauges[THREAD] = PlaceGauges { running: n, slots: Some(0), ..PlaceGauges::default() };
        gauges
    }

    fn json(places: &Places) -> Value {
        serde_json::to_value(places).unwrap()
    }

    #[test]
    fn a_quiet_second_repeats_the_gauges_and_counts_nothing() {
        let counts = Counts::new();
        let mut history = History::new(0, running(0));
        counts.launched(TaskType::Thread);
        history.record(2, counts.read(), running(3));
        history.fill(5);
        counts.launched(TaskType::Thread);
        counts.launched(TaskType::Thread);
        let thread = json(&history.points(5, 6, &counts.read(), running(4)))["thread"].clone();
        assert_eq!(thread["launched"], serde_json::json!([0, 0, 1, 0, 0, 2]));
        assert_eq!(thread["running"], serde_json::json!([0, 0, 3, 3, 3, 4]));
        assert_eq!(thread["slots"], serde_json::json!([0, 0, 0, 0, 0, 0]));
        assert_eq!(thread["queue"]["p99"], serde_json::json!([null, null, null, null, null, null]));
    }

    #[test]
    fn a_late_call_does_not_change_recorded_seconds() {
        let counts = Counts::new();
        let mut history = History::new(10, running(0));
        history.fill(20);
        counts.launched(TaskType::Mp);
        history.record(12, counts.read(), running(0));
        let mp = json(&history.points(21, 12, &counts.read(), running(0)))["mp"].clone();
        assert_eq!(mp["launched"], serde_json::json!([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]));
        assert_eq!(mp["slots"][0], Value::Null);
    }

    /// A day of work, with a break of hours.
    #[test]
    fn nothing_grows_in_a_day() {
        const DAY: u64 = 86_400;
        // Read from all shards, the counters would take most of the time.
        let mut totals = Totals::zero();
        let mut history = History::new(0, running(0));
        let place = |history: &History| {
            history.rows.each_ref().map(|ring| (ring.as_ptr(), ring.len(), ring.capacity()))
        };
        let before = place(&history);
        for second in (0..DAY).filter(|second| !(30_000..50_000).contains(second)) {
            for place in &mut *totals.places {
                place.launched += 1;
                place.ended[(second % WORDS.len() as u64) as usize] += 1;
            }
            history.record(second, totals.clone(), running(second as u32));
        }
        assert_eq!(place(&history), before);
        let places = json(&history.points(DAY, LEN, &totals, running(0)));
        for tt in ["thread", "mp", "async"] {
            let launched = places[tt]["launched"].as_array().unwrap();
            assert_eq!(launched.len(), LEN);
            // The current second is the last point.
            assert!(launched[..LEN - 1].iter().all(|n| *n == 1));
            assert_eq!(launched[LEN - 1], 0);
            let ended = places[tt]["completed"].as_object().unwrap();
            assert!(ended.values().all(|of| of.as_array().unwrap().len() == LEN));
            let all: u64 = ended
                .values()
                .flat_map(|of| of.as_array().unwrap())
                .filter_map(Value::as_u64)
                .sum();
            assert_eq!(all, LEN as u64 - 1);
        }
        assert_eq!(places["thread"]["running"][0], DAY - LEN as u64 + 1);
    }
}
