//! Does `#[atasker::main]` work alone, above and below a runtime's attribute, and with time to
//! drain?
//!
//! A `main` inside a function can be tested like any function.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use atasker::background_task;
use atasker_tests::{Gate, eventually};

static DONE: AtomicBool = AtomicBool::new(false);

#[background_task]
fn slow(gate: Gate) {
    gate.wait();
    DONE.store(true, Ordering::SeqCst);
}

#[test]
fn every_form_of_main() {
    {
        #[atasker::main]
        fn main() {}
        main();
    }
    {
        /// Documented.
        #[atasker::main]
        #[allow(unused_variables)]
        fn main() -> Result<u32, std::num::ParseIntError> {
            let unused = 1;
            let n: u32 = "x".parse()?;
            Ok(n)
        }
        assert!(main().is_err());
    }
    {
        #[atasker::main]
        #[tokio::main(flavor = "current_thread")]
        async fn main() -> u32 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            4
        }
        assert_eq!(main(), 4);
    }
    {
        #[tokio::main(flavor = "current_thread")]
        #[atasker::main]
        async fn main() -> u32 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            5
        }
        assert_eq!(main(), 5);
    }

    // Without `drain`, `main` does not wait; with `drain`, it waits for running tasks.
    {
        static GATE: LazyLock<Gate> = LazyLock::new(Gate::new);
        #[atasker::main]
        fn main() {
            drop(slow(GATE.clone()));
        }
        main();
        assert!(!DONE.load(Ordering::SeqCst));
        GATE.open();
        eventually(|| DONE.swap(false, Ordering::SeqCst));
    }
    {
        #[atasker::main(drain = "60s")]
        fn main() {
            let gate = Gate::new();
            drop(slow(gate.clone()));
            drop(std::thread::spawn(move || gate.open()));
        }
        main();
        assert!(DONE.load(Ordering::SeqCst));
    }
}
