//! The functions that worker processes run at their start and exit: a table that the linker builds.
//!
//! `MpPoolConfig::worker_init` is given a function. A worker process never executes that call, and
//! has to find the same function. The function is identified by its offset in the image, but an
//! offset alone is never called: [`Hook::find`] looks it up among the functions that this program
//! passes to `worker_init` or `worker_exit` anywhere. The generic setter is compiled once per
//! function, and each of these instances adds an entry to the section below, whether or not it is
//! executed.

use std::arch::asm;

use crate::sys::entry;

/// A function of the program that is in the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hook {
    /// The offset of the function from a fixed address in the image.
    pub(crate) offset: u64,
}

/// An entry of the table: the distance from the entry to the function, or 0. A distance needs no
/// relocation, so the table can be read-only.
type Entry = isize;

/// The section of the table, as each object format names it, and its flags.
#[cfg(not(target_vendor = "apple"))]
macro_rules! section {
    () => {
        ".pushsection atasker_hooks_1, \"aR\", %progbits"
    };
}

#[cfg(target_vendor = "apple")]
macro_rules! section {
    () => {
        ".pushsection __DATA,atasker_hooks_1,regular,no_dead_strip"
    };
}

/// Emits one entry for a function into the section `atasker_hooks_1`. The name is fixed, because
/// two versions of this crate in one program share the table. The number changes with the layout of
/// an entry.
macro_rules! entry {
    ($value:literal $(, $name:ident = sym $function:path)?) => {
        // SAFETY: it adds data to another section, and no instruction.
        unsafe {
            asm!(
                section!(),
                data!($value),
                ".popsection",
                $($name = sym $function,)?
                options(nomem, nostack, preserves_flags),
            );
        }
    };
}

#[cfg(target_pointer_width = "64")]
macro_rules! data {
    ($value:literal) => {
        concat!(".balign 8\n.quad ", $value)
    };
}

#[cfg(target_pointer_width = "32")]
macro_rules! data {
    ($value:literal) => {
        concat!(".balign 4\n.long ", $value)
    };
}

impl Hook {
    /// Registers a function. A function item or a closure that captures nothing has a unique type
    /// of size 0. Returns `None` for a type with a size, such as a function pointer, because the
    /// linker can't know its target.
    pub(crate) fn of<F: Fn() + Copy + Send + Sync + 'static>(_: F) -> Option<Hook> {
        if size_of::<F>() != 0 {
            return None;
        }
        entry!("{function} - .", function = sym run::<F>);
        Some(Hook { offset: entry::offset_of(run::<F>) })
    }

    /// Returns the function that another copy of this image has registered under this offset.
    pub(crate) fn find(offset: u64) -> Option<fn()> {
        table().find(|function| entry::offset_of(*function) == offset)
    }
}

/// Calls a function that is identified by its type alone.
fn run<F: Fn() + Copy + Send + Sync + 'static>() {
    // SAFETY: `Hook::of` adds no entry for a type with a size. Any well-aligned pointer is valid
    // for a value of size 0, and the program has created such a value, because it was passed to
    // `Hook::of`. `Copy`, `Send` and `'static` permit more copies of it, on any thread and at any
    // time.
    let function = unsafe { std::ptr::NonNull::<F>::dangling().as_ref() };
    function();
}

/// The functions in the table.
fn table() -> impl Iterator<Item = fn()> {
    unsafe extern "C" {
        // The linker defines both symbols for a section whose name is an identifier.
        #[cfg_attr(not(target_vendor = "apple"), link_name = "__start_atasker_hooks_1")]
        #[cfg_attr(target_vendor = "apple", link_name = "\x01section$start$__DATA$atasker_hooks_1")]
        static START: Entry;
        #[cfg_attr(not(target_vendor = "apple"), link_name = "__stop_atasker_hooks_1")]
        #[cfg_attr(target_vendor = "apple", link_name = "\x01section$end$__DATA$atasker_hooks_1")]
        static STOP: Entry;
    }
    // Without any entry, the section and these symbols would not exist.
    entry!("0");
    let (start, stop) = (&raw const START, &raw const STOP);
    let count = (stop as usize - start as usize) / size_of::<Entry>();
    (0..count).filter_map(move |index| {
        let entry = start.wrapping_add(index);
        // SAFETY: the section contains `count` entries, and is never written to.
        let distance = unsafe { entry.read() };
        let address = (entry as usize).wrapping_add_signed(distance);
        // SAFETY: a nonzero entry was made by `Hook::of` from a `fn()`.
        (distance != 0).then(|| unsafe { std::mem::transmute::<usize, fn()>(address) })
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    static RAN: AtomicU32 = AtomicU32::new(0);

    fn adds_one() {
        RAN.fetch_add(1, Ordering::Relaxed);
    }

    fn adds<const N: u32>() {
        RAN.fetch_add(N, Ordering::Relaxed);
    }

    #[test]
    fn only_registered_functions_are_found() {
        let hooks = [
            Hook::of(adds_one),
            Hook::of(adds::<10>),
            Hook::of(adds::<100>),
            Hook::of(|| _ = RAN.fetch_add(1000, Ordering::Relaxed)),
        ];
        for hook in hooks {
            Hook::find(hook.unwrap().offset).unwrap()();
        }
        assert_eq!(RAN.load(Ordering::Relaxed), 1111);
        let known: Vec<_> = table().map(entry::offset_of).collect();
        let some = hooks[0].unwrap().offset;
        let near = (some - 64..some + 64).chain([0, 1, u64::MAX, entry::offset_of(adds_one)]);
        for offset in near.filter(|offset| !known.contains(offset)) {
            assert!(Hook::find(offset).is_none(), "{offset}");
        }
        assert!(!known.contains(&entry::offset_of(tests_only)));
    }

    fn tests_only() {}

    #[test]
    fn function_pointer_is_not_registered() {
        assert_eq!(Hook::of(adds_one as fn()), None);
        let captured = 1u8;
        assert_eq!(Hook::of(move || assert_eq!(captured, 1)), None);
    }
}
