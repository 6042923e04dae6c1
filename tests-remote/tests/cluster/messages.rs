//! Messages and progress.

use std::time::Duration;

use atasker::{RecvError, TaskContext, background_task};

use crate::{LIMIT, joined, serve, until};

/// Answers each number with its double.
#[background_task(tt = "remote")]
fn doubles(ctx: &TaskContext<u64, u64>) -> u64 {
    let mut count = 0;
    while let Ok(n) = ctx.recv() {
        if ctx.send(2 * n).is_err() {
            break;
        }
        count += 1;
    }
    count
}

/// Sends numbers without being asked.
#[background_task(tt = "remote")]
fn counts(ctx: &TaskContext<(), u64>, count: u64) -> u64 {
    (0..count).take_while(|n| ctx.send(*n).is_ok()).count() as u64
}

#[background_task(tt = "remote")]
fn reports(ctx: &TaskContext<()>) {
    ctx.progress(3, 10);
    ctx.message("reading");
    let _ = ctx.recv();
    ctx.progress(10, 10);
}

/// Takes one message per attempt, and fails at first.
#[background_task(tt = "remote", retries = 2)]
fn takes_one(ctx: &TaskContext<u32, u32>) -> Result<u32, String> {
    let taken = ctx.recv().map_err(|error| error.to_string())?;
    ctx.send(taken).map_err(|error| error.to_string())?;
    if ctx.attempt() < 3 { Err(format!("took {taken}")) } else { Ok(taken) }
}

#[test]
fn messages_go_both_ways_in_order() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", 1);
    let task = doubles::builder().supervisor(&sup).start();
    for n in 0..2_000 {
        task.send(n).unwrap();
        assert_eq!(task.recv_timeout(LIMIT), Ok(2 * n));
    }
    task.stop();
    assert_eq!(task.join().unwrap(), 2_000);
}

#[test]
fn more_messages_than_a_channel_holds_arrive_in_order() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", 1);
    let task = counts::builder(5_000).supervisor(&sup).start();
    let received: Vec<u64> = task.messages().collect();
    assert!(received.iter().copied().eq(0..5_000), "{} messages", received.len());
    assert_eq!(task.join().unwrap(), 5_000);
}

#[test]
fn messages_sent_before_the_begin_are_kept() {
    let (sup, cluster) = joined();
    let task = doubles::builder().delay(Duration::from_millis(20)).supervisor(&sup).start();
    (0..50).for_each(|n| task.send(n).unwrap());
    let _node = serve(&cluster, "one", 1);
    for n in 0..50 {
        assert_eq!(task.recv_timeout(LIMIT), Ok(2 * n));
    }
    task.stop();
    assert_eq!(task.join().unwrap(), 50);
}

#[test]
fn untaken_messages_go_to_the_next_attempt() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", 1);
    let task = takes_one::builder().supervisor(&sup).start();
    for n in [10, 20, 30] {
        task.send(n).unwrap();
    }
    let taken: Vec<u32> = task.messages().collect();
    assert_eq!(taken, [10, 20, 30]);
    assert_eq!(task.join().unwrap(), Ok(30));
}

#[test]
fn dropped_handle_closes_the_channel_of_the_task() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", 1);
    let task = counts::builder(u64::MAX).supervisor(&sup).start();
    assert_eq!(task.recv_timeout(LIMIT), Ok(0));
    let found = task.to_ref();
    drop(task);
    found.wait().unwrap();
    assert!(found.result_cloned::<u64>().unwrap().unwrap() > 0);
}

#[test]
fn progress_and_its_message_arrive() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", 1);
    let task = reports::builder().supervisor(&sup).start();
    until("progress arrives", || {
        let progress = task.progress().unwrap_or_default();
        (progress.done, progress.total) == (3, 10) && progress.message.as_deref() == Some("reading")
    });
    task.send(()).unwrap();
    task.wait().unwrap();
    assert_eq!(task.progress().unwrap().done, 10);
    assert_eq!(task.recv(), Err(RecvError::Closed));
}
