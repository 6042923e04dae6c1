//! The error of `tt = "mp"` on platforms without worker processes. It is reported here because the
//! macros are compiled for the host and don't know the target.

/// Expands to nothing, because this platform has worker processes.
#[cfg(has_processes)]
#[doc(hidden)]
#[macro_export]
macro_rules! __needs_worker_processes {
    () => {};
}

/// Expands to a compile error. Its span is that of `tt = "mp"`.
#[cfg(not(has_processes))]
#[doc(hidden)]
#[macro_export]
macro_rules! __needs_worker_processes {
    () => {
        ::core::compile_error!(
            "worker processes need Linux, macOS or FreeBSD, and not Windows: on this platform use \
             tt = \"thread\"; to choose by platform, write \
             #[cfg_attr(unix, background_task(tt = \"mp\"))] and \
             #[cfg_attr(not(unix), background_task)]"
        );
    };
}
