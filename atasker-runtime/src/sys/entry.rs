//! The hook that runs before `main`, and whether this code is part of the executable.
//!
//! A program may contain several copies of this code: its own, and those in libraries that it is
//! linked to or has loaded. Worker processes are copies of the executable. Therefore only the copy
//! in the executable starts them, and only the hook of that copy recognizes them.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::sys::once::Once;
use crate::sys::system::{image, privileges};

#[cfg_attr(not(feature = "mp"), allow(unused_imports))]
pub(crate) use crate::sys::system::image::FILE;

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
    image::record_program();
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
    let program = image::main_program(&raw const ANCHOR as usize);
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
        let program = image::main_program(&raw const ANCHOR as usize);
        if privileges::are_elevated() {
            return Some(
                "this process has more privileges than its invoker (its file is setuid or setgid or \
                 has capabilities): a copy of it must not act as a worker process"
                    .into(),
            );
        }
        if let Some(reason) = image::not_executable(&program) {
            return Some(reason);
        }
        (!program.contains_this_code).then(|| {
            "worker processes are copies of the program's executable, and this code is not part of \
             it: it belongs to a library that was loaded at run time"
                .into()
        })
    });
    unavailable_reason.as_deref()
}

/// Recognizes a worker process before `main`, and then calls `$serve`, which never returns.
// Used with the feature `pre-main` only.
#[allow(unused_macros)]
macro_rules! before_main {
    ($serve:path) => {
        #[used]
        // SAFETY: the section contains pointers to functions of this type, which the start-up code
        // calls once, before `main`.
        #[cfg_attr(
            target_vendor = "apple",
            unsafe(link_section = "__DATA,__mod_init_func,mod_init_funcs")
        )]
        #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
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
    use crate::sys::system::image;
    use crate::sys::worker;
    use std::ffi::{c_char, c_int};

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
        for address in image::constructors_behind(own).step_by(size_of::<usize>()) {
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
}
