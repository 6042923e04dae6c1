//! The threads of this process.

/// Returns the id of the current thread, which is not 0.
pub(crate) fn id() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()
}

/// Returns whether a thread of this process waits for something other than a CPU. `None` if that is
/// unknown, or there is no such thread.
pub(crate) fn is_asleep(id: u32) -> Option<bool> {
    let stat = std::fs::read(format!("/proc/self/task/{id}/stat")).ok()?;
    state(&stat).map(|state| matches!(state, b'S' | b'D'))
}

/// `id (name) state ..`; the name may contain any character.
fn state(stat: &[u8]) -> Option<u8> {
    let after = stat.iter().rposition(|byte| *byte == b')')?;
    stat.get(after + 2).copied()
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_name_may_look_like_a_state() {
        assert_eq!(state(b"7 (a) R ) S 1 1"), Some(b'S'));
        assert_eq!(state(b"7 (a)"), None);
        assert_eq!(state(b""), None);
    }

    #[test]
    fn sleeping_and_running_threads_are_told_apart() {
        assert_eq!(is_asleep(id()), Some(false));
        let (wakes, waits) = mpsc::channel::<()>();
        let (tells, told) = mpsc::channel();
        let sleeper = std::thread::spawn(move || {
            tells.send(id()).unwrap();
            let _ = waits.recv();
        });
        let other = told.recv().unwrap();
        while is_asleep(other) != Some(true) {
            std::thread::yield_now();
        }
        drop(wakes);
        sleeper.join().unwrap();
        assert_eq!(is_asleep(0), None);
    }
}
