//! Does each broker do what the trait `Broker` promises?
//!
//! The suite is the same for all of them. It needs a way to make members of a fresh namespace.

mod conformance {
    pub mod suite;
}
mod support;

use std::cell::Cell;
use std::time::Duration;

use atasker_runtime::__broker::in_memory;
use conformance::suite;

/// Makes a test of each case, with a server of its own.
macro_rules! on_nats {
    ($($case:ident)*) => {
        mod nats {
            $(#[test]
            fn $case() {
                let server = super::support::Server::start();
                super::support::run(super::suite::$case(&|| {
                    let nats = server.nats();
                    Box::pin(async { nats.__broker().await.unwrap() })
                }));
            })*
        }
    };
}

/// Makes a test of each case, with a broker in memory.
macro_rules! in_memory {
    ($($case:ident)*) => {
        mod memory {
            $(#[test]
            fn $case() {
                super::memory(|make| super::support::run(super::suite::$case(make)));
            })*
        }
    };
}

fn memory(test: impl FnOnce(suite::Make<'_>)) {
    let connect = in_memory(Duration::from_secs(2));
    let count = Cell::new(0);
    test(&|| {
        count.set(count.get() + 1);
        let broker = connect(&format!("member {}", count.get()));
        Box::pin(async { broker })
    });
}

suite::cases!(on_nats);
suite::cases!(in_memory);
