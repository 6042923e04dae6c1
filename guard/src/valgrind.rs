//! How a program says to callgrind that a part of it is over.
//!
//! Valgrind looks for a sequence of instructions that does nothing on a real processor, and takes
//! the request from the registers around it. What stands here follows its `valgrind.h` and
//! `callgrind.h`.

use std::ffi::CStr;

/// Writes out what all threads have counted since the last time, under a name, and begins anew.
/// Without valgrind it does nothing.
pub fn dump(name: &CStr) {
    const DUMP_STATS_AT: usize = ((b'C' as usize) << 24 | (b'T' as usize) << 16) + 3;
    request([DUMP_STATS_AT, name.as_ptr() as usize, 0, 0, 0, 0]);
}

#[cfg(target_arch = "x86_64")]
fn request(words: [usize; 6]) {
    // SAFETY: the four rotations of `rdi` come to 128 bits, so nothing changes but `rdx`, which is
    // said; valgrind reads `words`, which outlive the block, and the string that they point to.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") &words,
            inout("rdx") 0_usize => _,
            options(nostack),
        );
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn request(_: [usize; 6]) {
    unimplemented!("instructions are counted on x86-64 only");
}
