//! A library that hands the facade on to its users, and has macros that use it.

pub use atasker;

/// Makes a task of a function that is called in a worker process.
#[macro_export]
macro_rules! in_process {
    ($f:path, $($arg:expr),*) => {
        $crate::atasker::background!($f($($arg),*), tt = "mp", crate = $crate::atasker)
    };
}

/// Declares a task that runs in a worker process.
#[macro_export]
macro_rules! process_task {
    ($name:ident($($p:ident: $t:ty),*) -> $r:ty $body:block) => {
        #[$crate::atasker::background_task(crate = $crate::atasker, tt = "mp")]
        fn $name($($p: $t),*) -> $r $body
    };
}
