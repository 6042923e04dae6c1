//! Tells a stack overflow, and an abort for lack of memory, from another crash.
//!
//! Each thread that runs tasks in a worker process has guard pages below its stack. A signal
//! handler on a dedicated stack checks whether the address of a SIGSEGV is in the guard pages. If
//! so, the handler records a hint that survives the process, prints a message to stderr, and
//! aborts. Any other fault is left to the default action.
//!
//! A Rust program that is refused memory aborts, and so does a C++ program. Neither tells a handler
//! why. But the refusal has left `errno` at ENOMEM on that thread, unless a later call has failed,
//! for example while std printed a backtrace. In that case, a caller of the handler is the function
//! with which std ends such a program. Both are checked only in a worker process with a memory
//! limit.
//!
//! Threads that a task starts by itself have no stack for the handler. An overflow there is
//! reported as SIGSEGV (11).

use std::cell::{Cell, RefCell};
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering};

use crate::sys::reap::CrashHint;
use crate::sys::stack::{self, Bounds};

/// The address of the hint.
static HINT: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());

/// A socket that the hint is also written to, where no page is shared; -1 for none.
static HINT_SOCKET: AtomicI32 = AtomicI32::new(-1);

/// The process that the hint is about. Processes that a task forks do not have the page mapped
/// there.
static PROCESS: AtomicI32 = AtomicI32::new(0);

thread_local! {
    /// The addresses that mean an overflow of this thread's stack. Constant and without a
    /// destructor, because reading it in a signal handler must not allocate.
    static GUARD: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
    /// The stack that the handler runs on.
    static SIGNAL_STACK: RefCell<Option<SignalStack>> = const { RefCell::new(None) };
}

/// A stack for the handler, in use until it is dropped.
struct SignalStack(Box<[MaybeUninit<u8>]>);

impl SignalStack {
    const SIZE: usize = 64 * 1024;

    fn install() -> SignalStack {
        // Not zeroed, so that memory which no handler needs is never touched.
        let mut stack = SignalStack(Box::new_uninit_slice(Self::SIZE));
        let place = stack.0.as_mut_ptr().cast();
        let alternate = libc::stack_t { ss_sp: place, ss_flags: 0, ss_size: Self::SIZE };
        // SAFETY: the memory stays valid and otherwise unused until `drop` takes it back.
        unsafe { libc::sigaltstack(&alternate, ptr::null_mut()) };
        stack
    }
}

impl Drop for SignalStack {
    fn drop(&mut self) {
        let none = libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
        // SAFETY: this runs on the thread that the stack belongs to, and not in the handler.
        unsafe { libc::sigaltstack(&none, ptr::null_mut()) };
    }
}

/// Installs the handlers. At an overflow `hint` becomes [`CrashHint::OVERFLOW`], at an abort for
/// lack of memory [`CrashHint::MEMORY`], and this byte is written to `socket`. `limited` says
/// whether this process has a memory limit.
pub(crate) fn install(hint: &'static AtomicU32, socket: Option<RawFd>, limited: bool) {
    HINT_SOCKET.store(socket.unwrap_or(-1), Ordering::Relaxed);
    // SAFETY: `getpid` has no preconditions.
    PROCESS.store(unsafe { libc::getpid() }, Ordering::Relaxed);
    // Last, and with release: a handler that sees the address sees the values above.
    HINT.store(ptr::from_ref(hint).cast_mut(), Ordering::Release);
    set_handler(libc::SIGSEGV, handler);
    set_handler(libc::SIGBUS, handler);
    if limited {
        set_handler(libc::SIGABRT, abort_handler);
    }
}

type Handler = unsafe extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

fn set_handler(signal: libc::c_int, handler: Handler) {
    // SAFETY: all zero is a valid `sigaction`; the handlers are async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        action.sa_sigaction = handler as *const () as usize;
        libc::sigaction(signal, &action, ptr::null_mut());
    }
}

/// The hint raises no signal if the socket is closed. On macOS, that is an option of the socket.
#[cfg(not(target_vendor = "apple"))]
use libc::MSG_NOSIGNAL as NO_SIGNAL;
#[cfg(target_vendor = "apple")]
const NO_SIGNAL: libc::c_int = 0;

/// Whether a signal with this code was sent by a program (`raise`, `kill`). The numbers of codes
/// differ: on Linux these are negative or 0, elsewhere most are above those of faults.
fn is_sent(code: libc::c_int) -> bool {
    code <= 0 || code >= 0x10001
}

/// Records the hint. Called in a handler, so it uses only system calls and atomics.
fn record_hint(value: u8) {
    // SAFETY: `getpid` has no preconditions.
    if unsafe { libc::getpid() } != PROCESS.load(Ordering::Relaxed) {
        return;
    }
    let hint = HINT.load(Ordering::Acquire);
    if !hint.is_null() {
        // SAFETY: the pointer came from a reference with the lifetime `'static`.
        unsafe { (*hint).store(u32::from(value), Ordering::Release) };
    }
    let socket = HINT_SOCKET.load(Ordering::Relaxed);
    if socket >= 0 {
        let (byte, flags) = (value, libc::MSG_DONTWAIT | NO_SIGNAL);
        // SAFETY: `send` is async-signal-safe and takes any descriptor number; the byte outlives
        // the call.
        unsafe { libc::send(socket, (&raw const byte).cast(), 1, flags) };
    }
}

/// Gives this thread a stack for the handler, and records the bounds of its own stack.
pub(crate) fn watch_this_thread() {
    let _ = SIGNAL_STACK.try_with(|stack| {
        stack.borrow_mut().get_or_insert_with(SignalStack::install);
    });
    if let Some(Bounds { low, guard, .. }) = stack::bounds() {
        GUARD.set((low.saturating_sub(guard), low + guard));
    }
}

unsafe extern "C" fn handler(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    // SAFETY: the kernel passes a valid description of the signal.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    let (low, high) = GUARD.get();
    if is_sent(code) {
        // The fault would not repeat on return.
        // SAFETY: SIG_DFL is a valid disposition, and both calls are async-signal-safe. The signal
        // is delivered when the handler returns.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
        return;
    }
    if address < low || address >= high {
        // Not an overflow: on return, the fault repeats with the default disposition.
        // SAFETY: SIG_DFL is a valid disposition, and `signal` is async-signal-safe.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        return;
    }
    record_hint(CrashHint::OVERFLOW);
    let message = b"\natasker: a task has overflowed its stack\n";
    // SAFETY: `write`, `signal` and `abort` are async-signal-safe; the text is static.
    unsafe {
        libc::write(2, message.as_ptr().cast(), message.len());
        libc::signal(libc::SIGABRT, libc::SIG_DFL);
        libc::abort();
    }
}

/// The unwinder's opaque description of a frame.
#[repr(C)]
struct Frame {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    // These functions are in the library with which std unwinds.
    fn _Unwind_Backtrace(
        each: extern "C" fn(*mut Frame, *mut libc::c_void) -> libc::c_int,
        argument: *mut libc::c_void,
    ) -> libc::c_int;
    fn _Unwind_GetIP(frame: *mut Frame) -> usize;
    fn _Unwind_FindEnclosingFunction(address: *mut libc::c_void) -> *mut libc::c_void;
}

/// Whether the calling code was reached from std's handler for allocation failures.
fn has_failed_to_allocate() -> bool {
    extern "C" fn each(frame: *mut Frame, found: *mut libc::c_void) -> libc::c_int {
        /// `_URC_NO_REASON`: continue.
        const GO_ON: libc::c_int = 0;
        const STOP: libc::c_int = 4;
        let wanted = std::alloc::handle_alloc_error as *const () as usize;
        // SAFETY: the frame is valid during this call. A return address may be the first address of
        // the next function, so the address before it is looked up.
        let function = unsafe {
            let address = _Unwind_GetIP(frame).saturating_sub(1);
            _Unwind_FindEnclosingFunction(address as *mut libc::c_void)
        };
        if function as usize != wanted {
            return GO_ON;
        }
        // SAFETY: `found` points to the `bool` below.
        unsafe { *found.cast::<bool>() = true };
        STOP
    }
    let mut found = false;
    // SAFETY: the argument has the type that `each` expects. The unwinder reads the stack and the
    // program's tables, and takes no lock of the allocator.
    unsafe { _Unwind_Backtrace(each, (&raw mut found).cast()) };
    found
}

unsafe extern "C" fn abort_handler(
    _signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    // Reads a thread-local of this thread.
    let errno = std::io::Error::last_os_error().raw_os_error();
    // SAFETY: the kernel passes a valid description of the signal.
    let (code, sender) = unsafe { ((*info).si_code, (*info).si_pid()) };
    // Raised by `abort`, and not sent by another process.
    let is_own = is_sent(code) && sender == PROCESS.load(Ordering::Relaxed);
    if is_own && (errno == Some(libc::ENOMEM) || has_failed_to_allocate()) {
        record_hint(CrashHint::MEMORY);
    }
    // SAFETY: SIG_DFL is a valid disposition, and both calls are async-signal-safe. The signal is
    // delivered when the handler returns, also if it was sent by `kill`.
    unsafe {
        libc::signal(libc::SIGABRT, libc::SIG_DFL);
        libc::raise(libc::SIGABRT);
    }
}
