//! The memory and the CPU time of a process.

use std::time::Duration;

/// What a process uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Usage {
    /// The memory that is resident, in bytes.
    pub(crate) resident: u64,
    /// The CPU time since its start, of all its threads.
    pub(crate) cpu: Duration,
}

/// Returns what a process uses. `None` if there is no such process.
#[cfg_attr(not(feature = "dashboard"), allow(dead_code))]
pub(crate) fn of(pid: u32) -> Option<Usage> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse(&stat, rustix::param::clock_ticks_per_second(), rustix::param::page_size() as u64)
}

/// `pid (name) state ..`; the name may contain any character. The fields are numbered as in
/// `proc_pid_stat(5)`.
fn parse(stat: &[u8], ticks_per_second: u64, page: u64) -> Option<Usage> {
    const UTIME: usize = 14;
    const STIME: usize = 15;
    const RSS: usize = 24;
    /// The first field after the name.
    const STATE: usize = 3;
    let after = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let fields = std::str::from_utf8(&stat[after..]).ok()?;
    let field = |number: usize| -> Option<u64> {
        fields.split_ascii_whitespace().nth(number - STATE)?.parse().ok()
    };
    let ticks = field(UTIME)?.checked_add(field(STIME)?)?;
    let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(ticks_per_second.max(1));
    Some(Usage {
        resident: field(RSS)?.saturating_mul(page),
        cpu: Duration::from_nanos(u64::try_from(nanos).ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_look_like_fields() {
        let stat =
            b"7 (a) R 1 2) S 1 1 1 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 4 0 99 1000 25 184";
        let usage = parse(stat, 100, 4096).unwrap();
        assert_eq!(usage, Usage { resident: 25 * 4096, cpu: Duration::from_secs(2) });
        assert_eq!(parse(b"7 (a) S 1", 100, 4096), None);
        assert_eq!(parse(b"", 100, 4096), None);
    }

    #[test]
    fn this_process_uses_memory() {
        assert!(of(std::process::id()).unwrap().resident > 100_000);
    }
}
