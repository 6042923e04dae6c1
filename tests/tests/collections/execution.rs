//! Do collections run their functions in the documented order, also under concurrent execution?

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use atasker::{
    CollectionReport, FunctionCollection, PoolConfig, Priority, StopOptions, Supervisor,
    TaskCollection, TaskError, current,
};
use atasker_tests::{FAR, Gate, Watchdog, pool};

use Priority::{Critical, High, Low, Normal};

fn names<T>(report: &CollectionReport<T>) -> Vec<&str> {
    report.results.iter().map(|(name, _)| name.as_str()).collect()
}

fn refused<T>(result: &Result<T, TaskError>) -> bool {
    match result {
        Err(TaskError::NotStarted { detail, .. }) => detail.contains("would wait for itself"),
        _ => false,
    }
}

#[test]
fn functions_run_by_priority_then_insertion_order() {
    let functions = FunctionCollection::new();
    let order = Arc::new(Mutex::new(Vec::new()));
    let add = |name: &'static str, priority: atasker::CollectionPriority| {
        let order = Arc::clone(&order);
        functions.add(name, priority, move || order.lock().unwrap().push(name));
    };
    add("low", Low.into());
    add("normal", Normal.into());
    add("100", 100_u8.into());
    add("99", 99_i64.into());
    add("critical", Critical.into());
    add("-1", (-1).into());
    add("0", 0_usize.into());
    add("high", High.into());
    add("last", u128::MAX.into());
    let wanted = ["-1", "critical", "0", "high", "99", "normal", "100", "low", "last"];
    assert_eq!(functions.names(), wanted);
    let report = functions.execute();
    assert!(report.all_ok);
    assert_eq!(names(&report), wanted);
    assert_eq!(*order.lock().unwrap(), wanted);
}

#[test]
fn panicking_function_does_not_stop_others() {
    let functions = FunctionCollection::new();
    functions.add("a", 1, || 1);
    functions.add("b", 2, || panic!("deliberate panic"));
    functions.add("c", 3, || 3);
    let reported = Arc::new(Mutex::new(Vec::new()));
    let (sender, here) = (Arc::clone(&reported), thread::current().id());
    functions.on_error(move |name, error| {
        assert_eq!(thread::current().id(), here);
        sender.lock().unwrap().push((name.to_owned(), error.clone()));
        panic!("expected panic");
    });
    let report = functions.execute();
    assert!(!report.all_ok);
    assert_eq!(names(&report), ["a", "b", "c"]);
    assert_eq!((report.get("a"), report.get("c")), (Some(&Ok(1)), Some(&Ok(3))));
    assert_eq!(report.get("d"), None);
    match report.get("b") {
        Some(Err(TaskError::Panicked { message, location, .. })) => {
            assert_eq!(message, "deliberate panic");
            assert!(location.as_ref().unwrap().contains("execution.rs"));
        }
        other => panic!("{other:?}"),
    }
    let errors: Vec<_> =
        report.errors().map(|(name, error)| (name.to_owned(), error.clone())).collect();
    assert_eq!(errors.len(), 1);
    assert_eq!(*reported.lock().unwrap(), errors);
}

#[test]
fn returned_err_is_a_result() {
    let functions = FunctionCollection::<Result<u32, String>>::new();
    functions.add("fine", 1, || Ok(1));
    assert!(functions.execute().none_failed());
    functions.add("not", 2, || Err("no".into()));
    functions.on_error(|name, _| panic!("called for {name}"));
    let report = functions.execute();
    assert!(report.all_ok && !report.none_failed());
    assert_eq!(report.get("not"), Some(&Ok(Err("no".into()))));
}

#[test]
fn reused_name_replaces_function() {
    let functions = FunctionCollection::new();
    functions.add("a", 1, || 1);
    functions.add("b", 1, || 2);
    functions.add("a", 1, || 3);
    assert_eq!(functions.execute().results, [("b".into(), Ok(2)), ("a".into(), Ok(3))]);
    assert!(functions.remove("b"));
    assert!(!functions.remove("b"));
    assert_eq!(functions.names(), ["a"]);
    assert!(functions.remove("a"));
    let report = functions.execute();
    assert!(report.all_ok && report.results.is_empty());
}

#[test]
fn functions_keep_state_between_executions() {
    let (functions, tasks) = (FunctionCollection::new(), TaskCollection::new());
    let count = || {
        let mut calls = 0;
        move || {
            calls += 1;
            calls
        }
    };
    functions.add("count", Normal, count());
    tasks.add("count", Normal, count());
    for calls in 1..4 {
        assert_eq!(functions.execute().results[0].1, Ok(calls));
        assert_eq!(tasks.execute().results[0].1, Ok(calls));
    }
}

#[test]
fn change_during_execution_applies_to_next() {
    static FUNCTIONS: FunctionCollection<u32> = FunctionCollection::new();
    FUNCTIONS.add("first", 1, || {
        assert!(FUNCTIONS.remove("second"));
        assert!(FUNCTIONS.remove("first"));
        FUNCTIONS.add("third", 3, || 3);
        1
    });
    FUNCTIONS.add("second", 2, || 2);
    assert_eq!(FUNCTIONS.execute().results, [("first".into(), Ok(1)), ("second".into(), Ok(2))]);
    assert_eq!(FUNCTIONS.execute().results, [("third".into(), Ok(3))]);
}

#[test]
fn function_may_be_removed_during_listing() {
    static FUNCTIONS: FunctionCollection<()> = FunctionCollection::new();
    struct Looks;
    impl Drop for Looks {
        fn drop(&mut self) {
            FUNCTIONS.add("added in destructor", 1, || ());
        }
    }
    let _dog = Watchdog::new("function_may_be_removed_during_listing", FAR);
    let add = || {
        let looks = Looks;
        FUNCTIONS.add("looks", 2, move || {
            let _ = &looks;
        });
    };
    add();
    add();
    assert_eq!(FUNCTIONS.names(), ["added in destructor", "looks"]);
    assert!(FUNCTIONS.remove("looks"));
    assert_eq!(FUNCTIONS.names(), ["added in destructor"]);
}

#[test]
fn function_executes_own_collection() {
    static FUNCTIONS: FunctionCollection<u32> = FunctionCollection::new();
    let _dog = Watchdog::new("function_executes_own_collection", FAR);
    FUNCTIONS.on_error(|_, _| ());
    FUNCTIONS.add("plain", 1, || 1);
    FUNCTIONS.add("nested", 2, || {
        let report = FUNCTIONS.execute();
        assert_eq!(report.get("plain"), Some(&Ok(1)));
        assert!(refused(report.get("nested").unwrap()));
        assert_eq!(report.get("after"), Some(&Ok(3)));
        2
    });
    FUNCTIONS.add("after", 3, || 3);
    let report = FUNCTIONS.execute();
    let values: Vec<u32> = report.results.into_iter().map(|(_, result)| result.unwrap()).collect();
    assert_eq!(values, [1, 2, 3]);
}

#[test]
fn two_collections_execute_each_other() {
    static A: FunctionCollection<()> = FunctionCollection::new();
    static B: FunctionCollection<()> = FunctionCollection::new();
    static REFUSED: AtomicU32 = AtomicU32::new(0);
    let _dog = Watchdog::new("two_collections_execute_each_other", FAR);
    let both_run = Arc::new(Barrier::new(2));
    for (this, other) in [(&A, &B), (&B, &A)] {
        let (both_run, mut first) = (Arc::clone(&both_run), true);
        this.on_error(|_, _| ());
        this.add("executes the other", Normal, move || {
            if std::mem::take(&mut first) {
                both_run.wait();
            }
            let report = other.execute();
            if refused(&report.results[0].1) {
                REFUSED.fetch_add(1, Ordering::Relaxed);
            } else {
                assert!(report.all_ok);
            }
        });
    }
    thread::scope(|scope| {
        for one in [&A, &B] {
            scope.spawn(|| assert!(one.execute().all_ok));
        }
    });
    // Refused: the wait of the thread that would have closed the cycle and, once the other thread's
    // wait has ended, the nested one.
    assert_eq!(REFUSED.load(Ordering::Relaxed), 2);
}

#[test]
fn concurrent_executions_serialize_functions() {
    const THREADS: u32 = 4;
    const ROUNDS: u32 = 50;
    let functions = FunctionCollection::new();
    let tasks = TaskCollection::new().supervisor(&pool(3));
    let runs = Arc::new(AtomicU32::new(0));
    for n in 0..3 {
        let add = |f: &mut dyn FnMut(String, Box<dyn FnMut() -> u32 + Send>)| {
            let (runs, busy) = (Arc::clone(&runs), AtomicBool::new(false));
            let run = move || {
                assert!(!busy.swap(true, Ordering::Relaxed), "two runs overlap");
                thread::yield_now();
                busy.store(false, Ordering::Relaxed);
                runs.fetch_add(1, Ordering::Relaxed);
                n
            };
            f(n.to_string(), Box::new(run));
        };
        add(&mut |name, run| functions.add(name, n, run));
        add(&mut |name, run| tasks.add(name, n, run));
    }
    let _dog = Watchdog::new("concurrent_executions_serialize_functions", FAR);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    for report in [functions.execute(), tasks.execute()] {
                        assert!(report.all_ok, "{report:?}");
                        assert_eq!(names(&report), ["0", "1", "2"]);
                    }
                }
            });
        }
    });
    assert_eq!(runs.load(Ordering::Relaxed), 2 * 3 * THREADS * ROUNDS);
}

#[test]
fn waiting_execution_continues_when_function_returns() {
    static FUNCTIONS: FunctionCollection<u32> = FunctionCollection::new();
    let (begun, gate) = (Gate::new(), Gate::new());
    let (begins, waits, mut calls) = (begun.clone(), gate.clone(), 0);
    FUNCTIONS.add("held", 1, move || {
        begins.open();
        waits.wait();
        calls += 1;
        calls
    });
    let sup = pool(1);
    let first = thread::spawn(|| FUNCTIONS.execute());
    begun.wait();
    // A pool thread that waits for its permit releases its slot.
    let second = sup.spawn(|| FUNCTIONS.execute());
    assert_eq!(sup.spawn(|| 5).join().unwrap(), 5);
    gate.open();
    assert_eq!(first.join().unwrap().results[0].1, Ok(1));
    assert_eq!(second.join().unwrap().results[0].1, Ok(2));
}

#[test]
fn tasks_have_name_and_priority() {
    let sup = pool(1);
    let tasks = Arc::new(TaskCollection::new().supervisor(&sup));
    for (name, number) in [("d", 199), ("a", 3), ("c", 120), ("b", 60)] {
        let sup = sup.clone();
        tasks.add(name, number, move || {
            let task = sup.tasks().into_iter().find(|task| task.id == current().unwrap().id());
            let task = task.unwrap();
            (task.name, task.priority)
        });
    }
    let report = {
        let tasks = Arc::clone(&tasks);
        let _dog = Watchdog::new("executing within a task", FAR);
        sup.spawn(move || tasks.execute()).join().unwrap()
    };
    let wanted = [("a", Critical), ("b", High), ("c", Normal), ("d", Low)];
    let wanted = wanted.map(|(name, priority)| (name.into(), Ok((name.into(), priority))));
    assert_eq!(report.results, wanted);
}

#[test]
fn tasks_start_in_priority_order() {
    let sup = pool(1);
    let tasks = TaskCollection::new().supervisor(&sup);
    let order = Arc::new(Mutex::new(Vec::new()));
    // All functions have the same priority class.
    for number in [149, 90, 100, 80] {
        let order = Arc::clone(&order);
        tasks.add(number.to_string(), number, move || order.lock().unwrap().push(number));
    }
    assert!(tasks.execute().all_ok);
    assert_eq!(*order.lock().unwrap(), [80, 90, 100, 149]);
}

#[test]
fn tasks_run_concurrently() {
    let sup = pool(2);
    let tasks = TaskCollection::new().supervisor(&sup);
    let both = Arc::new(Barrier::new(2));
    let _dog = Watchdog::new("tasks_run_concurrently", FAR);
    for name in ["one", "other"] {
        let both = Arc::clone(&both);
        tasks.add(name, Normal, move || both.wait().is_leader());
    }
    let report = tasks.execute();
    assert_eq!(report.results.iter().filter(|(_, leads)| *leads == Ok(true)).count(), 1);
}

#[test]
fn task_executes_own_collection() {
    static TASKS: TaskCollection<u32> = TaskCollection::new();
    TASKS.set_supervisor(&pool(1));
    let _dog = Watchdog::new("executing within its own task", FAR);
    TASKS.on_error(|_, _| ());
    TASKS.add("nested", 100, || {
        let report = TASKS.execute();
        assert!(refused(report.get("nested").unwrap()));
        *report.get("other").unwrap().as_ref().unwrap()
    });
    TASKS.add("other", 101, || 2);
    let report = TASKS.execute();
    assert_eq!(report.results, [("nested".into(), Ok(2)), ("other".into(), Ok(2))]);
}

#[test]
fn failing_tasks_are_reported() {
    let sup = pool(1);
    let tasks = TaskCollection::new().supervisor(&sup);
    tasks.add("a", 100, || panic!("deliberate panic"));
    tasks.add("b", 101, || 2);
    let reported = Arc::new(Mutex::new(Vec::new()));
    let sender = Arc::clone(&reported);
    tasks
        .on_error(move |name, error| sender.lock().unwrap().push((name.to_owned(), error.clone())));
    let report = tasks.execute();
    assert!(!report.all_ok);
    assert!(
        report.get("a").unwrap().as_ref().unwrap_err().to_string().contains("deliberate panic")
    );
    assert_eq!(report.get("b"), Some(&Ok(2)));
    assert_eq!(reported.lock().unwrap().len(), 1);

    sup.stop(StopOptions::new());
    let stopped = || Err(TaskError::SupervisorStopped);
    assert_eq!(tasks.execute().results, [("a".into(), stopped()), ("b".into(), stopped())]);
    assert_eq!(reported.lock().unwrap().len(), 3);
    assert_eq!(reported.lock().unwrap()[2], ("b".into(), TaskError::SupervisorStopped));
}

#[test]
fn execute_async_runs_on_loop() {
    static TASKS: TaskCollection<u32> = TaskCollection::new();
    TASKS.set_supervisor(&pool(1));
    TASKS.add("one", 1, || 1);
    let report = futures_lite::future::block_on(TASKS.execute_async());
    assert_eq!(report.results, [("one".into(), Ok(1))]);
    let sup = Supervisor::builder().thread_pool(PoolConfig::new(1)).build();
    let aloop = sup.create_aloop("main");
    assert!(aloop.run(async { TASKS.execute_async().await.all_ok }));
    // The blocking variant panics with advice.
    let gate = Gate::new();
    let waits = gate.clone();
    TASKS.add("held", 2, move || {
        waits.wait();
        2
    });
    let error = aloop.spawn(async { TASKS.execute().all_ok }).join().unwrap_err();
    gate.open();
    assert!(error.to_string().contains("use `.await` instead"), "{error}");
}

#[test]
fn debug_lists_functions() {
    let functions = FunctionCollection::new();
    functions.add("a", High, || ());
    functions.add("b", 70, || ());
    assert_eq!(format!("{functions:?}"), r#"FunctionCollection({"a": 50, "b": 70})"#);
    assert_eq!(format!("{:?}", TaskCollection::<u8>::default()), "TaskCollection({})");
}
