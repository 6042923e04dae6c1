//! Maps in worker processes.
//!
//! The caller takes items, encodes them, and launches them as *chunks* of about a millisecond. It
//! keeps as many in flight as worker processes can have, twice, so that a process has its next
//! chunk when it ends one. The first chunk is a single item, whose time decides how large the next
//! ones are.
//!
//! A chunk may end before all its items are done, because it takes longer than was expected. The
//! others become a chunk again. While a chunk is busy with one long item and processes are idle, the
//! caller takes back the items that it has not begun (`transport::journal`).
//!
//! If a worker process dies, the journal tells which item was running, and keeps the results of the
//! items before it. The items behind it become a chunk again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::MapOptions;
use crate::error::{DeathCause, TaskError};
use crate::fork;
use crate::launch::remote::remote;
use crate::process::{self, MAX_ITEMS};
use crate::remote::chunk::{Items, Kind, Results, Salvaged, Summary, split_args, write_item};
use crate::remote::functions::Function;
use crate::supervisor::Core;
use crate::task::handle::Task;
use crate::task::park;
use crate::task::wait::{Arrivals, run_inline};
use crate::unwind;
use crate::wire::args::Reader;
use crate::wire::buffer_pool::PooledBuf;
use crate::wire::payload::{self, Payload};

/// How long a chunk should take.
const TARGET: Duration = Duration::from_millis(1);
/// Chunks end before they have more bytes of items than this, and one item more.
const MOST_BYTES: usize = 256 << 10;
/// How much larger a chunk may be than the last ones. A short measurement is not exact.
const GROWTH: usize = 16;
/// How long the caller waits for the first item before it launches others. Starting a worker process
/// takes about as long.
const PROBE: Duration = Duration::from_millis(5);
/// How often a chunk may lose its worker process before it has begun an item.
const MOST_FRUITLESS: u32 = 3;

/// A map in progress.
struct Map<I, E, R> {
    /// `None` once it has ended.
    source: Option<I>,
    encode: E,
    function: &'static Function,
    decode: Reader<R>,
    options: MapOptions,
    core: Arc<Core>,
    /// The number of worker processes that may run chunks at once.
    slots: usize,
    /// The most chunks in flight at present.
    window: usize,
    /// The number of items in the next chunk.
    size: usize,
    /// The time per item, once one was measured.
    per_item: Option<Duration>,
    /// The end of the wait for the first chunk, during which no other one is launched.
    probe_until: Option<Instant>,
    /// Those of all items that were taken. `None` for an item without a result.
    results: Vec<Option<Result<R, TaskError>>>,
    /// Chunks that were in flight and did not run.
    again: Vec<Chunk>,
    flights: Vec<Option<Flight>>,
    free: Vec<usize>,
    arrivals: Arrivals,
}

/// Consecutive items.
struct Chunk {
    /// The number of the first item in the map.
    first: usize,
    count: u32,
    /// The number of items, and the items: the arguments of the call.
    args: Vec<u8>,
    /// How often it has lost its worker process before it has begun an item.
    fruitless: u32,
}

/// A chunk that was launched.
struct Flight {
    first: usize,
    /// The number of items that were not taken back.
    count: u32,
    args: Arc<PooledBuf>,
    fruitless: u32,
    task: Task<Vec<u8>>,
    /// When the caller checks whether it has items to take back, and how long after that again.
    check_at: Option<Instant>,
    pause: Duration,
}

/// Runs a map in the worker processes of a supervisor.
#[track_caller]
pub(super) fn run<T, R: Send + 'static>(
    function: &'static Function,
    items: impl IntoIterator<Item = T>,
    encode: impl FnMut(T) -> Result<Payload, TaskError>,
    decode: Reader<R>,
    options: MapOptions,
) -> Vec<Result<R, TaskError>> {
    park::assert_may_block("map!");
    let core = options.core();
    let mut map = Map {
        source: Some(items.into_iter()),
        encode,
        function,
        decode,
        slots: core.process_slots(options.priority),
        options,
        core,
        window: 1,
        size: 1,
        per_item: None,
        probe_until: Some(Instant::now() + PROBE),
        results: Vec::new(),
        again: Vec::new(),
        flights: Vec::new(),
        free: Vec::new(),
        arrivals: Arrivals::new(),
    };
    map.run();
    let results = std::mem::take(&mut map.results);
    results.into_iter().map(|result| result.expect("each item has a result")).collect()
}

impl<I, E, R> Map<I, E, R>
where
    I: Iterator,
    E: FnMut(I::Item) -> Result<Payload, TaskError>,
    R: Send + 'static,
{
    fn run(&mut self) {
        loop {
            self.fill();
            if self.in_flight() == 0 {
                return;
            }
            let deadline = self.deadline();
            match self.next_arrival(deadline) {
                Some(flight) => self.complete(flight),
                // The chunks in flight belong to the parent of a copy.
                None if fork::is_copy() => return self.fail_rest(&fork::error()),
                None if self.probe_until.is_some() => self.widen(),
                None => self.take_back(),
            }
        }
    }

    fn in_flight(&self) -> usize {
        self.flights.len() - self.free.len()
    }

    /// Allows as many chunks in flight as may help.
    fn widen(&mut self) {
        self.probe_until = None;
        self.window = 2 * self.slots;
    }

    /// Launches chunks, as many as may be in flight.
    fn fill(&mut self) {
        while self.in_flight() < self.window {
            let Some(chunk) = self.next_chunk() else { return };
            if !self.launch(chunk) {
                return;
            }
        }
    }

    /// Returns the next chunk: one that did not run, or new items.
    fn next_chunk(&mut self) -> Option<Chunk> {
        if let Some(chunk) = self.again.pop() {
            let size = u32::try_from(self.size).unwrap_or(MAX_ITEMS);
            if chunk.count / 2 < size {
                return Some(chunk);
            }
            let (first, count) = (chunk.first, chunk.count);
            self.again.push(part(&chunk.args, first, size..count));
            return Some(Chunk { fruitless: chunk.fruitless, ..part(&chunk.args, first, 0..size) });
        }
        let source = self.source.as_mut()?;
        let left = source.size_hint().0;
        let size = match left {
            0 => self.size,
            // Not more than a share.
            left => self.size.min(left.div_ceil(self.slots)),
        };
        let mut first = self.results.len();
        let mut args = vec![0; 4];
        let mut count = 0;
        while count < size && args.len() < MOST_BYTES {
            let Some(item) = source.next() else {
                self.source = None;
                break;
            };
            match unwind::catch(|| (self.encode)(item)).and_then(|encoded| encoded) {
                Ok(encoded) => {
                    write_item(&mut args, &encoded);
                    self.results.push(None);
                    count += 1;
                }
                Err(error) => {
                    self.results.push(Some(Err(error)));
                    // The items of a chunk are consecutive.
                    if count > 0 {
                        break;
                    }
                    first = self.results.len();
                }
            }
        }
        (count > 0).then(|| {
            let count = count as u32;
            args[..4].copy_from_slice(&count.to_le_bytes());
            Chunk { first, count, args, fruitless: 0 }
        })
    }

    /// Launches a chunk. Returns false if there is no room for it in the queue now.
    fn launch(&mut self, chunk: Chunk) -> bool {
        let Chunk { first, count, args, fruitless } = chunk;
        let raw = |bytes: std::borrow::Cow<'_, [u8]>| Ok(bytes.into_owned());
        let mut builder =
            remote::<Vec<u8>, (), ()>(self.function, Ok(payload::finish(args)), raw, None)
                .priority(self.options.priority);
        if let Some(name) = &self.options.name {
            builder = builder.name(name.clone());
        }
        let args = builder.remote_args().expect("the task has arguments");
        let task = builder.start_at(&self.core);
        if self.in_flight() > 0 && task.error() == Some(&TaskError::QueueFull) {
            self.window = self.in_flight();
            self.again.push(Chunk { first, count, args: args.to_vec(), fruitless });
            return false;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.flights.push(None);
            self.flights.len() - 1
        });
        self.arrivals.add(slot, task.header());
        let check_at = Some(Instant::now() + TARGET);
        let flight = Flight { first, count, args, fruitless, task, check_at, pause: TARGET };
        self.flights[slot] = Some(flight);
        true
    }

    /// Returns when the caller has to do something if no chunk ends before.
    fn deadline(&self) -> Option<Instant> {
        if self.probe_until.is_some() {
            return self.probe_until;
        }
        let are_processes_idle = self.in_flight() < self.slots;
        let is_more = self.source.is_some() || !self.again.is_empty();
        if !are_processes_idle || is_more {
            return None;
        }
        self.flights.iter().flatten().filter_map(|flight| flight.check_at).min()
    }

    /// Waits until a chunk has ended, and returns its place.
    fn next_arrival(&mut self, deadline: Option<Instant>) -> Option<usize> {
        let Map { flights, arrivals, .. } = self;
        park::block_on_or_run_inline(
            deadline,
            |context| {
                arrivals.poll(context, |slot| {
                    flights[slot].as_ref().expect("a chunk arrives once").task.header()
                })
            },
            || flights.iter().flatten().any(|flight| run_inline(flight.task.erased())),
        )
    }

    /// Takes items back from chunks that take longer than expected, because processes are idle.
    fn take_back(&mut self) {
        let now = Instant::now();
        for flight in self.flights.iter_mut().flatten() {
            if flight.check_at.is_none_or(|at| at > now) {
                continue;
            }
            let task = flight.task.erased();
            let taken = task.header().with_place(|place| place.take_back(&**task)).flatten();
            match taken {
                // It has not begun, or nothing can be taken back from it.
                None => {
                    flight.pause *= 2;
                    flight.check_at = Some(now + flight.pause);
                }
                // What the worker process has written is not trusted.
                Some(range) if range.start < range.end && range.end == flight.count => {
                    flight.count = range.start;
                    self.again.push(part(&flight.args, flight.first, range));
                    flight.check_at = Some(now + TARGET);
                }
                // Nothing is left.
                Some(_) => flight.check_at = None,
            }
        }
    }

    /// Handles the end of a chunk.
    fn complete(&mut self, slot: usize) {
        let Some(flight) = self.flights[slot].take() else { return };
        self.free.push(slot);
        let salvaged =
            flight.task.header().extras().and_then(|extras| extras.salvaged.lock().take());
        let Flight { first, count, args, fruitless, task, .. } = flight;
        let (done, next) = match task.take_outcome() {
            Ok(reply) => {
                let Some((summary, results)) = Summary::read(&reply) else {
                    return self.fail(first..first + count as usize, &malformed());
                };
                let done = summary.done.min(count);
                self.accept(first, done, results);
                self.measure(Duration::from_nanos(summary.nanos), done);
                match summary.stopped {
                    true => (done, Next::Fail(TaskError::Canceled)),
                    false => (done, Next::Again { fruitless: 0 }),
                }
            }
            Err(error) => {
                let Salvaged { begun, done, results } = salvaged.map(|it| *it).unwrap_or_default();
                let done = done.min(count);
                self.accept(first, done, &results);
                let next = after_error(error, begun, done, fruitless);
                (done, next)
            }
        };
        // Room in the queue, perhaps.
        self.widen();
        let from = match &next {
            Next::SkipOne(error) if done < count => {
                self.set(first + done as usize, Err(error.clone()));
                done + 1
            }
            _ => done,
        };
        if from == count {
            return;
        }
        match next {
            Next::Fail(error) => self.fail(first + from as usize..first + count as usize, &error),
            Next::SkipOne(_) => self.again.push(part(&args, first, from..count)),
            Next::Again { fruitless } => {
                self.again.push(Chunk { fruitless, ..part(&args, first, from..count) });
            }
        }
    }

    /// Decodes the results of the first `done` items of a chunk.
    fn accept(&mut self, first: usize, done: u32, results: &[u8]) {
        let mut results = Results(results);
        for item in first..first + done as usize {
            let result = match results.next() {
                Some((Kind::Result, bytes)) => {
                    unwind::catch(|| (self.decode)(bytes.into())).and_then(|result| result)
                }
                Some((Kind::Error, bytes)) => {
                    Err(process::decode_error(bytes).unwrap_or_else(|_| malformed()))
                }
                None => Err(malformed()),
            };
            self.set(item, result);
        }
    }

    fn set(&mut self, item: usize, result: Result<R, TaskError>) {
        let before = self.results[item].replace(result);
        debug_assert!(before.is_none(), "each item has one result");
    }

    fn fail(&mut self, items: std::ops::Range<usize>, error: &TaskError) {
        for item in items {
            self.set(item, Err(error.clone()));
        }
    }

    /// Fails all items that have no result, also those that were not taken.
    fn fail_rest(&mut self, error: &TaskError) {
        let rest = self.source.take().map_or(0, Iterator::count);
        self.results.extend(std::iter::repeat_with(|| None).take(rest));
        for result in &mut self.results {
            result.get_or_insert_with(|| Err(error.clone()));
        }
    }

    /// Adjusts the size of the next chunks.
    fn measure(&mut self, took: Duration, items: u32) {
        if items == 0 {
            return;
        }
        let per_item = took / items;
        let per_item = self.per_item.map_or(per_item, |before| (before + per_item) / 2);
        self.per_item = Some(per_item);
        let fits = TARGET.as_nanos() / per_item.as_nanos().max(1);
        let fits = usize::try_from(fits).unwrap_or(usize::MAX);
        self.size = fits.clamp(1, GROWTH * self.size).min(MAX_ITEMS as usize);
    }
}

/// What follows for the items of a chunk that are not done.
enum Next {
    /// They become a chunk again.
    Again { fruitless: u32 },
    /// The first one fails with this error. The others become a chunk again.
    SkipOne(TaskError),
    /// They fail with this error.
    Fail(TaskError),
}

/// Decides about the items of a chunk that has failed, after `done` of which `begun` were begun.
fn after_error(error: TaskError, begun: u32, done: u32, fruitless: u32) -> Next {
    let is_known = match &error {
        // If the process has violated the protocol, or its reply is lost, it is unknown what has run.
        TaskError::WorkerDied(death) => !matches!(death.cause(), DeathCause::Other(_)),
        // Other panics are results of their items. This one has aborted the process.
        TaskError::Panicked { .. } => true,
        _ => return Next::Fail(error),
    };
    match begun.checked_sub(done) {
        Some(0) if is_known && done > 0 => Next::Again { fruitless: 0 },
        // It has died before it began an item. If that goes on, something is wrong with the first.
        Some(0) if is_known && fruitless < MOST_FRUITLESS => {
            Next::Again { fruitless: fruitless + 1 }
        }
        Some(0 | 1) if is_known => Next::SkipOne(error),
        _ => Next::Fail(error),
    }
}

/// Returns some of the items of a chunk, which begins with item number `first`, as another chunk.
fn part(args: &[u8], first: usize, range: std::ops::Range<u32>) -> Chunk {
    let count = range.end - range.start;
    let mut of_part = Vec::with_capacity(args.len());
    of_part.extend_from_slice(&count.to_le_bytes());
    let items = split_args(args).map_or(Items(&[]), |(_, items)| items);
    for item in items.skip(range.start as usize).take(count as usize) {
        write_item(&mut of_part, item);
    }
    Chunk { first: first + range.start as usize, count, args: of_part, fruitless: 0 }
}

/// The error for a reply that a worker process can't have written.
#[cold]
fn malformed() -> TaskError {
    TaskError::not_started("the reply to a chunk of a map is malformed")
}

impl<I, E, R> Drop for Map<I, E, R> {
    /// If the iterator panics, chunks that wait never run, and others end with their item.
    fn drop(&mut self) {
        for (slot, flight) in self.flights.iter().enumerate() {
            if let Some(flight) = flight {
                self.arrivals.remove(slot, flight.task.header());
                flight.task.cancel();
            }
        }
    }
}
