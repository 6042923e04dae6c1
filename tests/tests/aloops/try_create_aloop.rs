//! Does `try_create_aloop` return the same aloops as `create_aloop`? (`forks` and
//! `exhausted::descriptors` test its errors.)

use atasker::{StopOptions, Supervisor, TaskError};

fn thread(aloop: &atasker::Aloop) -> String {
    aloop.run(async { std::thread::current().name().unwrap().to_owned() })
}

#[test]
fn new_name_creates_an_aloop() {
    let sup = Supervisor::builder().id("t").build();
    let jobs = sup.try_create_aloop("jobs").unwrap();
    assert_eq!(jobs.name(), "jobs");
    assert_eq!(thread(&jobs), "supervisor_t_aloop_jobs");
    assert_eq!(sup.info().aloops.len(), 1);
    assert_eq!(jobs.spawn(async { 42 }).join().unwrap(), 42);
}

#[test]
fn name_in_use_gives_that_aloop() {
    let sup = Supervisor::builder().build();
    let id = |aloop: atasker::Aloop| aloop.run(async { std::thread::current().id() });
    let first = id(sup.create_aloop("jobs"));
    assert_eq!(id(sup.try_create_aloop("jobs").unwrap()), first);
    // A stopped aloop is replaced.
    sup.try_create_aloop("jobs").unwrap().stop();
    assert_ne!(id(sup.try_create_aloop("jobs").unwrap()), first);
}

#[test]
fn any_name_is_allowed() {
    let sup = Supervisor::builder().build();
    let long = "x".repeat(10_000);
    for name in ["", "a\0b", " ", "ä/🦀", &long] {
        let aloop = sup.try_create_aloop(name).unwrap();
        assert_eq!(aloop.name(), name);
        assert_eq!(aloop.run(async { 1 }), 1);
    }
}

#[test]
fn stopped_supervisor_creates_an_aloop_that_takes_tasks_once_started() {
    let sup = Supervisor::builder().build();
    sup.start();
    sup.stop(StopOptions::new());
    let jobs = sup.try_create_aloop("jobs").unwrap();
    assert_eq!(jobs.spawn(async {}).join(), Err(TaskError::SupervisorStopped));
    assert!(sup.start());
    assert_eq!(jobs.spawn(async { 1 }).join(), Ok(1));
}
