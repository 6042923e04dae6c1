//! Memory in use.

/// Bytes of the heap, including the allocator's per-block overhead.
pub fn heap() -> f64 {
    // SAFETY: no preconditions.
    let info = unsafe { libc::mallinfo2() };
    (info.uordblks + info.hblkhd) as f64
}

/// The resident memory of this process in bytes.
pub fn resident() -> f64 {
    field(std::process::id(), "Rss:")
}

/// The proportional set size of a process: each page is divided by the number of processes that
/// share it.
pub fn proportional(pid: u32) -> f64 {
    field(pid, "Pss:")
}

/// Returns free memory to the system.
pub fn trim() {
    // SAFETY: no preconditions.
    unsafe { libc::malloc_trim(0) };
}

fn field(pid: u32, name: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line of that name");
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().unwrap();
    kib * 1024.0
}
