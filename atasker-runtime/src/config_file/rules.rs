//! The rules that setters and configuration files share: which values a pool accepts, and what it
//! takes them for.

/// The maximum number of threads or worker processes to start eagerly. A larger number is a mistake
/// and would exhaust the system.
const MOST_IN_ADVANCE: usize = 1 << 16;

/// Returns an accepted value.
///
/// # Panics
///
/// Panics with the reason if the value is rejected.
#[track_caller]
pub(crate) fn accept<T>(value: Result<T, String>) -> T {
    value.unwrap_or_else(|reason| panic!("{reason}"))
}

pub(crate) fn min_size(count: usize) -> Result<usize, String> {
    match count {
        0..=MOST_IN_ADVANCE => Ok(count),
        _ => Err(format!("`min_size` of a pool is at most {MOST_IN_ADVANCE}")),
    }
}

pub(crate) fn max_size(threads: usize) -> Result<usize, String> {
    match threads {
        0 => Err("a pool with a `max_size` of 0 would never run a task".into()),
        _ => Ok(threads),
    }
}

/// Returns at least 128 KiB, because the pool and the reporting of panics need some of it.
pub(crate) fn stack_size(bytes: usize) -> Result<usize, String> {
    const LEAST: usize = 128 << 10;
    match isize::try_from(bytes) {
        Ok(_) => Ok(bytes.max(LEAST)),
        Err(_) => Err(format!("a stack of {bytes} bytes exceeds the address space")),
    }
}

/// Returns a limit of which 0 means that there is none.
pub(crate) fn zero_is_unlimited(limit: u64) -> Option<u64> {
    (limit > 0).then_some(limit)
}

/// Checks whether an environment variable can have this name and value.
pub(crate) fn variable(key: &str, value: &str) -> Result<(), String> {
    if key.is_empty() || key.contains(['=', '\0']) {
        return Err(format!("{key:?} can't be the name of an environment variable"));
    }
    if value.contains('\0') {
        // Without the value, which may be a secret.
        return Err(format!("the environment variable `{key}` can't hold a NUL"));
    }
    Ok(())
}
