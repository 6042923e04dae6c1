//! Do cancels, drops and time limits that meet the begin and the end of tasks leave anything behind
//! that is used or dropped after its scope has returned?

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use atasker_tests::{FAR, Watchdog, pool};

/// Fails if it is used or dropped after the scope for which it was made.
struct Guarded<'a> {
    open: &'a AtomicBool,
    drops: &'a AtomicU64,
}

impl Guarded<'_> {
    fn check(&self) {
        assert!(self.open.load(Ordering::SeqCst), "used after the scope has returned");
    }
}

impl Drop for Guarded<'_> {
    fn drop(&mut self) {
        if !self.open.load(Ordering::SeqCst) {
            eprintln!("dropped after the scope has returned");
            std::process::abort();
        }
        self.drops.fetch_add(1, Ordering::SeqCst);
    }
}

/// A sequence of pseudo-random numbers, which the test prints the seed of.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[test]
fn everything_is_dropped_once_and_in_time() {
    const ROUNDS: u64 = 300;
    const TASKS: u64 = 8;
    let seed = u64::from(std::process::id()) << 20 | 1;
    println!("seed {seed}");
    let mut random = Random(seed);
    let sup = pool(3);
    let watchdog = Watchdog::new("scopes under race", FAR);
    watchdog.watch(&sup);
    for _ in 0..ROUNDS {
        let (open, drops) = (AtomicBool::new(true), AtomicU64::new(0));
        let mut made = 0;
        let (calls, returned) = (AtomicU64::new(0), AtomicU64::new(0));
        let mut refs = Vec::new();
        sup.scope(|s| {
            for _ in 0..TASKS {
                let (open, drops, calls) = (&open, &drops, &calls);
                let (owned, spins) = (Guarded { open, drops }, random.next() % 300);
                made += 1;
                let returned = &returned;
                let builder = s.builder(move || {
                    calls.fetch_add(1, Ordering::SeqCst);
                    owned.check();
                    for _ in 0..spins {
                        std::hint::spin_loop();
                    }
                    owned.check();
                    returned.fetch_add(1, Ordering::SeqCst);
                    Guarded { open, drops }
                });
                let task = match random.next() % 4 {
                    0 => builder.timeout(Duration::from_micros(random.next() % 20)).start(),
                    _ => builder.start(),
                };
                if random.next().is_multiple_of(3) {
                    refs.extend(sup.task(task.id()));
                }
                match random.next() % 5 {
                    0 => drop(task),
                    1 => drop(task.cancel()),
                    2 => task.stop(),
                    3 => drop(task.join()),
                    _ => drop(s.spawn(move || drop(task.join()))),
                }
            }
        });
        open.store(false, Ordering::SeqCst);
        assert_eq!(calls.into_inner(), returned.load(Ordering::SeqCst));
        assert_eq!(drops.into_inner(), made + returned.into_inner());
        drop(refs);
    }
}
