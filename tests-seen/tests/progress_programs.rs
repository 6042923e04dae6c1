//! What do progress bars of a whole program leave on its terminal, and when are there none?
//!
//! Each test starts an ignored test of this program in a separate process.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use atasker::progress::{multi, set_draw_target};
use atasker::{
    Supervisor, Task, TaskBuilder, TaskContext, TaskError, as_completed, background_task,
    wait_completed, wait_settled,
};
use atasker_tests::forks::{fork, refused};
use atasker_tests::processes::{rerun, thread_names};
use atasker_tests::{FAR, Gate, checks, eventually};
use atasker_tests_seen::pty::{self, Session};
use atasker_tests_seen::screen::Recorder;

/// Runs an ignored test of this program on a terminal.
fn on_terminal(test: &str) -> Session {
    let session = pty::run(rerun(test));
    assert!(session.status.success(), "{}", session.screen);
    assert!(session.screen.contains("running 1 test"), "{}", session.screen);
    session
}

/// Asserts that nothing of a bar is left.
#[track_caller]
fn assert_no_bar(session: &Session, label: &str) {
    for part in [label, "█", "░"] {
        assert!(!session.screen.contains(part), "{}", session.screen);
    }
}

/// Begins a new line after the name of the test. A bar begins where the cursor is.
fn begin_line() {
    println!();
}

fn draws() -> bool {
    thread_names().iter().any(|name| name == "atasker bars")
}

/// A task that waits for its gate.
fn gated() -> (Gate, Task<()>) {
    let gate = Gate::new();
    let waits = gate.clone();
    (gate, TaskBuilder::new(move || waits.wait()).start())
}

#[test]
fn terminal_shows_bars_and_is_clear_afterwards() {
    let session = on_terminal("bars_of_all_kinds");
    for label in ["waiting", "completing", "reporting", "spinning"] {
        assert!(session.bytes.contains(label), "{}", session.bytes);
        assert_no_bar(&session, label);
    }
    assert!(session.bytes.contains("0/2"), "{}", session.bytes);
    let lines: Vec<&str> = session.screen.lines().filter(|line| line.contains("line")).collect();
    assert_eq!(lines, ["line above", "line after"], "{}", session.screen);
}

#[test]
#[ignore = "run by another test"]
fn bars_of_all_kinds() {
    begin_line();
    let (gate, first) = gated();
    let (second_gate, second) = gated();
    let tasks = [first.show_progress("spinning"), second];
    let outcomes = as_completed(&tasks).progress("completing");
    assert!(draws());
    multi().println("line above").unwrap();
    gate.open();
    let task = TaskBuilder::with_context(|ctx: &TaskContext| {
        ctx.progress(1, 2);
        ctx.message("halfway");
        ctx.recv().is_err()
    });
    let task = task.start().show_progress("reporting");
    task.stop();
    assert!(wait_completed!(task, progress = "waiting").unwrap());
    second_gate.open();
    let _ = wait_settled!(&tasks, progress = "waiting");
    drop(outcomes);
    drop(tasks);
    println!("line after");
}

#[test]
fn lines_that_are_printed_above_the_bars_stay() {
    let session = on_terminal("prints_above_bars");
    let lines: Vec<&str> = session.screen.lines().collect();
    let first = lines.iter().position(|line| line == &"printed").expect(&session.screen);
    assert_eq!(lines[first..first + 2], ["printed", "while suspended"], "{}", session.screen);
    assert_no_bar(&session, "first bar");
    assert_no_bar(&session, "second bar");
}

#[test]
#[ignore = "run by another test"]
fn prints_above_bars() {
    begin_line();
    let (gate, task) = gated();
    let task = task.show_progress("first bar");
    let outcomes = as_completed([&task]).progress("second bar");
    multi().println("printed").unwrap();
    multi().suspend(|| println!("while suspended"));
    gate.open();
    drop(outcomes);
    task.join().unwrap();
}

#[test]
fn other_output_than_a_terminal_shows_nothing() {
    let output = rerun("bars_without_a_terminal").stderr(Stdio::piped()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stderr, "");
}

#[test]
fn dumb_terminal_shows_nothing() {
    let mut command = Command::new("env");
    let program = rerun("bars_without_a_terminal");
    command.arg("TERM=dumb").arg(program.get_program()).args(program.get_args());
    let session = pty::run(command);
    assert!(session.status.success(), "{}", session.screen);
    assert!(!session.bytes.contains("nowhere"), "{}", session.bytes);
}

#[test]
#[ignore = "run by other tests"]
fn bars_without_a_terminal() {
    assert!(multi().is_hidden());
    let (gate, task) = gated();
    let task = task.show_progress("nowhere");
    let outcomes = as_completed([&task]).progress("nowhere");
    // Nothing is drawn, so there is no thread for it.
    assert!(!draws());
    gate.open();
    wait_completed!(&task, progress = "nowhere").unwrap();
    assert_eq!(outcomes.count(), 1);
}

#[test]
fn worker_process_draws_nothing() {
    let session = on_terminal("bars_in_a_worker_process");
    assert!(!session.bytes.contains("in a worker"), "{}", session.bytes);
    assert_no_bar(&session, "in the program");
}

#[background_task(tt = "mp")]
fn waits_with_bars() -> Result<String, String> {
    let recorder = Recorder::new(80);
    set_draw_target(recorder.target());
    let gate = Gate::new();
    let waits = gate.clone();
    let task = TaskBuilder::new(move || waits.wait()).start().show_progress("in a worker");
    let outcomes = as_completed([&task]).progress("in a worker");
    let is_drawn = draws() || !multi().is_hidden();
    gate.open();
    wait_completed!(&task, progress = "in a worker").map_err(|error| error.to_string())?;
    drop(outcomes);
    Ok(format!("{is_drawn}{}", recorder.text()))
}

#[test]
#[ignore = "run by another test"]
fn bars_in_a_worker_process() {
    begin_line();
    let task = waits_with_bars().show_progress("in the program");
    assert_eq!(wait_completed!(task, progress = "in the program").unwrap().unwrap(), "false");
}

#[test]
fn report_of_a_panic_is_complete_and_no_bar_remains() {
    let session = on_terminal("panics_beside_bars");
    assert_no_bar(&session, "shown meanwhile");
    let lines: Vec<&str> = session.screen.lines().collect();
    for text in ["in a task", "in the wait"] {
        let message = lines.iter().position(|line| line == &text).expect(&session.screen);
        assert!(lines[message - 1].contains("panicked at"), "{}", session.screen);
        assert!(lines[message - 1].starts_with("thread"), "{}", session.screen);
    }
    assert!(lines.contains(&"the end"), "{}", session.screen);
}

#[test]
#[ignore = "run by another test"]
fn panics_beside_bars() {
    begin_line();
    let (gate, task) = gated();
    let task = task.show_progress("shown meanwhile");
    let panics: Task<()> = TaskBuilder::new(|| panic!("in a task")).start();
    assert!(panics.wait().unwrap_err().is_panic());
    let consume = || -> () {
        let mut outcomes = as_completed([&task]).progress("shown meanwhile");
        assert!(outcomes.next().is_some());
        panic!("in the wait");
    };
    gate.open();
    assert!(catch_unwind(AssertUnwindSafe(consume)).is_err());
    task.join().unwrap();
    println!("the end");
}

#[test]
fn exit_clears_the_bars() {
    let session = on_terminal("exits_with_bars");
    assert!(session.bytes.contains("left behind"), "{}", session.bytes);
    assert_no_bar(&session, "left behind");
}

#[test]
#[ignore = "run by another test"]
fn exits_with_bars() {
    begin_line();
    let (_gate, task) = gated();
    let (_other_gate, other) = gated();
    other.show_progress("left behind").detach();
    let _outcomes = as_completed([&task]).progress("left behind");
    std::process::exit(0);
}

#[test]
fn fork_of_the_program_draws_nothing_and_does_not_block() {
    let session = on_terminal("forks_with_bars");
    assert!(!session.bytes.contains("in the fork"), "{}", session.bytes);
    assert_no_bar(&session, "in the original");
}

#[test]
#[ignore = "run by another test"]
fn forks_with_bars() {
    begin_line();
    let (gate, task) = gated();
    let task = task.show_progress("in the original");
    for exits in [false, true] {
        let outcomes = as_completed([&task]).progress("in the original");
        let (sup, shared) = (Supervisor::builder().build(), &task);
        let code = fork(exits, move || {
            checks!(
                refused(shared.wait().copied()),
                wait_settled!(shared, progress = "in the fork").is_err(),
                wait_completed!(shared, progress = "in the fork").is_err(),
                matches!(
                    sup.spawn(|| 1).show_progress("in the fork").join(),
                    Err(TaskError::NotStarted { .. })
                ),
                as_completed([shared]).progress("in the fork").count() == 1,
                outcomes.count() == 1,
                {
                    set_draw_target(Recorder::new(80).target());
                    true
                },
            )
        });
        assert_eq!(code, 0);
        assert!(draws());
    }
    gate.open();
    task.join().unwrap();
    eventually(|| !draws());
}

#[test]
fn panicking_target_ends_all_bars_and_no_wait() {
    let output = rerun("draws_to_a_panicking_target").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("expected from the target"), "{text}");
}

#[test]
#[ignore = "run by another test"]
fn draws_to_a_panicking_target() {
    static PANICS: AtomicBool = AtomicBool::new(false);

    #[derive(Debug)]
    struct Panics(Recorder);
    impl atasker::progress::indicatif::TermLike for Panics {
        fn width(&self) -> u16 {
            80
        }
        fn move_cursor_up(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> std::io::Result<()> {
            self.0.write_line(text)
        }
        fn write_str(&self, text: &str) -> std::io::Result<()> {
            assert!(!PANICS.load(Ordering::Relaxed), "expected from the target");
            self.0.write_str(text)
        }
        fn clear_line(&self) -> std::io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> std::io::Result<()> {
            Ok(())
        }
    }

    use atasker::progress::indicatif::ProgressDrawTarget;
    let target = Panics(Recorder::new(80));
    set_draw_target(ProgressDrawTarget::term_like(Box::new(target)));
    let (gate, task) = gated();
    let task = task.show_progress("before");
    PANICS.store(true, Ordering::Relaxed);
    // Its draw panics.
    let outcomes = as_completed([&task]).progress("panics");
    eventually(|| !draws());
    let again = as_completed([&task]).progress("afterwards");
    assert!(!draws());
    gate.open();
    assert_eq!(outcomes.count() + again.count(), 2);
    let value = wait_completed!(task, progress = "afterwards", timeout = FAR);
    value.unwrap();
    set_draw_target(ProgressDrawTarget::hidden());
}
