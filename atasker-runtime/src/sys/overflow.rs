//! Telling a stack overflow from another crash.
//!
//! Each thread that runs tasks in a worker has guard pages below its stack. A handler on a stack of its own sees
//! whether the address of a SIGSEGV lies there, leaves a mark that survives the process, says so on
//! stderr and aborts; any other fault is left to the default, as if no handler were there.

use std::cell::{Cell, RefCell};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// Where the handler leaves its mark.
static MARK: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());

thread_local! {
    /// The addresses that mean an overflow of this thread's stack. Constant and without a
    /// destructor: reading it in a signal handler allocates nothing.
    static GUARD: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
    /// The stack that the handler runs on.
    static ALTERNATE: RefCell<Option<Alternate>> = const { RefCell::new(None) };
}

/// A stack for the handler, in use until it is dropped.
struct Alternate(Box<[MaybeUninit<u8>]>);

impl Alternate {
    const SIZE: usize = 64 * 1024;

    fn install() -> Alternate {
        // Not zeroed: memory that no handler needs is never touched.
        let mut stack = Alternate(Box::new_uninit_slice(Self::SIZE));
        let place = stack.0.as_mut_ptr().cast();
        let alternate = libc::stack_t { ss_sp: place, ss_flags: 0, ss_size: Self::SIZE };
        // SAFETY: the memory stays valid, and used by nobody else, until `drop` takes it back.
        unsafe { libc::sigaltstack(&alternate, ptr::null_mut()) };
        stack
    }
}

impl Drop for Alternate {
    fn drop(&mut self) {
        let none = libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
        // SAFETY: this runs on the thread that the stack belongs to, and not in the handler.
        unsafe { libc::sigaltstack(&none, ptr::null_mut()) };
    }
}

/// Installs the handler. `mark` becomes 1 at an overflow.
pub(crate) fn install(mark: &'static AtomicU32) {
    MARK.store(ptr::from_ref(mark).cast_mut(), Ordering::Release);
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: all zero is a valid `sigaction`; the handler keeps to what handlers may do.
        unsafe {
            let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            action.sa_sigaction = handler as *const () as usize;
            libc::sigaction(signal, &action, ptr::null_mut());
        }
    }
}

/// Gives this thread a stack for the handler, and notes where its own ends.
pub(crate) fn watch_this_thread() {
    let _ = ALTERNATE.try_with(|stack| {
        stack.borrow_mut().get_or_insert_with(Alternate::install);
    });
    // SAFETY: the attributes are filled in by the first call, read, and destroyed.
    unsafe {
        let mut attributes = MaybeUninit::<libc::pthread_attr_t>::zeroed().assume_init();
        if libc::pthread_getattr_np(libc::pthread_self(), &mut attributes) != 0 {
            return;
        }
        let (mut low, mut size, mut guard) = (ptr::null_mut(), 0, 0);
        libc::pthread_attr_getstack(&attributes, &mut low, &mut size);
        libc::pthread_attr_getguardsize(&attributes, &mut guard);
        libc::pthread_attr_destroy(&mut attributes);
        // Whether the guard counts as part of the stack differs between C libraries.
        let guard = guard.max(rustix::param::page_size());
        let low = low as usize;
        GUARD.set((low.saturating_sub(guard), low + guard));
    }
}

unsafe extern "C" fn handler(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    // SAFETY: the kernel gives a valid description of the signal.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    let (low, high) = GUARD.get();
    if code <= 0 {
        // Sent by a program (`raise`, `kill`): no fault that would happen again.
        // SAFETY: SIG_DFL is a valid disposition, and both may be called in a handler. The signal
        // comes when the handler has returned.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
        return;
    }
    if address < low || address >= high {
        // Not ours: at return the fault happens again, with the default disposition.
        // SAFETY: SIG_DFL is a valid disposition, and `signal` may be called in a handler.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        return;
    }
    let mark = MARK.load(Ordering::Acquire);
    if !mark.is_null() {
        // SAFETY: it came from a reference that is valid for ever.
        unsafe { (*mark).store(1, Ordering::Release) };
    }
    let words = b"\natasker: a task has overflowed its stack\n";
    // SAFETY: `write`, `signal` and `abort` may be called in a handler; the text is static.
    unsafe {
        libc::write(2, words.as_ptr().cast(), words.len());
        libc::signal(libc::SIGABRT, libc::SIG_DFL);
        libc::abort();
    }
}
