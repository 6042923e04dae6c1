//! Is a copy of the process that was made without the C library detected?
//!
//! The C library's own locks are not prepared for such a copy, so this file has one test, in whose
//! process no other thread allocates meanwhile.
// Other systems only know of a `fork` by the C library.
#![cfg(not(atasker_portable))]

use atasker::Supervisor;
use atasker_tests::forks::{refused, wait_for};
use atasker_tests::{FAR, Watchdog};

#[test]
fn raw_clone_is_detected() {
    let sup = Supervisor::builder().build();
    assert_eq!(sup.spawn(|| 1).join().unwrap(), 1);
    for _ in 0..20 {
        let _watchdog = Watchdog::new("raw clones", FAR);
        // SAFETY: as `fork`, without the C library; the copy only calls the library and exits.
        let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
        assert!(child >= 0);
        if child == 0 {
            let code = i32::from(!refused(sup.spawn(|| 1).join()));
            // SAFETY: no preconditions.
            unsafe { libc::_exit(code) };
        }
        assert_eq!(wait_for(child as i32), 0);
    }
    assert_eq!(sup.spawn(|| 2).join().unwrap(), 2);
}
