//! What is the panic message of a blocking wait on the thread of an aloop?

use std::time::Duration;

use atasker::{
    TaskError, as_completed, background, background_task, wait_any, wait_completed, wait_settled,
};

/// Every blocking wait that an aloop rejects, one per line.
#[background_task]
async fn blocks(way: u32) {
    let never = || background!(std::future::pending::<u32>(), tt = "async").kill_on_drop();
    match way {
        0 => drop(never().wait().copied()),
        1 => drop(never().join()),
        2 => drop(wait_completed!(never(), never())),
        3 => drop(wait_completed!(&vec![never()])),
        4 => drop(wait_completed!([never()])),
        5 => drop(wait_settled!(vec![never()])),
        6 => drop(wait_any!(vec![never()])),
        7 => drop(as_completed(vec![never()]).next()),
        8 => drop(never().wait_timeout(Duration::from_secs(1)).copied()),
        9 => drop(never().recv_timeout(Duration::from_secs(1))),
        10 => drop(never().to_ref().wait()),
        _ => drop(never().recv()),
    }
}

#[test]
fn blocking_wait_on_aloop_panics_at_caller() {
    for way in 0..12 {
        let Err(TaskError::Panicked { message, location, .. }) = blocks(way).join() else {
            panic!("way {way} went well");
        };
        assert!(message.contains("use `.await`"), "{way}: {message}");
        let location = location.unwrap();
        assert!(location.starts_with(file!()), "{way}: {location}");
    }
}
