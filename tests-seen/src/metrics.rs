//! A recorder that keeps everything, and waits for what it keeps.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

/// The time limit of waits: a longer one indicates that something is never written.
const FAR: Duration = Duration::from_secs(60);

/// The values of one series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// The sum of a counter, or the last value of a gauge.
    pub value: f64,
    /// The values of a histogram.
    pub values: Vec<f64>,
    /// When values were written.
    pub writes: Vec<Instant>,
}

#[derive(Default)]
struct Kept {
    series: BTreeMap<String, Series>,
    described: BTreeMap<String, (&'static str, Option<Unit>, String)>,
}

/// Keeps everything. `calls` counts all calls of the recorder and of its handles.
#[derive(Clone, Default)]
pub struct Keeps {
    kept: Arc<Mutex<Kept>>,
    calls: Arc<AtomicU64>,
}

struct Handle {
    keeps: Keeps,
    series: String,
}

impl Handle {
    fn change(&self, change: impl FnOnce(&mut Series)) {
        self.keeps.with(|kept| {
            let series = kept.series.entry(self.series.clone()).or_default();
            change(series);
            series.writes.push(Instant::now());
        });
    }
}

impl CounterFn for Handle {
    fn increment(&self, value: u64) {
        self.change(|series| series.value += value as f64);
    }
    fn absolute(&self, _value: u64) {
        unreachable!("counters are incremented only");
    }
}

impl GaugeFn for Handle {
    fn increment(&self, _value: f64) {
        unreachable!("gauges are set only");
    }
    fn decrement(&self, _value: f64) {
        unreachable!("gauges are set only");
    }
    fn set(&self, value: f64) {
        self.change(|series| series.value = value);
    }
}

impl HistogramFn for Handle {
    fn record(&self, value: f64) {
        self.change(|series| series.values.push(value));
    }
}

impl Keeps {
    fn with<T>(&self, f: impl FnOnce(&mut Kept) -> T) -> T {
        self.calls.fetch_add(1, Ordering::SeqCst);
        f(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn handle(&self, key: &Key) -> Arc<Handle> {
        let series = text(key);
        self.with(|kept| kept.series.entry(series.clone()).or_default().writes.len());
        Arc::new(Handle { keeps: self.clone(), series })
    }

    fn describe(
        &self,
        kind: &'static str,
        key: KeyName,
        unit: Option<Unit>,
        description: SharedString,
    ) {
        self.with(|kept| {
            kept.described.insert(key.as_str().to_owned(), (kind, unit, description.into_owned()))
        });
    }

    /// The number of calls so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// All series of one supervisor.
    pub fn series(&self, supervisor: &str) -> BTreeMap<String, Series> {
        let label = format!("supervisor={supervisor}");
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let of = kept.series.iter().filter(|(name, _)| labels(name).any(|other| other == label));
        of.map(|(name, series)| (name.clone(), series.clone())).collect()
    }

    /// The descriptions: kind, unit and text, by name.
    pub fn described(&self) -> BTreeMap<String, (&'static str, Option<Unit>, String)> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).described.clone()
    }

    /// The series `name{labels}`, with labels in any order. Empty if there is none.
    pub fn get(&self, series: &str) -> Series {
        let series = sorted(series);
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.series.get(&series).cloned().unwrap_or_default()
    }

    /// Whether that series exists.
    pub fn has(&self, series: &str) -> bool {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.series.contains_key(&sorted(series))
    }

    /// Waits until a counter or gauge has this value.
    #[track_caller]
    pub fn wait(&self, series: &str, value: f64) {
        self.wait_until(series, |series| series.value == value && !series.writes.is_empty());
    }

    /// Waits until a histogram has this many values, and returns them.
    #[track_caller]
    pub fn wait_values(&self, series: &str, count: usize) -> Vec<f64> {
        self.wait_until(series, |series| series.values.len() == count);
        self.get(series).values
    }

    #[track_caller]
    fn wait_until(&self, series: &str, wanted: impl Fn(&Series) -> bool) {
        let began = Instant::now();
        while !wanted(&self.get(series)) {
            if began.elapsed() > FAR {
                let wanted = sorted(series);
                let supervisor =
                    labels(&wanted).find_map(|label| label.strip_prefix("supervisor="));
                let all = self.series(supervisor.unwrap_or_default());
                let all = all.into_iter().map(|(name, series)| (name, series.value));
                panic!("{wanted} was not written: {:#?}", all.collect::<Vec<_>>());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Recorder for Keeps {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe("counter", key, unit, description);
    }
    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe("gauge", key, unit, description);
    }
    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe("histogram", key, unit, description);
    }
    fn register_counter(&self, key: &Key, _metadata: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.handle(key))
    }
    fn register_gauge(&self, key: &Key, _metadata: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.handle(key))
    }
    fn register_histogram(&self, key: &Key, _metadata: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.handle(key))
    }
}

/// A key as `name{label=value,..}`, with sorted labels.
fn text(key: &Key) -> String {
    let mut labels: Vec<_> =
        key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
    labels.sort();
    format!("{}{{{}}}", key.name(), labels.join(","))
}

fn labels(series: &str) -> impl Iterator<Item = &str> {
    let labels = series.split_once('{').map_or("", |(_, labels)| labels);
    labels.trim_end_matches('}').split(',')
}

fn sorted(series: &str) -> String {
    let name = series.split_once('{').map_or(series, |(name, _)| name);
    let mut labels: Vec<_> = labels(series).collect();
    labels.sort_unstable();
    format!("{name}{{{}}}", labels.join(","))
}

/// Returns the recorder of this program, and installs it at the first call.
pub fn recorder() -> &'static Keeps {
    static RECORDER: OnceLock<Keeps> = OnceLock::new();
    RECORDER.get_or_init(|| {
        let recorder = Keeps::default();
        assert!(metrics::set_global_recorder(recorder.clone()).is_ok(), "no other recorder");
        recorder
    })
}
