//! How a program reports the end of a part to callgrind.
//!
//! Valgrind recognizes a sequence of instructions that has no effect on a real processor, and takes
//! the request from the registers around it. This code follows `valgrind.h` and `callgrind.h`.

use std::ffi::CStr;

/// Dumps the counts of all threads since the last dump, under a name, and resets them. Has no
/// effect without valgrind.
pub fn dump(name: &CStr) {
    const DUMP_STATS_AT: usize = ((b'C' as usize) << 24 | (b'T' as usize) << 16) + 3;
    request([DUMP_STATS_AT, name.as_ptr() as usize, 0, 0, 0, 0]);
}

#[cfg(target_arch = "x86_64")]
fn request(words: [usize; 6]) {
    // SAFETY: the four rotations of `rdi` add up to 128 bits, so only `rdx` changes, which is
    // declared; valgrind reads `words`, which outlive the block, and the string that they point to.
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
    // `main` refuses to count here.
}
