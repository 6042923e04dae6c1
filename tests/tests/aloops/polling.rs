//! Do aloops poll futures exactly when woken, drop them on the right thread, and share their
//! threads fairly among tasks, timers and the runtime's own tasks?

use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use atasker::{Aloop, Supervisor, TaskBuilder, TaskError, current};
use atasker_tests::{FAR, Gate, Watchdog, eventually, pool};

/// Runs `f` with a supervisor that has a loop with one thread, then with one that has three.
fn on_both(test: impl Fn(&Supervisor, &Aloop)) {
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    let _watchdog = Watchdog::new(name, FAR);
    for threads in [1, 3] {
        let sup = pool(2);
        let aloop = sup.create_aloop_multi("polls", threads);
        test(&sup, &aloop);
    }
}

/// Publishes a flag before it wakes: the waker's half of the handshake under test.
#[derive(Default)]
struct Signal {
    set: AtomicUsize,
    waker: Mutex<Option<Waker>>,
    polls: AtomicUsize,
}

impl Signal {
    fn poll(&self, wanted: usize, context: &Context<'_>) -> Poll<()> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        *self.waker.lock().unwrap() = Some(context.waker().clone());
        match self.set.load(Ordering::Acquire) >= wanted {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    fn waker(&self) -> Option<Waker> {
        self.waker.lock().unwrap().clone()
    }

    fn add(&self) {
        self.set.fetch_add(1, Ordering::Release);
        if let Some(waker) = self.waker() {
            waker.wake();
        }
    }
}

fn wait_for(signal: &Arc<Signal>, wanted: usize) -> impl Future<Output = ()> + Send + use<> {
    let signal = Arc::clone(signal);
    poll_fn(move |context| signal.poll(wanted, context))
}

#[test]
fn wake_during_poll_polls_again() {
    on_both(|_, aloop| {
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let mut left = 500;
                aloop.spawn(poll_fn(move |context| {
                    if left == 0 {
                        return Poll::Ready(());
                    }
                    left -= 1;
                    // Several wakes are coalesced.
                    context.waker().wake_by_ref();
                    let waker = context.waker().clone();
                    waker.wake_by_ref();
                    waker.wake();
                    Poll::Pending
                }))
            })
            .collect();
        tasks.into_iter().for_each(|task| task.join().unwrap());
    });
}

#[test]
fn wake_from_another_thread_is_not_lost() {
    on_both(|_, aloop| {
        let (ping, pong) = (Arc::new(Signal::default()), Arc::new(Signal::default()));
        const ROUNDS: usize = 3000;
        let task = {
            let (ping, pong) = (Arc::clone(&ping), Arc::clone(&pong));
            aloop.spawn(async move {
                for round in 1..=ROUNDS {
                    wait_for(&ping, round).await;
                    pong.add();
                }
            })
        };
        // The sender is not a task.
        futures_lite::future::block_on(async {
            for round in 1..=ROUNDS {
                ping.add();
                wait_for(&pong, round).await;
            }
        });
        task.join().unwrap();
    });
}

#[test]
fn concurrent_wakers_lose_no_wake() {
    on_both(|_, aloop| {
        for _ in 0..200 {
            let signal = Arc::new(Signal::default());
            let task = aloop.spawn(wait_for(&signal, 60));
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| (0..20).for_each(|_| signal.add()));
                }
            });
            task.join().unwrap();
        }
    });
}

#[test]
fn unwoken_future_is_not_polled() {
    on_both(|_, aloop| {
        let signal = Arc::new(Signal::default());
        let task = aloop.spawn(wait_for(&signal, 1));
        eventually(|| signal.waker().is_some());
        for _ in 0..100 {
            aloop.run(tokio::task::yield_now());
        }
        assert_eq!(signal.polls.load(Ordering::Relaxed), 1);
        signal.add();
        task.join().unwrap();
        assert_eq!(signal.polls.load(Ordering::Relaxed), 2);
    });
}

#[test]
fn waker_outliving_task_holds_no_future() {
    on_both(|sup, aloop| {
        for end in 0..4 {
            let signal = Arc::new(Signal::default());
            let held = Arc::new(());
            let (inside, waits) = (Arc::clone(&held), wait_for(&signal, 1));
            let task = aloop.spawn(async move {
                let _inside = inside;
                waits.await;
                assert!(end != 1, "deliberate panic");
            });
            eventually(|| signal.waker().is_some());
            let waker = signal.waker().unwrap();
            match end {
                2 => task.kill().unwrap(),
                _ => signal.add(),
            }
            assert_eq!(task.wait().is_ok(), end == 0 || end == 3);
            assert_eq!(Arc::strong_count(&held), 1);
            let polls = signal.polls.load(Ordering::Relaxed);
            waker.wake_by_ref();
            if end == 3 {
                drop(task);
            }
            std::thread::spawn(move || waker.wake()).join().unwrap();
            aloop.run(tokio::task::yield_now());
            assert_eq!(signal.polls.load(Ordering::Relaxed), polls);
        }
        assert_eq!(running(sup), 0);
    });
}

/// The number of tasks that the loop reports as running.
fn running(sup: &Supervisor) -> usize {
    sup.info().aloops.iter().map(|aloop| aloop.running).sum()
}

#[test]
fn kill_races_with_wake() {
    on_both(|sup, aloop| {
        for _ in 0..1000 {
            let signal = Arc::new(Signal::default());
            let held = Arc::new(());
            let (inside, waits) = (Arc::clone(&held), wait_for(&signal, 2));
            let task = aloop.spawn(async move {
                let _inside = inside;
                waits.await;
            });
            let found = task.to_ref();
            std::thread::scope(|scope| {
                scope.spawn(|| (0..2).for_each(|_| signal.add()));
                scope.spawn(|| found.kill().unwrap());
            });
            let outcome = task.join();
            assert!(outcome.is_ok() || outcome.unwrap_err().is_canceled());
            assert_eq!(Arc::strong_count(&held), 1);
        }
        eventually(|| running(sup) == 0);
    });
}

#[test]
fn stale_wake_of_earlier_attempt_is_ignored() {
    on_both(|sup, aloop| {
        for _ in 0..50 {
            let kept = Arc::new(Mutex::new(Vec::<Waker>::new()));
            let over = Arc::new(AtomicBool::new(false));
            let task = {
                let (kept, mut attempt) = (Arc::clone(&kept), 0);
                let make = move || {
                    attempt += 1;
                    let (kept, attempt, mut polls) = (Arc::clone(&kept), attempt, 0);
                    poll_fn(move |context| {
                        kept.lock().unwrap().push(context.waker().clone());
                        polls += 1;
                        match polls {
                            1..20 => {
                                context.waker().wake_by_ref();
                                Poll::Pending
                            }
                            _ if attempt == 5 => Poll::Ready(attempt),
                            _ => panic!("attempt {attempt}"),
                        }
                    })
                };
                let builder = TaskBuilder::__repeatable_future(make).retries(9).supervisor(sup);
                builder.aloop(aloop.name().to_owned()).start()
            };
            std::thread::scope(|scope| {
                let (kept, over) = (Arc::clone(&kept), &over);
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        let wakers = kept.lock().unwrap().clone();
                        wakers.into_iter().for_each(Waker::wake);
                        std::thread::yield_now();
                    }
                });
                assert_eq!(task.join().unwrap(), 5);
                over.store(true, Ordering::Relaxed);
            });
        }
    });
}

/// Reports on which thread, and as which task, it was dropped.
struct Reports(Arc<Mutex<Vec<String>>>);

impl Drop for Reports {
    fn drop(&mut self) {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default();
        let task = current().map(|task| task.name().to_owned()).unwrap_or_default();
        let tokio = tokio::runtime::Handle::try_current().is_ok();
        self.0.lock().unwrap().push(format!("{name} {task} {tokio}"));
    }
}

#[test]
fn future_is_dropped_on_loop_in_task_context() {
    for threads in [1, 3] {
        for end in 0..6 {
            let sup = pool(1);
            let aloop = sup.create_aloop_multi("polls", threads);
            let reported = Arc::new(Mutex::new(Vec::new()));
            let (tells, signal) = (Reports(Arc::clone(&reported)), Arc::new(Signal::default()));
            let waits = wait_for(&signal, 1);
            let mut builder = TaskBuilder::future(async move {
                let _tells = tells;
                waits.await;
                assert!(end != 1, "deliberate panic");
            })
            .name("future")
            .aloop("polls")
            .supervisor(&sup);
            if end == 2 {
                builder = builder.timeout(Duration::from_millis(20));
            }
            let task = builder.start();
            eventually(|| signal.waker().is_some());
            match end {
                0 | 1 => signal.add(),
                2 => {}
                3 => task.kill().unwrap(),
                4 => aloop.stop(),
                _ => drop(sup.stop(atasker::StopOptions::new().wait(Duration::ZERO))),
            }
            let outcome = task.join();
            match end {
                0 => outcome.unwrap(),
                1 => assert!(outcome.unwrap_err().is_panic()),
                2 => assert!(matches!(outcome, Err(TaskError::TimedOut { .. }))),
                3 => assert!(outcome.unwrap_err().is_canceled()),
                _ => assert!(matches!(outcome, Err(TaskError::SupervisorStopped))),
            }
            eventually(|| !reported.lock().unwrap().is_empty());
            let reported = reported.lock().unwrap().clone();
            let [reported] = &reported[..] else { panic!("once: {reported:?}") };
            assert!(reported.starts_with("supervisor_t_aloop_polls"), "{end}: {reported}");
            assert!(reported.ends_with(" future true"), "{end}: {reported}");
        }
    }
}

#[test]
fn busy_task_does_not_starve_others() {
    on_both(|sup, aloop| {
        let stop = Arc::new(AtomicBool::new(false));
        // More tasks than the loop has threads, of several kinds.
        let busy: Vec<_> = (0..8)
            .map(|n| {
                let stop = Arc::clone(&stop);
                aloop.spawn(async move {
                    let (sends, mut gets) = tokio::sync::mpsc::unbounded_channel();
                    while !stop.load(Ordering::Relaxed) {
                        match n % 4 {
                            // Always ready; returns `Pending` only when tokio's budget is
                            // exhausted.
                            0 => {
                                sends.send(()).unwrap();
                                gets.recv().await.unwrap();
                            }
                            1 => tokio::task::yield_now().await,
                            _ => {
                                let mut polled = false;
                                poll_fn(|context| {
                                    if std::mem::replace(&mut polled, true) {
                                        return Poll::Ready(());
                                    }
                                    context.waker().wake_by_ref();
                                    Poll::Pending
                                })
                                .await;
                            }
                        }
                    }
                })
            })
            .collect();
        for _ in 0..5 {
            aloop
                .spawn(async { tokio::time::sleep(Duration::from_millis(2)).await })
                .join()
                .unwrap();
            aloop.run(async { tokio::spawn(async {}).await.unwrap() });
            aloop.handle().spawn(async {});
            let inner = aloop.clone();
            let task = aloop.spawn(async move { inner.spawn(async { 7 }).await.unwrap() });
            assert_eq!(task.join().unwrap(), 7);
            // The same for a socket.
            aloop.run(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let to = listener.local_addr().unwrap();
                let (out, back) =
                    tokio::join!(tokio::net::TcpStream::connect(to), listener.accept());
                out.unwrap().set_nodelay(true).unwrap();
                drop(back.unwrap());
            });
        }
        assert!(running(sup) >= 8);
        stop.store(true, Ordering::Relaxed);
        busy.into_iter().for_each(|task| task.join().unwrap());
    });
}

#[test]
fn busy_tokio_task_does_not_starve_tasks() {
    on_both(|_, aloop| {
        let stop = Arc::new(AtomicBool::new(false));
        let stops = Arc::clone(&stop);
        let busy = aloop.handle().spawn(async move {
            while !stops.load(Ordering::Relaxed) {
                tokio::task::yield_now().await;
            }
        });
        for n in 0..200 {
            assert_eq!(aloop.spawn(async move { n }).join().unwrap(), n);
        }
        stop.store(true, Ordering::Relaxed);
        futures_lite::future::block_on(busy).unwrap();
    });
}

#[test]
fn blocked_thread_does_not_stall_loop() {
    let sup = pool(1);
    let aloop = sup.create_aloop_multi("polls", 3);
    let _watchdog = Watchdog::new("blocked_thread_does_not_stall_loop", FAR);
    let (gate, begun) = (Gate::new(), Arc::new(Barrier::new(3)));
    let blocked: Vec<_> = (0..2)
        .map(|_| {
            let (gate, begun) = (gate.clone(), Arc::clone(&begun));
            aloop.spawn(async move {
                begun.wait();
                gate.wait();
            })
        })
        .collect();
    begun.wait();
    for n in 0..1000 {
        assert_eq!(aloop.spawn(async move { n }).join().unwrap(), n);
    }
    gate.open();
    blocked.into_iter().for_each(|task| task.join().unwrap());
}

#[test]
fn block_in_place_hands_thread_over() {
    let sup = pool(1);
    let aloop = sup.create_aloop_multi("polls", 2);
    let _watchdog = Watchdog::new("block_in_place_hands_thread_over", FAR);
    for _ in 0..20 {
        // Each handover waits for the next one, nested on one stack.
        fn nested(aloop: Aloop, depth: u32) -> u32 {
            if depth == 0 {
                return 0;
            }
            tokio::task::block_in_place(|| {
                let inner = aloop.clone();
                let task = aloop.spawn(async move { nested(inner, depth - 1) });
                futures_lite::future::block_on(task).unwrap() + 1
            })
        }
        let outer = aloop.clone();
        assert_eq!(aloop.spawn(async move { nested(outer, 12) }).join().unwrap(), 12);
    }
    eventually(|| running(&sup) == 0);
}

#[test]
fn tasks_launch_tasks_on_loop() {
    on_both(|sup, aloop| {
        fn tree(aloop: Aloop, depth: u32) -> impl Future<Output = u32> + Send {
            let mut below: Vec<_> = Vec::new();
            if depth > 0 {
                below.extend((0..3).map(|_| {
                    let inner = aloop.clone();
                    let boxed: std::pin::Pin<Box<dyn Future<Output = u32> + Send>> =
                        Box::pin(tree(inner, depth - 1));
                    aloop.spawn(boxed)
                }));
            }
            async move {
                let mut sum = 1;
                for task in below {
                    sum += task.await.unwrap();
                }
                sum
            }
        }
        for _ in 0..10 {
            assert_eq!(aloop.run(tree(aloop.clone(), 6)), (3_u32.pow(7) - 1) / 2);
        }
        assert_eq!(running(sup), 0);
    });
}

#[test]
fn run_has_no_task_context() {
    on_both(|sup, aloop| {
        assert!(aloop.run(async { current().is_none() }));
        assert_eq!(aloop.run(async { tokio::time::sleep(Duration::from_millis(1)).await }), ());
        let held = Arc::new(());
        let inside = Arc::clone(&held);
        let begun = Gate::new();
        std::thread::scope(|scope| {
            let (aloop, begins) = (aloop.clone(), begun.clone());
            let run = scope.spawn(move || {
                aloop.run(async move {
                    let _inside = inside;
                    begins.open();
                    pending::<()>().await;
                })
            });
            begun.wait();
            assert_eq!((sup.info().tasks, running(sup)), (0, 1));
            sup.aloop("polls").unwrap().stop();
            let payload = run.join().unwrap_err();
            assert!(payload.downcast_ref::<String>().unwrap().contains("is stopped"));
        });
        assert_eq!(Arc::strong_count(&held), 1);
    });
}

#[test]
fn run_propagates_panic_payload() {
    #[derive(Debug, PartialEq)]
    struct Odd(u32);
    on_both(|_, aloop| {
        let aloop = aloop.clone();
        let run = std::thread::spawn(move || {
            aloop.run(async {
                tokio::task::yield_now().await;
                std::panic::panic_any(Odd(7));
            })
        });
        assert_eq!(*run.join().unwrap_err().downcast::<Odd>().unwrap(), Odd(7));
    });
}

#[test]
fn futures_of_all_sizes_are_not_moved() {
    fn holds<const SIZE: usize>(aloop: &Aloop) {
        let task = aloop.spawn(async {
            let mut bytes = [0_u8; SIZE];
            // Holds a reference into the future itself across an await.
            let inside = &mut bytes;
            for round in 0..10_u8 {
                tokio::task::yield_now().await;
                inside.fill(round);
            }
            let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
            sum
        });
        assert_eq!(task.join().unwrap(), 9 * SIZE as u32);
    }
    on_both(|_, aloop| {
        holds::<0>(aloop);
        holds::<1>(aloop);
        holds::<100>(aloop);
        holds::<10_000>(aloop);
        holds::<50_000>(aloop);
    });
}

#[test]
fn stop_races_with_spawn_wake_and_run() {
    let _watchdog = Watchdog::new("stop_races_with_spawn_wake_and_run", FAR);
    for round in 0..60 {
        let sup = pool(1);
        let aloop = sup.create_aloop_multi("polls", 1 + round % 3);
        let held = Arc::new(());
        let gone = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for n in 0..200 {
                        let (signal, inside) = (Arc::new(Signal::default()), Arc::clone(&held));
                        let waits = wait_for(&signal, 1);
                        let task = aloop.spawn(async move {
                            let _inside = inside;
                            waits.await;
                        });
                        signal.add();
                        match n % 2 {
                            0 => drop(task),
                            _ => match task.join() {
                                Ok(()) => {}
                                Err(TaskError::SupervisorStopped) => {
                                    gone.fetch_add(1, Ordering::Relaxed);
                                }
                                Err(other) => panic!("{other}"),
                            },
                        }
                    }
                });
            }
            scope.spawn(|| {
                std::thread::sleep(Duration::from_micros(round as u64 * 50));
                aloop.stop();
            });
        });
        eventually(|| Arc::strong_count(&held) == 1 && sup.info().tasks == 0);
    }
}

/// The number of voluntary context switches of this program's threads with that name.
fn switches(name: &str) -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let mut all: Vec<_> = tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("status")).ok())
        // The kernel truncates names to 15 bytes.
        .filter(|status| status.lines().next().is_some_and(|line| line.ends_with(name)))
        .map(|status| {
            let lines = status.lines();
            lines.filter(|line| line.contains("Pid:") || line.contains("switches")).collect()
        })
        .collect();
    all.sort();
    all
}

#[test]
fn idle_loop_sleeps() {
    for threads in [1, 3] {
        let sup = Supervisor::builder().id(format!("idle{threads}")).build();
        let aloop = sup.create_aloop_multi("polls", threads);
        let tasks: Vec<_> = (0..100).map(|n| aloop.spawn(async move { n })).collect();
        tasks.into_iter().for_each(|task| assert!(task.join().is_ok()));
        // A pending task is no reason to run.
        let waits = aloop.spawn(pending::<()>());
        let name = format!("supervisor_idle{threads}_a")[..15].to_owned();
        assert!(!switches(&name).is_empty());
        eventually(|| {
            let before = switches(&name);
            std::thread::sleep(Duration::from_millis(200));
            before == switches(&name)
        });
        waits.kill().unwrap();
    }
}

#[test]
fn waker_is_same_across_polls() {
    on_both(|_, aloop| {
        aloop
            .spawn(async {
                let first = poll_fn(|context| Poll::Ready(context.waker().clone())).await;
                let mut yields = pin!(tokio::task::yield_now());
                poll_fn(|context| {
                    assert!(first.will_wake(context.waker()));
                    yields.as_mut().poll(context)
                })
                .await;
            })
            .join()
            .unwrap();
    });
}

/// Holds the waker of the future that polled it, like the receiver of a channel.
struct KeepsWaker(std::sync::Mutex<Option<std::task::Waker>>, std::sync::mpsc::Sender<()>);

impl Drop for KeepsWaker {
    fn drop(&mut self) {
        self.1.send(()).unwrap();
    }
}

#[test]
fn unclaimed_result_holding_own_waker_is_dropped() {
    let sup = atasker::Supervisor::builder().id("unwanted").build();
    let (dropped, drops) = std::sync::mpsc::channel();
    let launch = |hold: bool| {
        let keeper = KeepsWaker(std::sync::Mutex::default(), dropped.clone());
        let task = sup.spawn_async(async move {
            std::future::poll_fn(|context| {
                *keeper.0.lock().unwrap() = Some(context.waker().clone());
                std::task::Poll::Ready(())
            })
            .await;
            keeper
        });
        if hold {
            // The result is dropped after the task has ended.
            task.wait().unwrap();
        }
        drop(task);
    };
    for n in 0..100 {
        launch(n % 2 == 0);
        drops.recv_timeout(std::time::Duration::from_secs(60)).expect("the result is dropped");
    }
}
