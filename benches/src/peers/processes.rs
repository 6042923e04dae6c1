//! procspawn's pool.

use crate::pools::processes::{Processes, check_echo, two_under_way};

/// procspawn's pool.
pub struct Procspawn(procspawn::Pool);

/// Bytes that serde encodes as one block: what a user of procspawn would write.
struct Bytes(Vec<u8>);

impl serde::Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }
        }
        from.deserialize_byte_buf(Visitor)
    }
}

/// Each submitted call holds descriptors, so not all calls can be in flight at once.
const PROCSPAWN_AT_ONCE: u64 = 1000;

impl Processes for Procspawn {
    const SLOW: bool = true;
    fn new(workers: usize) -> Self {
        Procspawn(procspawn::Pool::new(workers).unwrap())
    }
    fn add_all(&mut self, calls: u64) {
        for first in (0..calls).step_by(PROCSPAWN_AT_ONCE as usize) {
            let some = first..calls.min(first + PROCSPAWN_AT_ONCE);
            let handles: Vec<_> =
                some.clone().map(|i| self.0.spawn((i, i + 1), |(a, b)| a + b)).collect();
            for (i, handle) in some.zip(handles) {
                assert_eq!(handle.join().unwrap(), 2 * i + 1);
            }
        }
    }
    fn add(&mut self, a: u64, b: u64) -> u64 {
        self.0.spawn((a, b), |(a, b)| a + b).join().unwrap()
    }
    fn echo(&mut self, payload: &[u8], calls: usize) {
        // procspawn needs an owned value: two copies circulate.
        let spare = std::cell::RefCell::new(vec![payload.to_vec(), payload.to_vec()]);
        two_under_way(
            calls,
            || {
                let bytes = Bytes(spare.borrow_mut().pop().expect("at most two are in flight"));
                self.0.spawn(bytes, |bytes| bytes)
            },
            |handle| {
                let Bytes(answer) = handle.join().unwrap();
                check_echo(payload, &answer);
                spare.borrow_mut().push(answer);
            },
        );
    }
    fn worker_pid(&mut self) -> u32 {
        self.0.spawn((), |()| std::process::id()).join().unwrap()
    }
    fn close(self) {
        self.0.shutdown();
    }
}

/// Calls per second with two in flight, each by `procspawn::spawn`, which starts a process for it.
pub fn fresh_process_per_call(calls: usize) -> f64 {
    let begin = std::time::Instant::now();
    two_under_way(
        calls,
        || procspawn::spawn((20_u64, 22_u64), |(a, b)| a + b),
        |handle| assert_eq!(handle.join().unwrap(), 42),
    );
    calls as f64 / begin.elapsed().as_secs_f64()
}

/// Milliseconds from `procspawn::spawn` to its result.
pub fn fresh_process() -> f64 {
    let begin = std::time::Instant::now();
    assert_eq!(procspawn::spawn((20_u64, 22_u64), |(a, b)| a + b).join().unwrap(), 42);
    begin.elapsed().as_secs_f64() * 1e3
}
