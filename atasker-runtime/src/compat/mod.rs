//! For those who come from the Python libraries that this one follows: helpers that had their place
//! there.
//!
//! | there | here |
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

/// The crate whose [`FromRedisValue`](redis::FromRedisValue) turns what arrives into messages.
#[cfg(feature = "redis")]
pub use ::redis;
