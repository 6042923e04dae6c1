//! Whether two threads can run at once.

use std::sync::OnceLock;

/// Whether this process may use more than one CPU, as it was when somebody first asked.
pub(crate) fn several() -> bool {
    static SEVERAL: OnceLock<bool> = OnceLock::new();
    *SEVERAL
        .get_or_init(|| rustix::thread::sched_getaffinity(None).is_ok_and(|set| set.count() > 1))
}
