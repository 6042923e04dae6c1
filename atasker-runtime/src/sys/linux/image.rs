//! What the kernel tells about the program's executable.

use crate::sys::elf::Program;
use crate::sys::system::privileges::auxiliary;

pub(crate) use crate::sys::elf::{constructors_behind, main_program};

/// The file that worker processes are started from, for messages.
pub(crate) const FILE: &str = "/proc/self/exe";

/// Nothing has to be recorded at the start, because `/proc/self/exe` is the program for good.
pub(crate) fn record_program() {}

/// Whether the first loaded object, whose headers are at this address, is the program. In a
/// namespace made by `dlmopen` it is a library. The kernel reports the address of the program's
/// headers, unless it has executed the loader.
pub(crate) fn is_program(headers: usize) -> bool {
    auxiliary(libc::AT_BASE) == 0 || headers == auxiliary(libc::AT_PHDR) as usize
}

/// The reason why a copy of the program can't be started from its file, if there is one.
pub(crate) fn not_executable(program: &Program) -> Option<String> {
    // The kernel reports where it has mapped the loader. It reports 0 if the loader itself was
    // executed, with the program's file as an argument.
    if !program.has_loader || auxiliary(libc::AT_BASE) != 0 {
        return None;
    }
    let exe = std::fs::read_link("/proc/self/exe").unwrap_or_else(|_| "the loader".into());
    Some(format!(
        "the program was started as an argument of the dynamic loader: /proc/self/exe, which \
         worker processes are started from, is {} and not the program. Start the program's \
         own file (`patchelf --set-interpreter` sets its loader)",
        exe.display()
    ))
}
