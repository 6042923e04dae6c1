//! The kinds of tasks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use atasker::{Priority, RecvError, TaskBuilder, TaskContext, background_task};

use crate::FAR;

use crate::options::Tasks;
use crate::pending::{AnyPending, Natural, Pending, Scene, start};
use atasker_tests::random::Random;

#[background_task(tt = "mp")]
fn sum(a: u64, b: u64) -> u64 {
    a + b
}

#[background_task(tt = "mp")]
fn echo(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

/// Works or sleeps for the given time; ends early on a stop request.
#[background_task(tt = "mp")]
fn lasts(ctx: &TaskContext, time: Duration, spin: bool) -> u64 {
    last(ctx, time, spin)
}

fn last(ctx: &TaskContext, time: Duration, spin: bool) -> u64 {
    let end = Instant::now() + time;
    if spin {
        while Instant::now() < end && !ctx.stopped() {
            std::hint::spin_loop();
        }
    } else {
        ctx.wait_stop(time);
    }
    7
}

/// Ignores stop requests.
#[background_task(tt = "mp")]
fn spins_for_ever() {
    loop {
        std::hint::spin_loop();
    }
}

#[background_task(tt = "mp")]
fn panics() {
    panic!("meant");
}

const DEATHS: [&str; 5] =
    ["exit code 0", "exit code 3", "SIGABRT (6)", "SIGSEGV (11)", "SIGKILL (9)"];

#[background_task(tt = "mp")]
fn dies(how: usize) {
    match how {
        0 => std::process::exit(0),
        1 => std::process::exit(3),
        2 => std::process::abort(),
        // SAFETY: none; this process is supposed to end here.
        3 => unsafe { std::ptr::without_provenance_mut::<u8>(16).write_volatile(1) },
        // SAFETY: sends a signal to this process.
        _ => unsafe {
            libc::kill(libc::getpid(), libc::SIGKILL);
        },
    }
}

/// Launches tasks inside a worker process; they run on threads of that process.
#[background_task(tt = "mp")]
fn launches_inside(n: u64) -> u64 {
    let tasks: Vec<_> = (0..4).map(|i| sum(n, i)).collect();
    tasks.into_iter().map(|task| task.join().unwrap()).sum()
}

/// Sends back each message until a stop is requested.
#[background_task(tt = "mp")]
fn answers(ctx: &TaskContext<u64, u64>) -> u64 {
    answer(ctx)
}

fn answer(ctx: &TaskContext<u64, u64>) -> u64 {
    let mut count = 0;
    while let Ok(n) = ctx.recv() {
        count += 1;
        ctx.progress(count, count);
        if ctx.send(n + 1).is_err() {
            break;
        }
    }
    count
}

#[background_task]
async fn sleeps(ctx: &TaskContext, time: Duration) -> u64 {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = ctx.stop_requested() => {}
    }
    7
}

#[background_task]
async fn panics_later() {
    tokio::time::sleep(Duration::from_micros(100)).await;
    panic!("meant");
}

fn millis(random: &mut Random, most: u64) -> Duration {
    Duration::from_micros(random.below(most * 1000))
}

fn one_of(values: &'static [u64]) -> Natural<u64> {
    Natural::Result(Box::new(|value| values.contains(value)))
}

fn exactly<R: PartialEq + Send + 'static>(expected: R) -> Natural<R> {
    Natural::Result(Box::new(move |value| *value == expected))
}

/// Launches a task of a random kind.
pub fn launch(scene: &Arc<Scene>, random: &mut Random) -> Box<dyn AnyPending> {
    match scene.tasks {
        Tasks::Tiny => tiny(scene, random),
        Tasks::Processes => in_process(scene, random),
        Tasks::Threads => on_thread(scene, random),
        Tasks::Async => on_aloop(scene, random),
        Tasks::Mixed => match random.below(10) {
            0..6 => in_process(scene, random),
            6..8 => on_thread(scene, random),
            _ => on_aloop(scene, random),
        },
    }
}

fn tiny(scene: &Scene, random: &mut Random) -> Box<dyn AnyPending> {
    let (a, b) = (random.below(1 << 40), random.below(1 << 40));
    let builder = sum::builder(a, b).priority(random.pick(&Priority::ALL));
    Box::new(start(scene, "process tiny", builder, exactly(a + b)))
}

fn in_process(scene: &Scene, random: &mut Random) -> Box<dyn AnyPending> {
    let priority = random.pick(&Priority::ALL);
    match random.below(100) {
        0..55 => tiny(scene, random),
        55..62 => {
            let builder = sum::builder(1, 2).priority(priority).delay(millis(random, 20));
            Box::new(start(scene, "process delayed", builder, exactly(3)))
        }
        62..69 => {
            let builder = lasts::builder(millis(random, 20), random.below(4) == 0);
            Box::new(start(scene, "process long", builder.priority(priority), one_of(&[7])))
        }
        69..75 => {
            let size = random.pick(&[300, 5_000, 70_000, 400_000, 3_000_000]);
            let bytes = vec![random.number() as u8; random.below(size) as usize];
            let builder = echo::builder(bytes.clone()).priority(priority);
            Box::new(start(scene, "process big", builder, exactly(bytes)))
        }
        75..81 => Box::new(start(scene, "process panic", panics::builder(), Natural::Panic)),
        81..84 => {
            let how = random.below(DEATHS.len() as u64) as usize;
            let builder = dies::builder(how).priority(priority);
            Box::new(start(scene, "process crash", builder, Natural::Death(DEATHS[how])))
        }
        84..87 => {
            let builder = spins_for_ever::builder().timeout(millis(random, 10));
            Box::new(start(scene, "process time limit", builder, Natural::Limit))
        }
        87..91 => {
            let n = random.below(1000);
            let builder = launches_inside::builder(n).priority(priority);
            Box::new(start(scene, "process nested", builder, exactly(4 * n + 6)))
        }
        91..95 => {
            // Each death of a worker process costs one run, and the task has more retries than
            // there are kills.
            let builder = sum::builder(20, 22).retries(1000).priority(priority);
            Box::new(start(scene, "process retries", builder, exactly(42)))
        }
        _ => {
            let pending = start(
                scene,
                "process messages",
                answers::builder().priority(priority),
                Natural::Result(Box::new(|count| *count <= 20)),
            );
            talk(scene, random, pending)
        }
    }
}

/// Sends, receives, and requests a stop.
fn talk(
    scene: &Scene,
    random: &mut Random,
    mut pending: Pending<u64, u64, u64>,
) -> Box<dyn AnyPending> {
    let (rounds, patient) = (random.below(20), random.below(2) == 0);
    for n in 0..rounds {
        // The task may end at any time; its outcome is checked later.
        if pending.task().send(n).is_err() {
            break;
        }
        let answer =
            if patient { pending.task().recv_timeout(FAR) } else { pending.task().try_recv() };
        match answer {
            Ok(answer) if answer > n + 1 || patient && answer != n + 1 => {
                scene.problem(format!("answer {answer} to {n}"));
            }
            Err(RecvError::Timeout) => scene.problem(format!("no reply to {n}")),
            Ok(_) | Err(_) => {}
        }
    }
    pending.stop();
    Box::new(pending)
}

fn on_thread(scene: &Arc<Scene>, random: &mut Random) -> Box<dyn AnyPending> {
    let priority = random.pick(&Priority::ALL);
    let n = random.below(1 << 40);
    match random.below(100) {
        0..50 => {
            let builder = TaskBuilder::new(move || n + 1).priority(priority);
            Box::new(start(scene, "thread tiny", builder, exactly(n + 1)))
        }
        50..60 => {
            let builder = TaskBuilder::new(move || n).priority(priority).delay(millis(random, 20));
            Box::new(start(scene, "thread delayed", builder, exactly(n)))
        }
        60..70 => {
            let (time, spin) = (millis(random, 10), random.below(4) == 0);
            let builder = TaskBuilder::with_context(move |ctx: &TaskContext| last(ctx, time, spin));
            Box::new(start(scene, "thread long", builder.priority(priority), one_of(&[7])))
        }
        70..78 => {
            let builder = TaskBuilder::new(|| panic!("meant"));
            let natural: Natural<()> = Natural::Panic;
            Box::new(start(scene, "thread panic", builder.priority(priority), natural))
        }
        78..84 => {
            let builder = TaskBuilder::with_context(|ctx: &TaskContext<u64, u64>| answer(ctx));
            let natural = Natural::Result(Box::new(|count: &u64| *count <= 20));
            talk(scene, random, start(scene, "thread messages", builder, natural))
        }
        84..92 => {
            // The task waits for a call in a worker process, which may be killed; the task then
            // returns that error.
            let sup = scene.supervisor().clone();
            let builder = TaskBuilder::new(move || {
                let inner = sum::builder(n, 1).priority(priority).supervisor(&sup).start();
                inner.join().map_err(|error| error.to_string())
            });
            let natural =
                Natural::Result(Box::new(move |result: &Result<u64, String>| match result {
                    Ok(value) => *value == n + 1,
                    Err(text) => text.contains("SIGKILL (9)"),
                }));
            Box::new(start(scene, "thread nested process", builder, natural))
        }
        _ => {
            // Nested waits occupy and release slots.
            fn deep(sup: &atasker::Supervisor, depth: u64) -> u64 {
                let inner = sup.clone();
                match depth {
                    0 => 0,
                    _ => 1 + sup.spawn(move || deep(&inner, depth - 1)).join().unwrap(),
                }
            }
            let (sup, depth) = (scene.supervisor().clone(), random.below(8));
            let builder = TaskBuilder::new(move || deep(&sup, depth)).priority(priority);
            Box::new(start(scene, "thread nested", builder, exactly(depth)))
        }
    }
}

fn on_aloop(scene: &Scene, random: &mut Random) -> Box<dyn AnyPending> {
    let n = random.below(1 << 40);
    match random.below(100) {
        0..50 => {
            let builder = TaskBuilder::future(async move { n + 1 });
            Box::new(start(scene, "async tiny", builder, exactly(n + 1)))
        }
        50..60 => {
            let builder = TaskBuilder::future(async move { n }).delay(millis(random, 20));
            Box::new(start(scene, "async delayed", builder, exactly(n)))
        }
        60..75 => {
            let builder = sleeps::builder(millis(random, 20));
            Box::new(start(scene, "async long", builder, one_of(&[7])))
        }
        75..85 => {
            let builder = sleeps::builder(Duration::from_secs(3600)).timeout(millis(random, 10));
            let natural: Natural<u64> = Natural::Limit;
            Box::new(start(scene, "async time limit", builder, natural))
        }
        85..92 => Box::new(start(scene, "async panic", panics_later::builder(), Natural::Panic)),
        _ => {
            let sup = scene.supervisor().clone();
            let builder = TaskBuilder::future(async move {
                let inner = sum::builder(n, 1).supervisor(&sup).start();
                inner.await.map_err(|error| error.to_string())
            });
            let natural =
                Natural::Result(Box::new(move |result: &Result<u64, String>| match result {
                    Ok(value) => *value == n + 1,
                    Err(text) => text.contains("SIGKILL (9)"),
                }));
            Box::new(start(scene, "async nested process", builder, natural))
        }
    }
}
