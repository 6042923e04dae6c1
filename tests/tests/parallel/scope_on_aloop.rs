//! What happens if `scope` or `map` is called on the thread of an aloop?

use std::panic::{AssertUnwindSafe, catch_unwind};

use atasker::{map, scope};
use atasker_tests::pool;

fn message(payload: Box<dyn std::any::Any + Send>) -> String {
    *payload.downcast::<String>().expect("a message")
}

#[test]
fn scope_panics_before_anything_is_launched() {
    let sup = pool(1);
    let (text, called) = sup.create_aloop("here").run(async {
        let mut called = false;
        let result = catch_unwind(AssertUnwindSafe(|| scope(|_| called = true)));
        (message(result.unwrap_err()), called)
    });
    assert!(text.starts_with("`scope`") && text.contains("aloop"), "{text}");
    assert!(text.contains("block_in_place"), "{text}");
    assert!(!called);
}

#[test]
fn map_panics_before_anything_is_launched() {
    let sup = pool(1);
    let (text, taken) = sup.create_aloop("here").run(async {
        let mut taken = 0;
        let items = (0..3).inspect(|_| taken += 1);
        let result = catch_unwind(AssertUnwindSafe(|| map(items, |n: i32| n)));
        (message(result.map(drop).unwrap_err()), taken)
    });
    assert!(text.starts_with("`map`") && text.contains("aloop"), "{text}");
    assert_eq!(taken, 0);
}

#[test]
fn scope_in_block_in_place_waits() {
    let sup = pool(1);
    let inner = sup.clone();
    let loops = sup.create_aloop_multi("several", 2);
    let sum = loops.run(async move {
        tokio::task::block_in_place(|| {
            let mut sum = 0;
            inner.scope(|s| {
                s.spawn(|| sum += 1);
            });
            sum
        })
    });
    assert_eq!(sum, 1);
}
