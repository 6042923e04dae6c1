//! Random histories, with failures of every kind.
//!
//! Each history is decided by its seed. `ATASKER_HISTORIES=5000` runs more of them, and
//! `ATASKER_SEED=17` a certain one.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::model::{Launched, check_call, check_records};
use super::runner::{Deed, Ends, Plan};
use super::world::{Living, Told, World, call, head, offer, simulate};
use crate::cluster::door::{Killed, UniqueKey};
use crate::cluster::memory::MemoryOptions;
use crate::id::TaskId;
use crate::priority::Priority;

/// Failures happen for this long.
const TROUBLE: Duration = Duration::from_secs(40);

/// Everything has ended this long after that.
const PATIENCE: Duration = Duration::from_secs(400);

#[test]
fn every_call_has_exactly_one_outcome() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let seeds = match number("ATASKER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ATASKER_HISTORIES").unwrap_or(150),
    };
    for seed in seeds {
        let result = std::panic::catch_unwind(|| simulate(history(seed)));
        if let Err(panic) = result {
            eprintln!("this was the history with ATASKER_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

struct Nodes {
    living: Vec<(String, Living)>,
    made: usize,
}

struct History {
    random: fastrand::Rng,
    world: World,
    launchers: Vec<Option<Living>>,
    nodes: Nodes,
    calls: Vec<Launched>,
}

async fn history(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut options = MemoryOptions::default();
    options.limits.lost_after = Duration::from_millis(random.u64(2_000..8_000));
    options.limits.redeliver_after =
        (options.limits.lost_after / 2).min(Duration::from_millis(1_500));
    options.limits.large_after = 64;
    let mut world = World::with(seed, options);
    let launchers = (0..random.usize(1..=2))
        .map(|number| Some(world.member(&format!("launcher {number}"))))
        .collect();
    let nodes = Nodes { living: Vec::new(), made: 0 };
    let mut history = History { random, world, launchers, nodes, calls: Vec::new() };
    for _ in 0..history.random.usize(1..=3) {
        history.new_node().await;
    }
    let begun = Instant::now();
    let calls = history.random.usize(3..=25);
    while begun.elapsed() < TROUBLE {
        if history.calls.len() < calls {
            history.launch();
        }
        history.fail().await;
        history.interfere().await;
        let pause = history.random.u64(0..3_000);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    history.world.faults.end();
    history.new_node().await;
    history.check().await;
}

impl History {
    async fn new_node(&mut self) {
        let name = format!("node {}", self.nodes.made);
        self.nodes.made += 1;
        let slots = self.random.usize(1..=3);
        let member = self.world.member(&name);
        let mut runner = self.world.runner(&name, slots);
        if self.random.u8(..8) == 0 {
            runner = runner.on_threads();
        }
        let mut offer = offer(&name, slots, &["default", "gpu"]);
        if self.random.bool() {
            offer.prefetch = Some(self.random.usize(0..3));
        }
        // It may not be able to serve before the failures end.
        drop(member.session.serve(offer, Arc::new(runner)));
        self.nodes.living.push((name, member));
    }

    fn launch(&mut self) {
        let number = self.calls.len() as u64 + 1;
        let launcher = self.random.usize(..self.launchers.len());
        let Some(member) = &self.launchers[launcher] else { return };
        let random = &mut self.random;
        let mut head = head(TaskId::from_parts(launcher as u64 + 1, number));
        head.retries = random.u32(0..=2);
        head.redeliver = random.u32(0..=2);
        head.priority = Priority::ALL[random.usize(..4)];
        head.has_channels = random.bool();
        head.queue = (*random.choice(["default", "gpu"]).unwrap()).to_owned();
        if random.u8(..6) == 0 {
            head.expires = Some(Duration::from_millis(random.u64(100..20_000)));
        }
        if random.u8(..5) == 0 {
            let keep = Duration::from_secs(random.u64(0..3));
            head.unique = Some(UniqueKey { hash: [random.u8(..2); 16], keep });
        }
        let has_channels = head.has_channels;
        let mut deed = || Deed {
            takes: Duration::from_millis(match random.u8(..3) {
                0 => random.u64(0..5),
                1 => random.u64(0..1_000),
                _ => random.u64(0..12_000),
            }),
            sends: if has_channels { random.u8(0..5) } else { 0 },
            receives: 0,
            ends: *random.choice(&[Ends::Ok, Ends::Ok, Ends::Ok, Ends::Err, Ends::Panic]).unwrap(),
        };
        let mut plan = Plan((0..4).map(|_| deed()).collect());
        let receives = if has_channels { self.random.u8(0..4) } else { 0 };
        // The last attempt that may follow has to take them all.
        for deed in &mut plan.0 {
            deed.receives = if self.random.bool() { receives } else { 0 };
        }
        let told = Told::new();
        member.session.submit(call(head.clone(), &plan), told.clone());
        for message in 0..receives {
            member.session.message(head.id, vec![message].into());
        }
        self.calls.push(Launched {
            head,
            plan,
            launcher,
            told,
            attached: Vec::new(),
            canceled: Vec::new(),
            was_stopped: false,
        });
    }

    /// Lets something fail, or ends that.
    async fn fail(&mut self) {
        let faults = self.world.faults.clone();
        match self.random.u8(..24) {
            0..=2 => faults.lose(self.random.f64() * 0.4),
            3 | 4 => faults.repeat(self.random.f64() * 0.5),
            5 => faults.delay(Duration::from_millis(self.random.u64(0..200))),
            6 => faults.reorder(self.random.bool()),
            7 => faults.lose(0.0),
            8 | 9 => {
                faults.stop_broker();
                let away = self.random.u64(0..12_000);
                tokio::time::sleep(Duration::from_millis(away)).await;
                faults.start_broker();
            }
            10..=12 => {
                let node = self.random.usize(..self.nodes.made);
                let name = format!("node {node}");
                faults.freeze_node(&name);
                let frozen = Duration::from_millis(self.random.u64(0..15_000));
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(frozen).await;
                    faults.thaw_node(&name);
                });
            }
            13 | 14 if !self.nodes.living.is_empty() => {
                let dies = self.random.usize(..self.nodes.living.len());
                self.nodes.living.remove(dies).1.die();
            }
            15 if !self.nodes.living.is_empty() => {
                let closes = self.random.usize(..self.nodes.living.len());
                let (_, member) = self.nodes.living.remove(closes);
                tokio::task::spawn_local(async move { member.session.close().await });
            }
            16 if self.random.u8(..4) == 0 => {
                let dies = self.random.usize(..self.launchers.len());
                if let Some(member) = self.launchers[dies].take() {
                    member.die();
                }
            }
            17 | 18 if self.nodes.living.len() < 4 => self.new_node().await,
            _ => {}
        }
    }

    /// Stops, cancels, kills or attaches to a call.
    async fn interfere(&mut self) {
        if self.calls.is_empty() {
            return;
        }
        let which = self.random.usize(..self.calls.len());
        let by = self.random.usize(..self.launchers.len());
        let Some(member) = &self.launchers[by] else { return };
        let session = member.session.clone();
        let call = &mut self.calls[which];
        let id = call.head.id;
        match self.random.u8(..20) {
            0..=2 => {
                let canceled = session.cancel(id).await;
                call.canceled.push((canceled, Instant::now()));
                call.was_stopped = true;
            }
            3 => {
                session.stop(id);
                call.was_stopped = true;
            }
            4 => {
                let _: Killed = session.kill(id).await;
                call.was_stopped = true;
            }
            5 | 6 => {
                let told = Told::new();
                let attach = session.attach(id, told.clone());
                let attached = tokio::time::timeout(Duration::from_secs(5), attach).await;
                if let Ok(Ok(head)) = attached {
                    assert_eq!(head, call.head);
                    call.attached.push((by, told));
                }
            }
            _ => {}
        }
    }

    async fn check(self) {
        let deadline = Instant::now() + PATIENCE;
        for call in &self.calls {
            if self.launchers[call.launcher].is_none() {
                continue;
            }
            let end = tokio::time::timeout_at(deadline, call.told.end()).await;
            assert!(end.is_ok(), "no end of {:?}: {:?}", call.head, call.told.events.lock());
        }
        let is_empty = self.world.queues_are_empty(PATIENCE).await;
        assert!(is_empty, "left: {:?}, of {:?}", self.world.hub.entries(), self.nodes.made);
        // Nothing happens any more.
        tokio::time::sleep(Duration::from_secs(30)).await;
        let outcomes = check_records(&self.world.hub.history(), &self.calls);
        for call in &self.calls {
            check_call(call, &self.world, outcomes.get(&call.head.id), &self.launchers);
        }
    }
}

#[test]
fn histories_are_repeatable() {
    let run = || {
        simulate(async {
            let mut world = World::new(5);
            world.faults.lose(0.2);
            world.faults.reorder(true);
            let launcher = world.member("launcher");
            let (_node, _serving) = world.node("node", 2).await;
            let calls: Vec<_> = (1..20)
                .map(|number| {
                    let told = Told::new();
                    let new =
                        call(head(TaskId::from_parts(1, number)), &Plan::ok_after(TROUBLE / 99));
                    launcher.session.submit(new, told.clone());
                    told
                })
                .collect();
            for told in calls {
                told.end().await;
            }
            assert!(world.all_runs().values().all(|runs| *runs == 1));
            let history = world.hub.history();
            history.iter().map(|record| (record.key.clone(), record.time)).collect::<Vec<_>>()
        })
    };
    assert_eq!(run(), run());
}
