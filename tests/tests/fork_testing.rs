//! Do the guards of `testing` do nothing in a fork, and is the original process unaffected?
//!
//! A separate program, because no other thread of a test may fork or hold locks meanwhile.

use std::time::Duration;

use atasker::{RecvError, Supervisor, TaskBuilder, TaskContext, testing};
use atasker_tests::forks::{fork, refused};
use atasker_tests::{FAR, Watchdog, checks};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn guards_do_nothing_in_a_fork() {
    let _watchdog = Watchdog::new("fork", FAR);
    let sup = Supervisor::builder().build();
    let clock = testing::pause(&sup);
    let task = TaskBuilder::new(|| 42).delay(HOUR).supervisor(&sup).start();
    let (ctx, peer) = TaskContext::<u8, u8>::pair();
    ctx.send(1).unwrap();
    let mut guard = Some(testing::inline());
    // Its runtime has a thread.
    assert_eq!(sup.spawn_async(async { 1 }).join().unwrap(), 1);
    for exits in [false, true] {
        let in_fork = || {
            let inline = || refused(sup.spawn(|| 1).join());
            let (own, ours) = (testing::pause(&sup), sup.clone());
            own.advance(HOUR);
            clock.advance(HOUR);
            let failed = checks!(
                inline(),
                refused(sup.spawn_async(async { 1 }).join()),
                !task.is_completed() && refused(task.wait().copied()),
                peer.send(1).is_err(),
                peer.recv() == Err(RecvError::Closed),
                peer.try_recv() == Err(RecvError::Closed),
                peer.progress().is_none(),
            );
            peer.stop();
            drop((guard.take(), own, ours));
            let second = testing::inline();
            if failed == 0 && inline() {
                drop(second)
            } else {
                return 1 + failed;
            }
            0
        };
        assert_eq!(fork(exits, in_fork), 0);
    }
    drop(guard);
    assert!(!ctx.stopped());
    assert_eq!(peer.recv(), Ok(1));
    drop(peer);
    clock.advance(HOUR);
    assert_eq!(task.result(), Some(&42));
}
