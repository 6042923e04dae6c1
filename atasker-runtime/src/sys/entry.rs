//! The hook that runs before `main`, and whether this code is the program itself.

use std::sync::atomic::{AtomicBool, Ordering};

/// A place in this image that functions are counted from, when they are named to a copy of it.
static ANCHOR: AtomicBool = AtomicBool::new(false);

/// This process can be copied: the hook ran, or `main` has asked to be recognised.
static PREPARED: AtomicBool = AtomicBool::new(false);

/// Whether a copy of this program would be recognised as a worker.
pub(crate) fn is_prepared() -> bool {
    PREPARED.load(Ordering::Relaxed)
}

/// Notes that a copy of this program will be recognised.
pub(crate) fn prepared() {
    PREPARED.store(true, Ordering::Relaxed);
}

/// A function as another copy of this image finds it.
pub(crate) fn offset_of(f: fn()) -> u64 {
    (f as usize).wrapping_sub(&raw const ANCHOR as usize) as u64
}

/// Calls a function that another copy of this image has named.
///
/// # Safety
/// `offset` comes from [`offset_of`] in a process that runs the same image (the fingerprints of
/// both were compared).
pub(crate) unsafe fn call_at(offset: u64) {
    let address = (offset as usize).wrapping_add(&raw const ANCHOR as usize);
    // SAFETY: by the caller's promise this is the address of a `fn()` of this image: code and data
    // of one image keep their distance wherever it is loaded.
    let f = unsafe { std::mem::transmute::<usize, fn()>(address) };
    f();
}

/// Whether this code is part of the program's executable, and not of a library that it has loaded:
/// only then is a copy of the executable a copy of this code.
pub(crate) fn in_main_program() -> bool {
    unsafe extern "C" fn look(
        info: *mut libc::dl_phdr_info,
        _size: libc::size_t,
        found: *mut libc::c_void,
    ) -> libc::c_int {
        let here = &raw const ANCHOR as usize;
        // SAFETY: the loader lends a valid description for the time of the call.
        let info = unsafe { &*info };
        for index in 0..usize::from(info.dlpi_phnum) {
            // SAFETY: there are `dlpi_phnum` headers at `dlpi_phdr`.
            let header = unsafe { &*info.dlpi_phdr.add(index) };
            let start = (info.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
            if header.p_type == libc::PT_LOAD && here.wrapping_sub(start) < header.p_memsz as usize
            {
                // SAFETY: `found` is the `bool` of the caller below.
                unsafe { *found.cast::<bool>() = true };
            }
        }
        1 // The executable comes first, and only it matters.
    }
    let mut found = false;
    // SAFETY: `look` keeps to the interface, and `found` outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut found).cast()) };
    found
}

#[cfg(feature = "pre-main")]
mod hook {
    use std::ffi::{c_char, c_int};

    type Constructor = extern "C" fn(c_int, *const *const c_char, *const *const c_char);

    #[used]
    // SAFETY: the section holds pointers to functions of this very type, which the start-up code
    // calls once, before `main`.
    #[unsafe(link_section = ".init_array")]
    static HOOK: Constructor = run;

    unsafe extern "C" {
        static __init_array_end: Constructor;
    }

    extern "C" fn run(count: c_int, args: *const *const c_char, env: *const *const c_char) {
        super::prepared();
        if std::env::var_os(crate::sys::worker::MARKER).is_none() {
            return;
        }
        // A worker never comes back from here, so the constructors that stand after ours (those of
        // linked C and C++ code, say) run now.
        let mut next = &raw const HOOK;
        let end = &raw const __init_array_end;
        loop {
            next = next.wrapping_add(1);
            if next >= end {
                break;
            }
            // SAFETY: between HOOK and the section's end stand pointers to constructors, or the
            // fillers 0 and -1, read here as the numbers that they are.
            let number = unsafe { next.cast::<usize>().read() };
            if number != 0 && number != usize::MAX {
                // SAFETY: it is a constructor, and this is the time when it would be called.
                let constructor = unsafe { next.read() };
                constructor(count, args, env);
            }
        }
        crate::process::enter();
    }
}
