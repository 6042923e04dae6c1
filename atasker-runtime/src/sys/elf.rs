//! The executable as the dynamic loader of an ELF system describes it.

use std::ops::Range;
use std::ptr::NonNull;

use crate::sys::system::image;

/// The program's executable as it is loaded.
#[derive(Default)]
pub(crate) struct Program {
    /// The base of its addresses.
    pub(crate) base: usize,
    /// Whether this code is part of it.
    pub(crate) contains_this_code: bool,
    dynamic: Option<NonNull<Dynamic>>,
    /// Whether its file names a dynamic loader.
    pub(crate) has_loader: bool,
}

/// An entry of the dynamic section: `Elf32_Dyn` or `Elf64_Dyn`.
#[repr(C)]
struct Dynamic {
    tag: isize,
    value: usize,
}

impl Program {
    /// The static constructors, as the dynamic loader finds them.
    fn constructors(&self) -> Option<Range<usize>> {
        const DT_NULL: isize = 0;
        const DT_INIT_ARRAY: isize = 25;
        const DT_INIT_ARRAYSZ: isize = 27;
        let (mut start, mut size) = (None, None);
        let mut entry = self.dynamic?.as_ptr().cast_const();
        loop {
            // SAFETY: the section is mapped while the program runs, and ends with DT_NULL.
            let Dynamic { tag, value } = unsafe { entry.read() };
            match tag {
                DT_NULL => break,
                DT_INIT_ARRAY => start = Some(self.base.wrapping_add(value)),
                DT_INIT_ARRAYSZ => size = Some(value),
                _ => {}
            }
            entry = entry.wrapping_add(1);
        }
        Some(start?..start?.wrapping_add(size?))
    }
}

/// Describes the program's executable. `here` is an address in this code.
pub(crate) fn main_program(here: usize) -> Program {
    unsafe extern "C" fn visit(
        info: *mut libc::dl_phdr_info,
        _size: libc::size_t,
        found: *mut libc::c_void,
    ) -> libc::c_int {
        // SAFETY: the loader passes a description that is valid during the call, and `found` points
        // to the pair of the caller below.
        let (info, (here, program)) = unsafe { (&*info, &mut *found.cast::<(usize, Program)>()) };
        let base = info.dlpi_addr as usize;
        program.base = base;
        let is_program = image::is_program(info.dlpi_phdr as usize);
        for index in 0..usize::from(info.dlpi_phnum) {
            // SAFETY: there are `dlpi_phnum` headers at `dlpi_phdr`.
            let header = unsafe { &*info.dlpi_phdr.add(index) };
            let start = base.wrapping_add(header.p_vaddr as usize);
            match header.p_type {
                libc::PT_LOAD if here.wrapping_sub(start) < header.p_memsz as usize => {
                    program.contains_this_code = is_program;
                }
                libc::PT_DYNAMIC => program.dynamic = NonNull::new(start as *mut Dynamic),
                libc::PT_INTERP => program.has_loader = true,
                _ => {}
            }
        }
        1 // Stop: the executable comes first, and only it matters.
    }
    let mut found = (here, Program::default());
    // SAFETY: `visit` has the required signature, and `found` outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut found).cast()) };
    found.1
}

/// The part of the array of constructors after the entry at the address `own`.
pub(crate) fn constructors_behind(own: usize) -> Range<usize> {
    let end = match main_program(own).constructors() {
        Some(all) if all.contains(&own) => all.end,
        // Without a dynamic section the C library is part of the program, and finds the end by
        // this symbol.
        _ => linker_end(),
    };
    own + size_of::<usize>()..end
}

/// Returns the end of the array if the linker defines it, otherwise 0 (in a library, for
/// example). The symbol is therefore weak, which only assembly can express.
fn linker_end() -> usize {
    #[allow(unused_mut)]
    let mut end = 0;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the instruction loads an address.
    unsafe {
        std::arch::asm!(
            ".weak __init_array_end",
            ".hidden __init_array_end",
            "mov {}, qword ptr [rip + __init_array_end@GOTPCREL]",
            out(reg) end,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the instructions load an address.
    unsafe {
        std::arch::asm!(
            ".weak __init_array_end",
            ".hidden __init_array_end",
            "adrp {0}, :got:__init_array_end",
            "ldr {0}, [{0}, #:got_lo12:__init_array_end]",
            out(reg) end,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    end
}
