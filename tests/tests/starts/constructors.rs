//! Does a program work whose static constructors launch tasks and start threads before atasker's
//! hook has run?

use std::process::{Command, Stdio};

use atasker_tests::{FAR, Watchdog};

fn output(sockets: bool) -> (String, String) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_startup"));
    program.arg("early").env("ATASKER_TEST_EARLY", "1").stdin(Stdio::null());
    if sockets {
        program.env("ATASKER_WORKERS", "sockets");
    }
    let output = program.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn constructor_tasks_run_and_later_tasks_have_workers() {
    let _watchdog = Watchdog::new("early constructors", FAR);
    for sockets in [false, true] {
        let (out, errors) = output(sockets);
        assert_eq!(errors, "", "{out}");
        let [thread, mp, sum, worker] = out.lines().collect::<Vec<_>>()[..] else {
            panic!("{out}")
        };
        assert_eq!(thread, "thread Ok(42)");
        let why = "a static constructor has launched it before `main`";
        assert!(mp.starts_with("mp Err(NotStarted") && mp.contains(why), "{mp}");
        assert_eq!(sum, "sum 3, elsewhere: true");
        // The constructor and its threads also run in worker processes: they find the same
        // environment.
        assert!(
            worker.starts_with("in a worker: Ok(Some((42, ") && worker.contains(why),
            "{worker}"
        );
        assert!(worker.ends_with(", true)))"), "{worker}");
    }
}
