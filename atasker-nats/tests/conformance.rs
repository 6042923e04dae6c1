//! Does each broker do what the trait `Broker` promises?
//!
//! The suite is the same for all of them. It needs a way to make members of a fresh namespace.

mod conformance {
    pub mod suite;
}
mod support;

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use conformance::suite;

/// Makes a test of each case, on one server.
macro_rules! on_nats {
    ($($case:ident)*) => {$(
        #[test]
        fn $case() {
            let server = support::Server::start();
            static NEXT: AtomicU32 = AtomicU32::new(1);
            let namespace = format!("n{}", NEXT.fetch_add(1, Relaxed));
            support::run(suite::$case(&|| {
                let nats = server.nats().namespace(&namespace);
                Box::pin(async { nats.__broker().await.unwrap() })
            }));
        }
    )*};
}

suite::cases!(on_nats);
