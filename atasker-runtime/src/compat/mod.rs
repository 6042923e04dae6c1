//! For those who come from the Python libraries that this one follows: helpers that had their place
//! there.
//!
//! | there | here |
//! |---|---|
//! | `g.set('db', db)` of atasker | [`g()`](g) |
//! | `Locker` of atasker | [`Locker`] |
//! | `wait_until_done` and other controllers of task.py | [`wait_until_done`], `redis_brpop`, `redis_pubsub` (with the feature `redis`) |

mod control;
mod locals;
mod locker;

pub use control::wait_until_done;
pub use locals::{Locals, g};
pub use locker::{LockTimeout, Locker, LockerGuard};
