//! What does `#[background_worker]` generate, for every kind and in every place?

#![forbid(unsafe_code)]

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::time::Duration;

use atasker::{
    EventWorker, IntervalWorker, LoopWorker, MpPoolConfig, Priority, QueueWorker, Supervisor,
    WorkerContext, WorkerError, WorkerKind, background_worker, supervisor,
};
use atasker_tests::{FAR, Watchdog, eventually};
use serde::{Deserialize, Serialize};

const PAUSE: Duration = Duration::from_millis(1);

/// The examples of the documentation, in full.
mod examples {
    use super::*;

    static RUNS: [AtomicU32; 3] = [const { AtomicU32::new(0) }; 3];
    static ITEMS: Mutex<Vec<String>> = Mutex::new(Vec::new());
    static NUMBERS: Mutex<Vec<u32>> = Mutex::new(Vec::new());
    static EVENTS: AtomicU32 = AtomicU32::new(0);
    static RESULTS: Mutex<Vec<u64>> = Mutex::new(Vec::new());

    fn count(which: usize) {
        RUNS[which].fetch_add(1, Ordering::SeqCst);
    }

    fn counted(which: usize) -> u32 {
        RUNS[which].load(Ordering::SeqCst)
    }

    fn on_result(n: &u64) {
        RESULTS.lock().unwrap().push(*n);
    }

    #[background_worker]
    fn w1(ctx: &WorkerContext) {
        count(0);
        ctx.wait_stop(PAUSE);
    }

    #[background_worker(interval = "1ms")]
    fn w2() {
        count(1);
    }

    #[background_worker(delay = "1ms", delay_before = "1ms")]
    async fn w3() {
        count(2);
    }

    #[background_worker(queue)]
    fn w4(item: String) {
        ITEMS.lock().unwrap().push(item);
    }

    #[background_worker(queue = "priority")]
    fn w5(item: u32) {
        NUMBERS.lock().unwrap().push(item);
    }

    #[background_worker(event, priority = "high")]
    fn w6() {
        EVENTS.fetch_add(1, Ordering::SeqCst);
    }

    #[background_worker(interval = "20ms", tt = "mp", process_result = on_result)]
    fn w7(n: u64) -> u64 {
        n
    }

    #[test]
    fn loop_worker_repeats() {
        let w: LoopWorker = w1();
        assert_eq!(w.name(), "macros::worker::examples::w1");
        assert_eq!(w.kind(), WorkerKind::Loop);
        assert!(!w.is_active());
        assert!(w.start());
        assert!(!w.start());
        eventually(|| counted(0) > 2);
        assert!(w.is_active() && w.is_started() && w.last_executed().is_some());
        w.stop();
        assert!(w.is_stopped());
    }

    #[test]
    fn interval_worker_repeats() {
        let w: IntervalWorker = w2();
        w.start();
        eventually(|| counted(1) > 2);
        w.stop();
        let runs = w.runs();
        assert_eq!(u64::from(counted(1)), runs);
        w.restart();
        eventually(|| w.runs() > runs);
        w.stop();
    }

    #[test]
    fn delayed_worker_pauses_on_aloop() {
        let w: IntervalWorker = w3();
        w.start();
        assert!(w.trigger());
        eventually(|| counted(2) > 2);
        w.stop();
    }

    #[test]
    fn queue_worker_takes_items() {
        let w: QueueWorker<String> = w4();
        w.start();
        w.put("todo1".into()).unwrap();
        w.put("todo2".into()).unwrap();
        eventually(|| w.runs() == 2);
        w.stop();
        let error = w.put("too late".into()).unwrap_err();
        assert_eq!(error.into_inner(), "too late");
        w.restart();
        w.put("todo3".into()).unwrap();
        eventually(|| w.runs() == 3);
        w.stop();
        assert_eq!(*ITEMS.lock().unwrap(), ["todo1", "todo2", "todo3"]);
    }

    #[test]
    fn priority_queue_worker_takes_smallest_first() {
        let w: QueueWorker<u32> = w5();
        for n in [3, 1, 2] {
            w.put(n).unwrap();
        }
        w.start();
        eventually(|| w.runs() == 3);
        w.stop();
        assert_eq!(*NUMBERS.lock().unwrap(), [1, 2, 3]);
    }

    #[test]
    fn event_worker_runs_on_trigger() {
        let e: EventWorker = w6();
        assert!(!e.trigger());
        e.start();
        assert!(e.trigger());
        eventually(|| e.runs() == 1);
        let info = supervisor().info();
        let shown = info.workers.iter().find(|w| w.name == e.name()).unwrap();
        assert_eq!((shown.kind, shown.priority), (WorkerKind::Event, Priority::High));
        e.stop();
        assert_eq!(EVENTS.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn worker_runs_in_processes() {
        let w: IntervalWorker = w7(7);
        w.start();
        eventually(|| w.runs() >= 2);
        w.stop();
        let results = RESULTS.lock().unwrap();
        assert!(results.len() as u64 == w.runs() && results.iter().all(|n| *n == 7));
    }
}

/// The values that a run observed, as text.
type Log = mpsc::Sender<String>;

/// Triggers `runs` runs and returns what they observed.
fn reported(worker: &EventWorker, log: &mpsc::Receiver<String>, runs: usize) -> Vec<String> {
    worker.start();
    let reported = (0..runs)
        .map(|_| {
            worker.trigger();
            log.recv_timeout(FAR).unwrap()
        })
        .collect();
    worker.stop();
    reported
}

mod own_values {
    use super::*;

    #[derive(Default)]
    struct Kept {
        sum: u32,
    }

    #[background_worker(event)]
    fn on_a_thread(
        ctx: &WorkerContext,
        log: Log,
        mut cloned: Vec<u32>,
        kept: &mut Kept,
        more: &mut [u8],
        lent: &Mutex<u32>,
        text: &str,
        path: &Path,
        (a, _): (u8, u8),
        fixed: &'static str,
    ) {
        cloned.push(0);
        kept.sum += 1;
        more[0] += 1;
        *lent.lock().unwrap() += 1;
        let (sum, lent) = (kept.sum, *lent.lock().unwrap());
        let line = format!(
            "{} {cloned:?} {sum} {more:?} {lent} {text} {} {a} {fixed}",
            ctx.runs(),
            path.display()
        );
        log.send(line).unwrap();
    }

    #[background_worker(event)]
    async fn on_a_loop(
        ctx: &WorkerContext,
        log: Log,
        mut cloned: Vec<u32>,
        kept: &mut Kept,
        more: &mut [u8],
        lent: &Mutex<u32>,
        text: &str,
        path: &Path,
        (a, _): (u8, u8),
        fixed: &'static str,
    ) {
        cloned.push(0);
        kept.sum += 1;
        tokio::task::yield_now().await;
        more[0] += 1;
        *lent.lock().unwrap() += 1;
        let (sum, lent) = (kept.sum, *lent.lock().unwrap());
        let line = format!(
            "{} {cloned:?} {sum} {more:?} {lent} {text} {} {a} {fixed}",
            ctx.runs(),
            path.display()
        );
        log.send(line).unwrap();
    }

    #[test]
    fn parameters_by_value_reference_and_state() {
        let (tx, rx) = mpsc::channel();
        let make = [on_a_thread, on_a_loop];
        for make in make {
            let worker = make(
                tx.clone(),
                vec![5],
                Kept::default(),
                vec![7],
                Mutex::new(0),
                "text".to_owned(),
                "/p".into(),
                (9, 0),
                "static",
            );
            let reported = reported(&worker, &rx, 3);
            assert_eq!(
                reported,
                [
                    "0 [5, 0] 1 [8] 1 text /p 9 static",
                    "1 [5, 0] 2 [9] 2 text /p 9 static",
                    "2 [5, 0] 3 [10] 3 text /p 9 static"
                ]
            );
        }
    }

    #[background_worker(event)]
    fn panics_on_a_thread(log: Log, kept: &mut u32) {
        *kept += 1;
        log.send(kept.to_string()).unwrap();
        assert!(*kept != 2, "wanted");
    }

    #[background_worker(event)]
    async fn panics_on_a_loop(log: Log, kept: &mut u32) {
        *kept += 1;
        tokio::task::yield_now().await;
        log.send(kept.to_string()).unwrap();
        assert!(*kept != 2, "wanted");
    }

    #[test]
    fn panicking_run_keeps_state() {
        let (tx, rx) = mpsc::channel();
        for worker in [panics_on_a_thread(tx.clone(), 0), panics_on_a_loop(tx.clone(), 0)] {
            assert_eq!(reported(&worker, &rx, 4), ["1", "2", "3", "4"]);
        }
    }

    #[background_worker(event, supervisor = &sup)]
    async fn hangs_once(log: Log, kept: &mut u32, sup: Supervisor) {
        *kept += 1;
        log.send(kept.to_string()).unwrap();
        if *kept == 1 {
            std::future::pending::<()>().await;
        }
    }

    /// At the deadline of its supervisor, the future of a run is dropped.
    #[test]
    fn dropped_run_keeps_state() {
        let _watchdog = Watchdog::new("a run that is dropped", FAR);
        let sup = Supervisor::builder().id("drops").build();
        let (tx, rx) = mpsc::channel();
        let worker = hangs_once(tx, 0, sup.clone());
        worker.start();
        worker.trigger();
        assert_eq!(rx.recv_timeout(FAR).unwrap(), "1");
        sup.stop(atasker::StopOptions::new().wait(Duration::ZERO));
        eventually(|| !worker.is_started());
        sup.start();
        assert_eq!(reported(&worker, &rx, 2), ["2", "3"]);
        sup.stop(atasker::StopOptions::new());
    }
}

mod contexts {
    use super::*;

    #[background_worker(event)]
    fn thread_by_value(ctx: WorkerContext, log: Log) {
        if ctx.runs() < 2 {
            ctx.trigger();
        }
        log.send(format!("{} {}", ctx.name(), ctx.runs())).unwrap();
    }

    #[background_worker(event, name = "looping")]
    async fn loop_by_value(ctx: atasker::WorkerContext, log: Log) {
        if ctx.runs() < 2 {
            ctx.trigger();
        }
        log.send(format!("{} {}", ctx.name(), ctx.runs())).unwrap();
    }

    #[background_worker(event, name = format!("number {number}"))]
    async fn loop_by_reference(ctx: &WorkerContext, log: Log, number: u32) {
        if ctx.runs() < 2 {
            ctx.trigger();
        }
        log.send(format!("{} {}", ctx.name(), ctx.runs())).unwrap();
    }

    #[test]
    fn context_has_name_runs_and_trigger() {
        let (tx, rx) = mpsc::channel();
        for (worker, name) in [
            (thread_by_value(tx.clone()), "macros::worker::contexts::thread_by_value"),
            (loop_by_value(tx.clone()), "looping"),
            (loop_by_reference(tx.clone(), 5), "number 5"),
        ] {
            worker.start();
            worker.trigger();
            for run in 0..3 {
                let line = rx.recv_timeout(FAR).unwrap();
                assert_eq!(line, format!("{name} {run}"));
            }
            eventually(|| worker.runs() == 3);
            worker.stop();
        }
    }

    #[background_worker(event)]
    fn thread_until_stopped(ctx: &WorkerContext, log: Log) {
        log.send("begun".into()).unwrap();
        assert!(ctx.wait_stop(FAR));
        assert!(ctx.stopped());
        log.send("stopped".into()).unwrap();
    }

    #[background_worker(event)]
    async fn loop_until_stopped(ctx: &WorkerContext, log: Log) {
        log.send("begun".into()).unwrap();
        ctx.stop_requested().await;
        assert!(ctx.stopped());
        log.send("stopped".into()).unwrap();
    }

    #[test]
    fn stop_is_observed_by_run() {
        let _watchdog = Watchdog::new("a stop", FAR);
        let (tx, rx) = mpsc::channel();
        for worker in [thread_until_stopped(tx.clone()), loop_until_stopped(tx)] {
            worker.start();
            worker.trigger();
            assert_eq!(rx.recv_timeout(FAR).unwrap(), "begun");
            worker.stop();
            assert_eq!(rx.try_recv().unwrap(), "stopped");
        }
    }
}

mod results {
    use super::*;

    #[background_worker]
    fn thread_false(ctx: &WorkerContext) -> bool {
        ctx.runs() < 2
    }

    #[background_worker]
    async fn loop_false(ctx: &WorkerContext) -> bool {
        ctx.runs() < 2
    }

    #[background_worker(tt = "mp")]
    fn mp_false(ctx: &WorkerContext) -> bool {
        ctx.runs() < 2
    }

    #[background_worker]
    fn thread_break(ctx: &WorkerContext) -> ControlFlow<()> {
        if ctx.runs() < 2 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    #[background_worker]
    async fn loop_break(ctx: &WorkerContext) -> ControlFlow<()> {
        if ctx.runs() < 2 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    #[background_worker(tt = "mp")]
    fn mp_break(ctx: &WorkerContext) -> ControlFlow<()> {
        if ctx.runs() < 2 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    #[background_worker(tt = "mp")]
    async fn mp_async(ctx: &WorkerContext) -> Result<bool, String> {
        tokio::task::yield_now().await;
        Ok(ctx.runs() < 2)
    }

    #[test]
    fn false_and_break_stop_worker() {
        for worker in [
            thread_false(),
            loop_false(),
            mp_false(),
            thread_break(),
            loop_break(),
            mp_break(),
            mp_async(),
        ] {
            worker.start();
            eventually(|| !worker.is_started());
            assert!(worker.is_stopped());
            assert_eq!(worker.runs(), 3, "{}", worker.name());
        }
    }

    static ERRORS: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

    fn reported(error: &WorkerError) -> ControlFlow<()> {
        ERRORS.lock().unwrap().push((error.worker().to_owned(), error.message()));
        if error.run() < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    fn fails(ctx: &WorkerContext) -> Result<(), String> {
        match ctx.runs() {
            1 => panic!("a panic"),
            n => Err(format!("error {n}")),
        }
    }

    #[background_worker(on_error = reported, name = "thread_err")]
    fn thread_err(ctx: &WorkerContext) -> Result<(), String> {
        fails(ctx)
    }

    #[background_worker(on_error = reported, name = "loop_err")]
    async fn loop_err(ctx: &WorkerContext) -> Result<(), String> {
        fails(ctx)
    }

    #[background_worker(on_error = |e| { assert!(!e.worker().is_empty()); reported(e) }, name = "mp_err", tt = "mp")]
    fn mp_err(ctx: &WorkerContext) -> Result<(), String> {
        fails(ctx)
    }

    #[test]
    fn errors_reach_on_error() {
        for worker in [thread_err(), loop_err(), mp_err()] {
            worker.start();
            eventually(|| !worker.is_started());
            assert_eq!(worker.runs(), 3);
            let errors = ERRORS.lock().unwrap();
            let mut messages = errors.iter().filter(|(name, _)| name == worker.name());
            let mut next = || &messages.next().unwrap().1;
            assert_eq!(next(), "error 0");
            assert!(next().contains("a panic"));
            assert_eq!(next(), "error 2");
        }
    }

    fn end(error: &WorkerError) -> ControlFlow<()> {
        assert!(error.is_panic(), "{error}");
        ControlFlow::Break(())
    }

    #[background_worker(on_error = end)]
    fn thread_never() -> ! {
        panic!("on a thread")
    }

    #[background_worker(on_error = end)]
    async fn loop_never() -> ! {
        panic!("on an aloop")
    }

    #[background_worker(on_error = end, tt = "mp")]
    fn mp_never() -> ! {
        panic!("in a process")
    }

    #[background_worker(on_error = end, process_result = |_| panic!("of a thread"))]
    fn thread_processed() -> u32 {
        1
    }

    #[background_worker(on_error = end, process_result = |_| panic!("of an aloop"))]
    async fn loop_processed() -> u32 {
        1
    }

    #[background_worker(on_error = end, process_result = |_| panic!("of a process"), tt = "mp")]
    fn mp_processed() -> u32 {
        1
    }

    /// Every function panics.
    #[test]
    fn panics_reach_on_error() {
        for worker in [
            thread_never(),
            loop_never(),
            mp_never(),
            thread_processed(),
            loop_processed(),
            mp_processed(),
        ] {
            worker.start();
            eventually(|| !worker.is_started());
            assert_eq!(worker.runs(), 1, "{}", worker.name());
        }
    }

    static SUM: AtomicU64 = AtomicU64::new(0);

    fn add(point: &Point) {
        SUM.fetch_add(point.x, Ordering::SeqCst);
    }

    #[derive(Serialize, Deserialize)]
    struct Point {
        x: u64,
    }

    #[background_worker(queue, process_result = add)]
    fn thread_result(x: u64) -> Point {
        Point { x }
    }

    #[background_worker(queue, process_result = add)]
    async fn loop_result(x: u64) -> Point {
        Point { x }
    }

    #[background_worker(queue, process_result = add, tt = "mp", codec = "msgpack")]
    fn mp_result(x: u64) -> Point {
        Point { x }
    }

    #[test]
    fn results_reach_process_result() {
        let mut expected = 0;
        for worker in [thread_result(), loop_result(), mp_result()] {
            worker.start();
            for x in [1, 10, 100] {
                worker.put(x).unwrap();
            }
            eventually(|| worker.runs() == 3);
            worker.stop();
            expected += 111;
            assert_eq!(SUM.load(Ordering::SeqCst), expected);
        }
    }

    /// A closure knows the type of the result and may use the constructor's arguments.
    #[background_worker(event, process_result = { let tx = tx.clone(); move |r| tx.send(*r).unwrap() })]
    fn thread_closure(tx: mpsc::Sender<usize>) -> usize {
        1
    }

    #[background_worker(event, process_result = |text| KEPT.lock().unwrap().push(text.len()))]
    async fn loop_closure() -> impl AsRef<str> + std::ops::Deref<Target = str> {
        "ab".to_owned()
    }

    #[background_worker(event, process_result = |r| KEPT.lock().unwrap().push(r.len()), tt = "mp")]
    fn mp_closure(bytes: &[u8]) -> Vec<u8> {
        bytes.to_owned()
    }

    static KEPT: Mutex<Vec<usize>> = Mutex::new(Vec::new());

    #[test]
    fn closure_processes_results() {
        let (tx, rx) = mpsc::channel();
        for worker in [thread_closure(tx), loop_closure(), mp_closure(vec![0; 3])] {
            worker.start();
            worker.trigger();
            eventually(|| worker.runs() == 1);
            worker.stop();
        }
        assert_eq!(rx.try_recv(), Ok(1));
        assert_eq!(*KEPT.lock().unwrap(), [2, 3]);
    }
}

mod processes {
    use super::*;

    /// Uses one worker process; tests in it would otherwise have to share one.
    static ONE: LazyLock<Supervisor> =
        LazyLock::new(|| Supervisor::builder().id("one").mp_pool(MpPoolConfig::new(1)).build());

    #[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
    struct Report {
        name: String,
        runs: u64,
        values: String,
    }

    static REPORTS: Mutex<Vec<Report>> = Mutex::new(Vec::new());

    fn note(reported: &Report) {
        REPORTS.lock().unwrap().push(reported.clone());
    }

    #[background_worker(
        event,
        tt = "mp",
        name = "values",
        supervisor = &ONE,
        process_result = note,
        priority = "low"
    )]
    fn values<'a, 'b>(
        ctx: &WorkerContext,
        owned: String,
        text: &'a str,
        bytes: &'b [u8],
        numbers: &[u32],
        point: &(u8, u8),
        path: &Path,
        (a, mut b): (u8, u8),
    ) -> Report
    where
        'a: 'b,
    {
        b += 1;
        if ctx.runs() < 2 {
            ctx.trigger();
            ctx.trigger();
        }
        let values =
            format!("{owned} {text} {bytes:?} {numbers:?} {point:?} {} {a} {b}", path.display());
        Report { name: ctx.name().to_owned(), runs: ctx.runs(), values }
    }

    #[test]
    fn values_and_context_cross() {
        let worker = values(
            "owned".into(),
            "text".into(),
            vec![1, 2],
            vec![3, 4],
            (5, 6),
            "/p".into(),
            (7, 8),
        );
        worker.start();
        worker.trigger();
        // The function has requested two more runs, one at a time.
        eventually(|| worker.runs() == 3);
        worker.stop();
        let expected = |runs| Report {
            name: "values".to_owned(),
            runs,
            values: "owned text [1, 2] [3, 4] (5, 6) /p 7 9".to_owned(),
        };
        assert_eq!(*REPORTS.lock().unwrap(), [expected(0), expected(1), expected(2)]);
    }

    static BEGUN: AtomicU32 = AtomicU32::new(0);

    /// The file shows that a run has begun, the result that it observed the stop.
    #[background_worker(
        event, tt = "mp", process_result = |seen| { BEGUN.store(u32::from(*seen), Ordering::SeqCst); }
    )]
    fn until_stopped(ctx: &WorkerContext, file: &Path) -> bool {
        assert!(!ctx.stopped());
        std::fs::write(file, "begun").unwrap();
        ctx.wait_stop(FAR) && ctx.stopped()
    }

    #[test]
    fn stop_is_observed_by_run() {
        let _watchdog = Watchdog::new("a stop of a worker in a process", FAR);
        let file = std::env::temp_dir().join(format!("atasker-worker-{}", std::process::id()));
        let worker = until_stopped(file.clone());
        worker.start();
        worker.trigger();
        eventually(|| file.exists());
        worker.stop();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(BEGUN.load(Ordering::SeqCst), 1);
        assert_eq!(worker.runs(), 1);
    }

    static ITEMS: Mutex<Vec<(u64, u32)>> = Mutex::new(Vec::new());

    #[background_worker(
        queue = "priority",
        queue_limit = 2 + limit,
        tt = "mp",
        process_result = |r| ITEMS.lock().unwrap().push(*r)
    )]
    fn items(ctx: WorkerContext, item: u32, limit: usize) -> (u64, u32) {
        (ctx.runs(), item)
    }

    #[test]
    fn items_cross() {
        let worker: QueueWorker<u32> = items(1);
        for n in [3, 1, 2] {
            worker.try_put(n).unwrap();
        }
        assert!(worker.try_put(4).unwrap_err().is_full());
        worker.start();
        eventually(|| worker.runs() == 3);
        worker.stop();
        assert_eq!(*ITEMS.lock().unwrap(), [(0, 1), (1, 2), (2, 3)]);
    }

    static DEATHS: Mutex<Vec<String>> = Mutex::new(Vec::new());
    static SURVIVED: AtomicU32 = AtomicU32::new(0);

    fn death(error: &WorkerError) -> ControlFlow<()> {
        assert!(error.task_error().unwrap().is_worker_died(), "{error}");
        DEATHS.lock().unwrap().push(error.to_string());
        ControlFlow::Continue(())
    }

    #[background_worker(
        queue,
        tt = "mp",
        supervisor = &*ONE,
        on_error = death,
        process_result = |_| { SURVIVED.fetch_add(1, Ordering::SeqCst); }
    )]
    fn may_die(item: bool) {
        if item {
            std::process::abort();
        }
    }

    #[test]
    fn worker_survives_process_deaths() {
        let worker = may_die();
        worker.start();
        for item in [false, true, false, true, false] {
            worker.put(item).unwrap();
        }
        eventually(|| worker.runs() == 5);
        assert!(worker.is_active());
        worker.stop();
        assert_eq!(SURVIVED.load(Ordering::SeqCst), 3);
        let deaths = DEATHS.lock().unwrap();
        assert_eq!(deaths.len(), 2);
        assert!(deaths[1].contains("run 4 of `macros::worker::processes::may_die`"), "{deaths:?}");
        assert!(deaths[1].contains("SIGABRT"), "{deaths:?}");
    }
}

mod generics_and_attributes {
    use super::*;

    #[cfg(any())]
    #[background_worker(queue = "fifo")]
    fn left_out(item: NoSuchType) {}

    /// Documented.
    #[background_worker(queue)]
    fn generic<T, F, const N: usize>(item: T, f: &mut F, log: mpsc::Sender<[T; N]>)
    where
        T: Copy + Send + 'static,
        F: FnMut(T) -> T + Send + 'static,
    {
        log.send([f(item); N]).unwrap();
    }

    #[background_worker(event)]
    async fn generic_async<T: ToString + Clone + Send + 'static>(
        value: T,
        log: Log,
        f: impl Fn(String) -> String + Clone + Send + 'static,
        g: &(impl Fn(String) -> String + Send + Sync + 'static),
    ) {
        log.send(g(f(value.to_string()))).unwrap();
    }

    #[test]
    fn generic_constructors_compile() {
        let (tx, rx) = mpsc::channel();
        let mut n = 0;
        let add = move |item| {
            n += 1;
            item + n
        };
        let worker: QueueWorker<u8> = generic::<u8, _, 2>(add, tx);
        worker.start();
        worker.put(10).unwrap();
        worker.put(20).unwrap();
        assert_eq!(rx.recv_timeout(FAR).unwrap(), [11, 11]);
        assert_eq!(rx.recv_timeout(FAR).unwrap(), [22, 22]);
        worker.stop();
        let (tx, rx) = mpsc::channel();
        let worker = generic_async(7, tx, |s| s + "!", |s: String| s + "?");
        assert_eq!(reported(&worker, &rx, 1), ["7!?"]);
    }

    #[allow(non_snake_case)]
    #[cfg(not(any()))]
    #[background_worker(event)]
    #[inline(never)]
    #[allow(unused_variables)]
    #[deprecated = "for the test"]
    fn Attributes(Ignored: u32) {
        let unused = 1;
    }

    #[background_worker(event)]
    fn r#type(r#fn: Arc<AtomicU32>) {
        r#fn.fetch_add(1, Ordering::SeqCst);
    }

    #[test]
    fn attributes_and_raw_names_are_kept() {
        #[allow(deprecated)]
        let worker = Attributes(1);
        assert_eq!(worker.name(), "macros::worker::generics_and_attributes::Attributes");
        let count = Arc::new(AtomicU32::new(0));
        let worker = r#type(count.clone());
        assert_eq!(worker.name(), "macros::worker::generics_and_attributes::type");
        worker.start();
        worker.trigger();
        eventually(|| count.load(Ordering::SeqCst) == 1);
        worker.stop();
    }

    #[test]
    fn fn_in_body_uses_local_types() {
        static SEEN: AtomicU32 = AtomicU32::new(0);
        #[derive(Serialize, Deserialize)]
        struct Local(u32);
        let on_thread = {
            #[background_worker(queue, process_result = |l| { SEEN.fetch_add(l.0, Ordering::SeqCst); })]
            fn local(item: Local) -> Local {
                item
            }
            local()
        };
        #[background_worker(queue, tt = "mp", process_result = |l| { SEEN.fetch_add(l.0, Ordering::SeqCst); })]
        fn local(item: Local) -> Local {
            item
        }
        for worker in [on_thread, local()] {
            worker.start();
            worker.put(Local(4)).unwrap();
            eventually(|| worker.runs() == 1);
            worker.stop();
        }
        assert_eq!(SEEN.load(Ordering::SeqCst), 8);
    }

    macro_rules! workers {
        ($($name:ident($ctx:ty, $item:ty, $own:ty, $given:ident);)*) => {$(
            #[background_worker(queue)]
            fn $name(ctx: $ctx, item: $item, sum: $own, log: Log) {
                *sum += item;
                log.send(format!("{} {sum}", ctx.runs())).unwrap();
            }
        )*};
    }

    workers! {
        by_macro_u8(&WorkerContext, u8, &mut u8, u8);
        by_macro_u64(WorkerContext, u64, &mut u64, u64);
    }

    #[test]
    fn fns_from_other_macros_compile() {
        let (tx, rx) = mpsc::channel();
        let worker = by_macro_u8(5, tx.clone());
        worker.start();
        worker.put(1).unwrap();
        assert_eq!(rx.recv_timeout(FAR).unwrap(), "0 6");
        worker.stop();
        let worker = by_macro_u64(7, tx);
        worker.start();
        worker.put(1).unwrap();
        assert_eq!(rx.recv_timeout(FAR).unwrap(), "0 8");
        worker.stop();
    }

    const EVERY: Duration = PAUSE;

    #[background_worker(
        interval = EVERY * factor,
        delay_before = "1ms",
        overrun = "burst",
        priority = Priority::Low,
        name = "all keys",
        supervisor = supervisor(),
        on_error = |_| ControlFlow::Break(())
    )]
    fn all_keys(factor: u32, count: Arc<AtomicU32>) -> Result<(), String> {
        match count.fetch_add(1, Ordering::SeqCst) {
            4 => Err(format!("enough of {factor}")),
            _ => Ok(()),
        }
    }

    #[background_worker(delay_before = "1ms", aloop = "of a worker")]
    async fn only_before(threads: Arc<Mutex<Vec<String>>>) {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        threads.lock().unwrap().push(name);
    }

    #[test]
    fn keys_accept_expressions() {
        let count = Arc::new(AtomicU32::new(0));
        let worker = all_keys(2, count.clone());
        assert_eq!(worker.name(), "all keys");
        worker.start();
        eventually(|| !worker.is_started());
        assert_eq!(count.load(Ordering::SeqCst), 5);
        let threads = Arc::new(Mutex::new(Vec::new()));
        let worker = only_before(threads.clone());
        worker.start();
        eventually(|| worker.runs() > 1);
        worker.stop();
        assert!(supervisor().aloop("of a worker").is_some());
        let threads = threads.lock().unwrap();
        assert!(
            threads.iter().all(|name| "supervisor_default_aloop_of a worker".starts_with(name)),
            "{threads:?}"
        );
    }
}
