//! Do child programs of tasks, or of the parent while worker processes start and end, inherit any
//! descriptor of the library?

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use atasker::{Supervisor, WorkerStdio, background_task};
use atasker_tests::mp::pool_of;
use atasker_tests::processes::{open_descriptors, rerun};
use atasker_tests::{FAR, Watchdog};

/// Stands in for another program: prints the descriptors that it inherited.
#[test]
#[ignore = "run by other tests in a separate process"]
fn other_program() {
    println!();
    for (number, target) in open_descriptors() {
        println!("has {number} {target}");
    }
}

/// The descriptors that a program started now inherits, except for the standard streams.
fn inherited() -> Vec<String> {
    let child = rerun("other_program").stdin(Stdio::null()).output().unwrap();
    assert!(child.status.success());
    let text = String::from_utf8(child.stdout).unwrap();
    let has = text.lines().filter_map(|line| line.strip_prefix("has "));
    let own = ["0 ", "1 ", "2 "];
    let rest: Vec<_> =
        has.clone().filter(|line| !own.iter().any(|own| line.starts_with(own))).collect();
    assert_eq!(has.count(), rest.len() + 3);
    rest.into_iter().map(str::to_owned).collect()
}

#[background_task(tt = "mp")]
fn inherited_there() -> Vec<String> {
    inherited()
}

#[background_task(tt = "mp")]
fn crash() {
    std::process::abort();
}

#[test]
fn child_programs_inherit_no_descriptor() {
    let _watchdog = Watchdog::new("child_programs_inherit_no_descriptor", 5 * FAR);
    // Descriptors inherited from this test's own parent do not count.
    let before = inherited();
    for stdio in [WorkerStdio::Inherit, WorkerStdio::Log, WorkerStdio::Null] {
        let sup = Supervisor::builder().mp_pool(pool_of(3).stdio(stdio)).build();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let crashes: Vec<_> =
                        (0..6).map(|_| crash::builder().supervisor(&sup).start()).collect();
                    for task in crashes {
                        assert!(task.join().unwrap_err().is_worker_died());
                    }
                }
            });
            let here: Vec<_> = (0..2)
                .map(|_| scope.spawn(|| (0..40).map(|_| inherited()).collect::<Vec<_>>()))
                .collect();
            for _ in 0..40 {
                let there = inherited_there::builder().supervisor(&sup).start().join().unwrap();
                assert_eq!(there, before);
            }
            for thread in here {
                assert!(thread.join().unwrap().iter().all(|here| *here == before));
            }
            over.store(true, Ordering::Relaxed);
        });
        assert!(sup.info().mp_pool.unwrap().restarts > 0);
    }
}
