//! Do arguments, results and messages that exceed the socket buffers cross in both directions at
//! once, with cancels and kills in between, without a deadlock and without corruption?

use std::time::Duration;

use atasker::{Supervisor, Task, TaskContext, TaskError, background_task};
use atasker_tests::mp::pool_of;
use atasker_tests::{FAR, Watchdog};

const MIB: usize = 1 << 20;

#[background_task(tt = "mp")]
fn echo(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

/// Sends back each message, then all of them at once.
#[background_task(tt = "mp")]
fn answers(ctx: &TaskContext<Vec<u8>, Vec<u8>>, first: Vec<u8>) -> Vec<u8> {
    let mut all = first;
    while let Ok(message) = ctx.recv() {
        all.extend_from_slice(&message);
        ctx.send(message).unwrap();
    }
    all
}

/// A thread of the task sends while the result is written.
#[background_task(tt = "mp")]
fn talks_to_the_end(ctx: &TaskContext<u64, Vec<u8>>, size: usize) -> Vec<u8> {
    let talks = ctx.clone();
    std::thread::spawn(move || while talks.send(vec![2; 100_000]).is_ok() {});
    let listens = ctx.clone();
    std::thread::spawn(move || while listens.recv().is_ok() {});
    vec![1; size]
}

fn with(workers: usize) -> Supervisor {
    Supervisor::builder().id("big").mp_pool(pool_of(workers)).build()
}

/// A value that differs between tasks, and between its beginning and its end.
fn pattern(n: u64, size: usize) -> Vec<u8> {
    let mut bytes = vec![n as u8; size];
    if let [first, .., last] = &mut bytes[..] {
        (*first, *last) = (1, 2);
    }
    bytes
}

#[test]
fn concurrent_echoes() {
    let _watchdog = Watchdog::new("echoes of 64 MiB", 4 * FAR);
    let sup = with(2);
    let bytes = pattern(1, 64 * MIB);
    let tasks: Vec<_> =
        (0..4).map(|_| echo::builder(bytes.clone()).supervisor(&sup).start()).collect();
    for task in tasks {
        assert!(task.join().unwrap() == bytes);
    }
}

#[test]
fn echoes_with_cancels_and_kills() {
    let sup = with(2);
    let mut seed = 0x0123_4567_89ab_cdefu64;
    let mut next = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let (mut ended, mut came) = (0, 0);
    for round in 0..60 {
        let _watchdog = Watchdog::new(format!("round {round}"), 2 * FAR);
        let tasks: Vec<(u64, Task<Vec<u8>>)> = (0..8)
            .map(|n| {
                let size = next(6 * MIB as u64) as usize;
                let mut task = echo::builder(pattern(n, size)).supervisor(&sup);
                if next(8) == 0 {
                    task = task.timeout(Duration::from_micros(next(20_000)));
                }
                (n, task.start())
            })
            .collect();
        for (_, task) in &tasks {
            for _ in 0..next(20_000) {
                std::hint::spin_loop();
            }
            match next(4) {
                0 => task.kill().unwrap(),
                1 => drop(task.cancel()),
                _ => {}
            }
        }
        for (n, task) in tasks {
            match task.join() {
                Ok(bytes) => {
                    assert!(bytes == pattern(n, bytes.len()), "received the value of another task");
                    came += 1;
                }
                Err(TaskError::Canceled | TaskError::TimedOut { .. }) => ended += 1,
                Err(other) => panic!("{round}: {other}"),
            }
        }
    }
    println!("{came} results, {ended} ended before");
    assert!(came > 0 && ended > 0);
    assert_eq!(sup.info().tasks, 0);
}

#[test]
fn messages_in_both_directions() {
    const MESSAGES: u64 = 60;
    let _watchdog = Watchdog::new("messages both ways", 2 * FAR);
    let sup = with(1);
    let first = pattern(9, 8 * MIB);
    let task = answers::builder(first.clone()).supervisor(&sup).start();
    // While this task runs, another one is pending, whose arguments are in transit.
    let behind = echo::builder(first.clone()).supervisor(&sup).start();
    // No message is received until all are sent.
    for n in 0..MESSAGES {
        task.send(pattern(n, MIB / 2)).unwrap();
    }
    for n in 0..MESSAGES {
        assert!(task.recv().unwrap() == pattern(n, MIB / 2), "{n}");
    }
    task.stop();
    let all = task.join().unwrap();
    assert_eq!(all.len(), first.len() + MESSAGES as usize * MIB / 2);
    assert!(all.starts_with(&first));
    assert!(behind.join().unwrap() == first);
}

#[test]
fn messages_while_result_is_written() {
    let sup = with(1);
    for round in 0..20 {
        let _watchdog = Watchdog::new(format!("round {round}"), FAR);
        let task = talks_to_the_end::builder(16 * MIB).supervisor(&sup).start();
        let ended = std::thread::scope(|scope| {
            scope.spawn(|| while task.send(1).is_ok() {});
            scope.spawn(|| task.messages().for_each(|message| assert_eq!(message[0], 2)));
            if round % 3 == 2 {
                task.kill().unwrap();
            }
            task.wait().is_ok()
        });
        assert!(ended || round % 3 == 2);
        if ended {
            assert_eq!(task.join().unwrap().len(), 16 * MIB);
        }
    }
}
