//! What is in use of the memory.

/// Bytes of the heap, with the allocator's own words beside each block.
pub fn heap() -> f64 {
    // SAFETY: no preconditions.
    let info = unsafe { libc::mallinfo2() };
    (info.uordblks + info.hblkhd) as f64
}

/// Bytes of this process that are in memory.
pub fn resident() -> f64 {
    field(std::process::id(), "Rss:")
}

/// A process's proportional set size: its pages, each divided by those who share it.
pub fn proportional(pid: u32) -> f64 {
    field(pid, "Pss:")
}

/// Gives free memory back to the system.
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
