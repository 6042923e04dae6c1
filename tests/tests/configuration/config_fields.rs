//! Are directly assigned fields of a configuration validated like the setters?

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use atasker::{
    MpPoolConfig, Overflow, PoolConfig, StopOptions, Supervisor, TaskError, background_task,
};
use atasker_tests::{Gate, Watchdog};

#[background_task(tt = "mp")]
fn variable(key: &str) -> Option<String> {
    std::env::var(key).ok()
}

/// Sets a field directly.
type Change<C> = fn(&mut C);

/// The text of the panic.
#[track_caller]
fn panic_of<T>(f: impl FnOnce() -> T) -> String {
    let panic = catch_unwind(AssertUnwindSafe(|| drop(f()))).expect_err("it panics");
    let text = panic.downcast_ref::<String>().cloned();
    text.unwrap_or_else(|| panic.downcast_ref::<&str>().unwrap().to_string())
}

#[test]
fn refused_thread_pool_field_panics_where_it_is_given() {
    let sup = Supervisor::builder().build();
    let before = sup.thread_pool();
    let changes: [(Change<PoolConfig>, &str); 3] = [
        (|config| config.max_size = Some(0), "would never run a task"),
        (|config| config.min_size = usize::MAX, "`min_size` of a pool is at most"),
        (|config| config.stack_size = Some(usize::MAX), "exceeds the address space"),
    ];
    for (change, text) in changes {
        let mut config = PoolConfig::new(1);
        change(&mut config);
        let by_builder = config.clone();
        let panic = panic_of(|| Supervisor::builder().thread_pool(by_builder));
        assert!(panic.contains(text), "{panic}");
        assert!(panic_of(|| sup.set_thread_pool(config)).contains(text));
    }
    assert_eq!(sup.thread_pool(), before);
    assert_eq!(sup.spawn(|| 1).join().unwrap(), 1);
}

#[test]
fn refused_mp_pool_field_panics_where_it_is_given() {
    let sup = Supervisor::builder().build();
    let before = sup.mp_pool();
    let changes: [(Change<MpPoolConfig>, &str); 4] = [
        (|config| config.min_size = usize::MAX, "`min_size` of a pool is at most"),
        (|config| _ = config.env.insert("A=B".into(), String::new()), "can't be the name of"),
        (|config| _ = config.env.insert(String::new(), String::new()), "can't be the name of"),
        (|config| _ = config.env.insert("A".into(), "\0".into()), "`A` can't hold a NUL"),
    ];
    for (change, text) in changes {
        let mut config = MpPoolConfig::new(1);
        change(&mut config);
        let by_builder = config.clone();
        let panic = panic_of(|| Supervisor::builder().mp_pool(by_builder));
        assert!(panic.contains(text), "{panic}");
        assert!(panic_of(|| sup.set_mp_pool(config)).contains(text));
    }
    assert_eq!(sup.mp_pool(), before);
}

#[test]
fn field_means_what_its_setter_means() {
    let _watchdog = Watchdog::new("fields", Duration::from_secs(120));
    let mut threads = PoolConfig::new(1);
    threads.stack_size = Some(1);
    threads.queue_limit = Some((0, Overflow::Reject));
    let mut processes = MpPoolConfig::new(1);
    processes.max_tasks_per_worker = Some(0);
    processes.memory_limit = Some(0);
    processes.env.insert("ATASKER_TEST_FIELD".into(), "set".into());
    let sup = Supervisor::builder().thread_pool(threads).mp_pool(processes).build();
    assert_eq!(
        sup.thread_pool(),
        PoolConfig::new(1).stack_size(1).queue_limit(0, Overflow::Reject)
    );
    assert_eq!(sup.mp_pool(), MpPoolConfig::new(1).env("ATASKER_TEST_FIELD", "set"));

    for _ in 0..2 {
        let task = variable::builder("ATASKER_TEST_FIELD").supervisor(&sup).start();
        assert_eq!(task.join().unwrap().as_deref(), Some("set"));
    }
    let gate = Gate::new();
    let waits = gate.clone();
    let first = sup.spawn(move || waits.wait());
    assert_eq!(sup.spawn(|| ()).join(), Err(TaskError::QueueFull));
    gate.open();
    first.join().unwrap();

    let mut options = StopOptions::new();
    options.wait = Some(Duration::from_secs(60));
    options.cancel_tasks = true;
    assert_eq!(sup.stop(options).abandoned, 0);
}
