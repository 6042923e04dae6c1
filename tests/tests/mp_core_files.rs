//! Is shared memory excluded from core files, and is a crash that writes one reported?

use std::fs;
use std::path::PathBuf;

use atasker::{Supervisor, background_task};
use atasker_tests::mp::pool_of;
use atasker_tests::{FAR, Watchdog};

/// The mappings that this process shares with another one of the program: size in KiB, and flags.
fn shared() -> Vec<(u64, String)> {
    let maps = fs::read_to_string("/proc/self/smaps").unwrap();
    let mut found = Vec::new();
    let mut is_ours = false;
    let mut size = 0;
    for line in maps.lines() {
        if line.split(' ').next().is_some_and(|range| range.contains('-')) {
            is_ours = line.contains("/memfd:atasker");
        } else if let Some(kib) = line.strip_prefix("Size:") {
            size = kib.trim().trim_end_matches(" kB").parse().unwrap();
        } else if let Some(flags) = line.strip_prefix("VmFlags:")
            && is_ours
        {
            found.push((size, flags.to_owned()));
        }
    }
    found
}

/// Large enough to use the shared region, in both directions.
#[background_task(tt = "mp")]
fn maps(bytes: &[u8]) -> (Vec<(u64, String)>, Vec<u64>) {
    (shared(), vec![u64::MAX; bytes.len() / 8])
}

#[background_task(tt = "mp")]
fn leaves_a_core(bytes: &[u8], directory: PathBuf) -> usize {
    std::env::set_current_dir(directory).unwrap();
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointers are to a `rlimit`.
    unsafe {
        libc::getrlimit(libc::RLIMIT_CORE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_CORE, &limit);
    }
    if bytes.is_empty() { 0 } else { std::process::abort() }
}

fn pool() -> Supervisor {
    Supervisor::builder().id("cores").mp_pool(pool_of(1)).build()
}

#[test]
#[cfg_attr(atasker_portable, ignore = "calls go over sockets, so there is no shared memory")]
fn shared_memory_is_excluded_from_core_files() {
    let sup = pool();
    let payload = vec![1; 3 << 20];
    let (theirs, _) = maps::builder(&payload).supervisor(&sup).start().join().unwrap();
    let ours = shared();
    for (what, mappings) in [("worker", theirs), ("program", ours)] {
        // The page and two regions.
        assert!(mappings.len() >= 3, "{what}: {mappings:?}");
        for (size, flags) in mappings {
            assert!(flags.split(' ').any(|flag| flag == "dd"), "{what}: {size} KiB with {flags}");
        }
    }
}

#[test]
fn core_dump_is_reported_and_small() {
    let _watchdog = Watchdog::new("a core file", FAR);
    let directory = std::env::temp_dir().join(format!("atasker-core-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let sup = pool();
    let payload = vec![1; 3 << 20];
    let task = leaves_a_core::builder(&payload, directory.clone()).supervisor(&sup).start();
    let error = task.join().unwrap_err();
    assert!(error.is_worker_died() && error.to_string().contains("SIGABRT (6)"), "{error}");
    // No file exists if the system pipes core files elsewhere or the hard limit forbids them.
    for file in fs::read_dir(&directory).unwrap() {
        let blocks = std::os::unix::fs::MetadataExt::blocks(&file.unwrap().metadata().unwrap());
        assert!(blocks * 512 < 64 << 20, "{} MiB", (blocks * 512) >> 20);
    }
    fs::remove_dir_all(&directory).unwrap();
}
