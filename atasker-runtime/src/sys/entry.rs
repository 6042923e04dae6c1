//! The hook that runs before `main`, and whether this code is part of the executable.
//!
//! A program may contain several copies of this code: its own, and those in libraries that it is
//! linked to or has loaded. Worker processes are copies of the executable. Therefore only the copy
//! in the executable starts them, and only the hook of that copy recognizes them.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sys::once::Once;
use crate::sys::privileges::{self, auxiliary};

/// An address in this image. Offsets of functions from this address are the same in every copy of
/// the process.
static ANCHOR: AtomicBool = AtomicBool::new(false);

/// Set once this process can be copied: the hook has run, or `main` has asked to be recognized.
static PREPARED: AtomicBool = AtomicBool::new(false);

/// Set if this process is a worker process, or becomes one once the static constructors have run.
static WORKER: AtomicBool = AtomicBool::new(false);

/// Whether a copy of this program would be recognized as a worker process.
pub(crate) fn is_prepared() -> bool {
    PREPARED.load(Ordering::Relaxed)
}

/// Records that a copy of this program will be recognized.
pub(crate) fn mark_prepared() {
    // Relaxed, like all flags here, because no other data depends on them.
    PREPARED.store(true, Ordering::Relaxed);
}

/// Whether the hook of this program, if it has one, has not run yet, because a static constructor is
/// running before it.
pub(crate) fn is_before_hook() -> bool {
    !is_prepared() && in_main_program()
}

/// Whether this process has been recognized as a worker process.
pub(crate) fn is_worker() -> bool {
    WORKER.load(Ordering::Relaxed)
}

/// Records that this process is a worker process.
pub(crate) fn mark_worker() {
    WORKER.store(true, Ordering::Relaxed);
}

/// Returns the offset by which another copy of this image finds the function.
pub(crate) fn offset_of(f: fn()) -> u64 {
    (f as usize).wrapping_sub(&raw const ANCHOR as usize) as u64
}

/// The offset of this code in the program's executable. It is the same in all copies of the
/// process, and differs for another copy of this code. `None` if this code is not part of the
/// executable.
pub(crate) fn offset_in_program() -> Option<u64> {
    let program = main_program();
    program
        .contains_this_code
        .then(|| (&raw const ANCHOR as usize).wrapping_sub(program.base) as u64)
}

/// Whether this code is part of the program's executable, and not of a loaded library.
fn in_main_program() -> bool {
    offset_in_program().is_some()
}

/// The reason why this program can never have worker processes, if there is one.
pub(crate) fn unavailable_reason() -> Option<&'static str> {
    static REASON: Once<Option<String>> = Once::new();
    let unavailable_reason = REASON.get_or_init(|| {
        let program = main_program();
        if privileges::are_elevated() {
            return Some(
                "this process has more privileges than its invoker (its file is setuid or setgid or \
                 has capabilities): a copy of it must not act as a worker process"
                    .into(),
            );
        }
        if program.is_started_by_loader() {
            let exe = std::fs::read_link("/proc/self/exe").unwrap_or_else(|_| "the loader".into());
            return Some(format!(
                "the program was started as an argument of the dynamic loader: /proc/self/exe, which \
                 worker processes are started from, is {} and not the program. Start the program's \
                 own file (`patchelf --set-interpreter` sets its loader)",
                exe.display()
            ));
        }
        (!program.contains_this_code).then(|| {
            "worker processes are copies of the program's executable, and this code is not part of \
             it: it belongs to a library that was loaded at run time"
                .into()
        })
    });
    unavailable_reason.as_deref()
}

/// The program's executable as it is loaded.
#[derive(Default)]
struct Program {
    /// The base of its addresses.
    base: usize,
    /// Whether this code is part of it.
    contains_this_code: bool,
    dynamic: Option<NonNull<Dynamic>>,
    /// Whether its file names a dynamic loader.
    has_loader: bool,
}

/// An entry of the dynamic section: `Elf32_Dyn` or `Elf64_Dyn`.
#[repr(C)]
struct Dynamic {
    tag: isize,
    value: usize,
}

impl Program {
    /// Whether the dynamic loader was executed, with the program's file as an argument.
    fn is_started_by_loader(&self) -> bool {
        // The kernel reports where it has mapped the loader. It reports 0 if the loader itself was
        // executed.
        self.has_loader && auxiliary(libc::AT_BASE) == 0
    }

    /// The static constructors, as the dynamic loader finds them.
    fn constructors(&self) -> Option<std::ops::Range<usize>> {
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

fn main_program() -> Program {
    unsafe extern "C" fn visit(
        info: *mut libc::dl_phdr_info,
        _size: libc::size_t,
        found: *mut libc::c_void,
    ) -> libc::c_int {
        let here = &raw const ANCHOR as usize;
        // SAFETY: the loader passes a description that is valid during the call, and `found` points
        // to the `Program` of the caller below.
        let (info, program) = unsafe { (&*info, &mut *found.cast::<Program>()) };
        let base = info.dlpi_addr as usize;
        program.base = base;
        // In a namespace made by `dlmopen` a library comes first. The kernel reports the address of
        // the program's headers, unless it has executed the loader.
        let headers = auxiliary(libc::AT_PHDR) as usize;
        let is_program = auxiliary(libc::AT_BASE) == 0 || headers == info.dlpi_phdr as usize;
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
    let mut program = Program::default();
    // SAFETY: `visit` has the required signature, and `program` outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut program).cast()) };
    program
}

/// Recognizes a worker process before `main`, and then calls `$serve`, which never returns.
// Used with the feature `pre-main` only.
#[allow(unused_macros)]
macro_rules! before_main {
    ($serve:path) => {
        #[used]
        // SAFETY: the section contains pointers to functions of this type, which the start-up code
        // calls once, before `main`.
        #[unsafe(link_section = ".init_array")]
        static HOOK: $crate::sys::entry::hook::Constructor = {
            extern "C" fn run(
                count: std::ffi::c_int,
                args: *const *const std::ffi::c_char,
                env: *const *const std::ffi::c_char,
            ) {
                let own = &raw const HOOK as usize;
                if let Some(parent) = $crate::sys::entry::hook::run(own, count, args, env) {
                    $serve(parent);
                }
            }
            run
        };
    };
}

#[allow(unused_imports)]
pub(crate) use before_main;

pub(crate) mod hook {
    use std::ffi::{c_char, c_int};
    use std::ops::Range;

    use crate::sys::worker;

    pub(crate) type Constructor = extern "C" fn(c_int, *const *const c_char, *const *const c_char);

    /// The body of the hook, whose entry in the array of constructors is at the address `own`.
    /// Returns the process id of the parent in a worker process.
    pub(crate) fn run(
        own: usize,
        count: c_int,
        args: *const *const c_char,
        env: *const *const c_char,
    ) -> Option<u32> {
        super::mark_prepared();
        let parent = worker::recognize()?;
        // Set before the constructors below run, because they may launch tasks, and a worker
        // process has no worker processes.
        super::mark_worker();
        // This function never returns in a worker process, so the constructors after this one
        // (those of linked C and C++ code, for example) run now.
        for address in constructors_behind(own).step_by(size_of::<usize>()) {
            let next = address as *const Constructor;
            // SAFETY: the array contains pointers to constructors, or the fillers 0 and -1, which
            // are read here as integers.
            let number = unsafe { next.cast::<usize>().read() };
            if number != 0 && number != usize::MAX {
                // SAFETY: it points to a constructor, and constructors run at this time.
                let constructor = unsafe { next.read() };
                constructor(count, args, env);
            }
        }
        Some(parent)
    }

    /// The part of the array of constructors after this one.
    fn constructors_behind(own: usize) -> Range<usize> {
        let end = match super::main_program().constructors() {
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
}
