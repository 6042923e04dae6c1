//! What is the bar of `show_progress`?

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use atasker::{
    MpPoolConfig, Supervisor, Task, TaskBuilder, TaskContext, background_task, wait_completed,
};
use atasker_tests::{FAR, eventually, mp};
use atasker_tests_seen::screen::Screen;

use crate::{gated, unlimited};

/// What a task is to report.
enum Report {
    Progress(u64, u64),
    Message(&'static str),
}
use Report::{Message, Progress};

/// A task that reports what it receives.
fn reports(sup: &Supervisor) -> Task<u32, Report> {
    TaskBuilder::with_context(|ctx: &TaskContext<Report>| {
        let mut count = 0;
        while let Ok(report) = ctx.recv() {
            match report {
                Progress(done, total) => ctx.progress(done, total),
                Message(text) => ctx.message(text),
            }
            count += 1;
        }
        count
    })
    .supervisor(sup)
    .start()
}

#[test]
fn bar_shows_what_the_task_reports() {
    let (sup, screen) = (unlimited(), Screen::new());
    let task = reports(&sup).show_progress("indexing");
    assert!(screen.shows("indexing"), "{}", screen.text());
    task.send(Progress(1, 4)).unwrap();
    eventually(|| screen.shows("indexing") && screen.shows("1/4"));
    task.send(Message("reading a.txt")).unwrap();
    eventually(|| screen.shows("reading a.txt") && screen.shows("1/4"));
    task.send(Progress(3, 4)).unwrap();
    eventually(|| screen.shows("reading a.txt") && screen.shows("3/4"));
    task.stop();
    assert_eq!(task.join().unwrap(), 3);
    assert!(screen.is_clear(), "{}", screen.text());
}

#[test]
fn task_without_a_total_has_a_spinner() {
    let (sup, screen) = (unlimited(), Screen::new());
    let task = reports(&sup).show_progress("walking");
    let first = screen.text();
    assert!(!first.contains('/'), "{first}");
    // It turns, although the task reports nothing.
    eventually(|| screen.text() != first && screen.shows("walking"));
    task.send(Message("in /tmp")).unwrap();
    eventually(|| screen.shows("walking in /tmp"));
    task.send(Progress(7, 0)).unwrap();
    eventually(|| screen.shows("walking 7 in /tmp"));
    // Now it names a total, and then none any more.
    task.send(Progress(8, 9)).unwrap();
    eventually(|| screen.shows("8/9"));
    task.send(Progress(9, 0)).unwrap();
    eventually(|| screen.shows("walking 9 in /tmp"));
    task.stop();
    task.wait().unwrap();
    assert!(screen.is_clear(), "{}", screen.text());
}

#[test]
fn control_characters_of_a_message_are_not_printed() {
    let (sup, screen) = (unlimited(), Screen::new());
    let task = reports(&sup).show_progress("label");
    task.send(Message("two\nlines\x1b[2Jand more")).unwrap();
    eventually(|| screen.shows("label two lines [2Jand more"));
    task.stop();
    task.join().unwrap();
    assert!(screen.is_clear(), "{}", screen.text());
}

#[test]
fn message_that_is_too_long_is_cut_off() {
    let (sup, screen) = (unlimited(), Screen::new());
    let task = reports(&sup).show_progress("label");
    task.send(Message(concat!(
        "0123456789 0123456789 0123456789 0123456789 0123456789 ",
        "0123456789 0123456789 0123456789 0123456789 the end"
    )))
    .unwrap();
    eventually(|| screen.shows("label 0123456789"));
    assert_eq!(screen.text().lines().count(), 1, "{}", screen.text());
    assert!(!screen.shows("the end"), "{}", screen.text());
    task.stop();
    task.join().unwrap();
    assert!(screen.is_clear(), "{}", screen.text());
}

#[background_task]
async fn counts_on_a_loop(ctx: &TaskContext<u64>) -> u64 {
    let mut last = 0;
    while let Ok(n) = ctx.recv_async().await {
        ctx.progress(n, 10);
        last = n;
    }
    last
}

#[test]
fn async_task_has_a_bar() {
    let screen = Screen::new();
    let task = counts_on_a_loop().show_progress("looping");
    assert!(screen.shows("looping"), "{}", screen.text());
    task.send(6).unwrap();
    eventually(|| screen.shows("6/10"));
    task.stop();
    assert_eq!(futures_lite::future::block_on(task).unwrap(), 6);
    assert!(screen.is_clear(), "{}", screen.text());
}

#[background_task(tt = "mp")]
fn counts_in_a_process(ctx: &TaskContext<u64>) -> u64 {
    let mut last = 0;
    while let Ok(n) = ctx.recv() {
        ctx.progress(n, 10);
        ctx.message(&format!("step {n}"));
        last = n;
    }
    last
}

#[test]
fn task_in_a_worker_process_has_a_bar() {
    let screen = Screen::new();
    let task = counts_in_a_process().show_progress("processing");
    assert!(screen.shows("processing"), "{}", screen.text());
    for n in [3, 7] {
        task.send(n).unwrap();
        eventually(|| screen.shows(&format!("{n}/10")) && screen.shows(&format!("step {n}")));
    }
    task.stop();
    assert_eq!(task.join().unwrap(), 7);
    assert!(screen.is_clear(), "{}", screen.text());
}

#[test]
fn bar_is_cleared_however_the_task_ends() {
    let (sup, screen) = (unlimited(), Screen::new());
    let panics = TaskBuilder::with_context(|ctx: &TaskContext<()>| {
        let _ = ctx.recv();
        panic!("expected")
    });
    let panics: Task<(), ()> = panics.supervisor(&sup).start().show_progress("panics");
    assert!(screen.shows("panics"));
    panics.send(()).unwrap();
    assert!(panics.wait().unwrap_err().is_panic());
    assert!(screen.is_clear(), "{}", screen.text());

    let canceled = TaskBuilder::new(|| ()).delay(FAR).supervisor(&sup).start();
    let canceled = canceled.show_progress("canceled");
    assert!(screen.shows("canceled"));
    assert!(canceled.cancel());
    assert!(canceled.to_ref().wait().unwrap_err().is_canceled());
    assert!(screen.is_clear(), "{}", screen.text());

    let limited = TaskBuilder::with_context(|ctx: &TaskContext| ctx.recv().is_err());
    let limited = limited.timeout(Duration::from_millis(1)).supervisor(&sup).start();
    assert!(limited.show_progress("limited").join().unwrap_err().is_timeout());
    assert!(screen.is_clear(), "{}", screen.text());

    let workers = mp::supervisor(MpPoolConfig::new(1));
    let (killed, _) = mp::occupy(&workers);
    let killed = killed.show_progress("killed");
    assert!(screen.shows("killed"));
    killed.kill().unwrap();
    assert!(killed.wait_timeout(FAR).is_err());
    assert!(screen.is_clear(), "{}", screen.text());
}

#[test]
fn bar_ends_without_a_waiter() {
    let (sup, screen) = (unlimited(), Screen::new());
    let (gate, task) = gated(&sup, 1);
    let task = task.show_progress("alone");
    assert!(screen.shows("alone"));
    gate.open();
    eventually(|| screen.is_clear());
    eventually(|| !crate::draws());
    assert_eq!(task.join().unwrap(), 1);
}

#[test]
fn bar_stays_while_a_detached_task_runs() {
    let (sup, screen) = (unlimited(), Screen::new());
    let (gate, task) = gated(&sup, 1);
    task.show_progress("detached").detach();
    let (other_gate, other) = gated(&sup, 1);
    drop(other.show_progress("dropped"));
    assert!(screen.shows("detached") && screen.shows("dropped"), "{}", screen.text());
    gate.open();
    eventually(|| !screen.shows("detached"));
    assert!(screen.shows("dropped"), "{}", screen.text());
    other_gate.open();
    eventually(|| screen.is_clear());
}

#[test]
fn stop_request_does_not_end_the_bar() {
    let (sup, screen) = (unlimited(), Screen::new());
    let (gate, task) = gated(&sup, 1);
    let task = task.show_progress("stopping");
    task.stop();
    let before = screen.text();
    eventually(|| screen.text() != before && screen.shows("stopping"));
    gate.open();
    eventually(|| screen.is_clear());
    task.join().unwrap();
}

#[test]
fn second_call_replaces_the_bar() {
    let (sup, screen) = (unlimited(), Screen::new());
    let task = reports(&sup).show_progress("first").show_progress(String::from("second"));
    let text = screen.text();
    assert!(text.contains("second") && !text.contains("first"), "{text}");
    task.send(Progress(1, 2)).unwrap();
    eventually(|| screen.shows("1/2"));
    assert_eq!(screen.text().lines().count(), 1, "{}", screen.text());
    task.stop();
    task.join().unwrap();
    assert!(screen.is_clear(), "{}", screen.text());
}

#[test]
fn ended_task_has_no_bar() {
    let (sup, screen) = (unlimited(), Screen::new());
    let task = sup.spawn(|| 1);
    task.wait().unwrap();
    let task = task.show_progress("over");
    assert_eq!(screen.draws(), 0);
    assert_eq!(task.join().unwrap(), 1);
}

#[test]
fn bar_of_a_retried_task_lasts_until_its_last_attempt() {
    let (sup, screen) = (unlimited(), Screen::new());
    let (attempts, attempted) = std::sync::mpsc::channel();
    let (tries, tried) = std::sync::mpsc::channel::<bool>();
    let task = TaskBuilder::repeatable(move || {
        attempts.send(()).unwrap();
        assert!(tried.recv_timeout(FAR).unwrap(), "expected");
        1
    });
    let task = task.retries(1).supervisor(&sup).start().show_progress("retried");
    attempted.recv_timeout(FAR).unwrap();
    tries.send(false).unwrap();
    attempted.recv_timeout(FAR).unwrap();
    // The report of the panic takes it off the screen for a moment.
    eventually(|| screen.shows("retried"));
    tries.send(true).unwrap();
    assert_eq!(task.join().unwrap(), 1);
    assert!(screen.is_clear(), "{}", screen.text());
}

#[test]
fn bars_of_tasks_and_of_a_wait_are_shown_together() {
    let (sup, screen) = (unlimited(), Screen::new());
    let tasks: Vec<_> = (0..3).map(|n| reports(&sup).show_progress(format!("task {n}"))).collect();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| wait_completed!(&tasks, progress = "all").map(drop));
        eventually(|| screen.shows("all") && screen.shows("0/3"));
        tasks[1].send(Progress(5, 8)).unwrap();
        eventually(|| screen.shows("5/8"));
        tasks[0].stop();
        eventually(|| screen.shows("1/3") && !screen.shows("task 0"));
        tasks.iter().for_each(|task| task.stop());
        waiter.join().unwrap().unwrap();
    });
    drop(tasks);
    eventually(|| screen.is_clear());
}

#[test]
fn bar_keeps_nothing_of_the_task_alive() {
    let (sup, screen) = (unlimited(), Screen::new());
    let value = Arc::new(());
    let (gate, task) = gated(&sup, Arc::clone(&value));
    task.show_progress("in memory").detach();
    assert!(screen.shows("in memory"));
    gate.open();
    eventually(|| Arc::strong_count(&value) == 1);
    eventually(|| screen.is_clear());
}
