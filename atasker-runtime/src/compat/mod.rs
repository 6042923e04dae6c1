//! Helpers for programs that are ported from the Python libraries that this crate follows.
//!
//! | Python | Rust |
//! |---|---|
//! | `g.set('db', db)` of atasker | [`g()`](g) |
//! | `Locker` of atasker | [`Locker`] |
//! | `wait_until_done` and other controllers of task.py | [`wait_until_done`], `redis_brpop`, `redis_pubsub` (with the feature `redis`) |

mod control;
#[cfg(feature = "redis")]
mod from_redis;
mod locals;
mod locker;

pub use control::wait_until_done;
#[cfg(feature = "redis")]
pub use from_redis::{redis_brpop, redis_pubsub};
pub use locals::{Locals, g};
pub use locker::{LockTimeout, Locker, LockerGuard};

/// The crate `redis`, whose trait [`FromRedisValue`](redis::FromRedisValue) converts values to
/// messages.
#[cfg(feature = "redis")]
pub use ::redis;
