//! How fast it is, with threads and a clock that runs: `cargo test --release -- --ignored speed`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::runner::Plan;
use super::world::{call, head, offer};
use crate::cluster::broker::Broker;
use crate::cluster::door::{
    CallEvent, CallSink, FunctionKey, NewRun, RunEnd, RunEvents, RunHandle, Runner,
};
use crate::cluster::memory::{Hub, MemoryOptions};
use crate::cluster::protocol::Session;
use crate::id::TaskId;
use crate::priority::Priority;

/// Ends each run on a thread of its own, at once.
struct Instantly {
    runs: mpsc::Sender<(NewRun, Arc<dyn RunEvents>)>,
    running: Arc<AtomicUsize>,
}

impl Instantly {
    fn new() -> Arc<Instantly> {
        let (runs, received) = mpsc::channel::<(NewRun, Arc<dyn RunEvents>)>();
        let running = Arc::new(AtomicUsize::new(0));
        let of = running.clone();
        std::thread::spawn(move || {
            for (run, events) in received {
                events.begun(1);
                events.ended(
                    RunEnd::Returned { result: run.args, is_err: false },
                    Some(Duration::ZERO),
                );
                of.fetch_sub(1, Ordering::SeqCst);
                events.room_changed();
            }
        });
        Arc::new(Instantly { runs, running })
    }
}

impl Runner for Instantly {
    fn room(&self, _: Priority) -> usize {
        2usize.saturating_sub(self.running.load(Ordering::SeqCst))
    }
    fn has(&self, _: &FunctionKey) -> bool {
        true
    }
    fn run(&self, run: NewRun, events: Arc<dyn RunEvents>) -> Box<dyn RunHandle> {
        self.running.fetch_add(1, Ordering::SeqCst);
        self.runs.send((run, events)).unwrap();
        Box::new(NoHandle)
    }
}

struct NoHandle;

impl RunHandle for NoHandle {
    fn stop(&self) {}
    fn kill(&self) -> bool {
        false
    }
    fn revoke(&self) -> bool {
        false
    }
    fn message(&self, _: Arc<[u8]>) {}
    fn taken(&self, _: usize) {}
    fn has_receiver(&self, _: bool) {}
}

struct Ends(mpsc::Sender<Instant>);

impl CallSink for Ends {
    fn event(&self, event: CallEvent) {
        if let CallEvent::Ended(end) = event {
            end.outcome.unwrap();
            self.0.send(Instant::now()).unwrap();
        }
    }
}

fn session(hub: &Arc<Hub>, name: &'static str) -> Arc<Session> {
    let hub = hub.clone();
    let connect = move || {
        let connected: Arc<dyn Broker> = hub.connect(name);
        Box::pin(async move { Ok(connected) }) as _
    };
    Session::start(name, Box::new(connect)).unwrap()
}

#[test]
#[ignore = "a measurement"]
fn speed() {
    let hub = Hub::new(MemoryOptions::default());
    let launcher = session(&hub, "launcher");
    let node = session(&hub, "node");
    let _serving = node.serve(offer("node", 2, &["default"]), Instantly::new()).wait().unwrap();
    let (ends, ended) = mpsc::channel();
    let new = |number| {
        let head = head(TaskId::from_parts(77, number));
        (call(head, &Plan::ok_after(Duration::ZERO)), Arc::new(Ends(ends.clone())))
    };
    for round in 0..5u64 {
        let count = 20_000u64;
        let begun = Instant::now();
        for number in 0..count {
            let (new, sink) = new(round * 100_000 + number + 1);
            launcher.submit(new, sink);
        }
        let launched = begun.elapsed();
        for _ in 0..count {
            ended.recv_timeout(Duration::from_secs(60)).unwrap();
        }
        let took = begun.elapsed();
        eprintln!(
            "{:.0} calls/s, a launch takes {:?}",
            count as f64 / took.as_secs_f64(),
            launched / count as u32
        );
    }
    let mut times: Vec<Duration> = (0..2_000u64)
        .map(|number| {
            let (new, sink) = new(9_000_000 + number);
            let begun = Instant::now();
            launcher.submit(new, sink);
            ended.recv_timeout(Duration::from_secs(60)).unwrap() - begun
        })
        .collect();
    times.sort();
    eprintln!("one call: median {:?}, p99 {:?}", times[1_000], times[1_980]);
}
