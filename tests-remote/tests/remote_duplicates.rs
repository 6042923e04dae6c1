//! What happens in a program with two remote functions of one name and signature? A separate program,
//! because it can't serve.

#![forbid(unsafe_code)]

use atasker::{Cluster, ClusterError, NodeConfig, PoolConfig, Task, TaskError, background_task};

/// Two functions in function bodies of one module have one path.
fn first(n: u32) -> Task<u32> {
    #[background_task(tt = "remote")]
    fn work(n: u32) -> u32 {
        n
    }
    work(n)
}

fn second(n: u32) -> Task<u32> {
    #[background_task(tt = "remote")]
    fn work(n: u32) -> u32 {
        n + 1
    }
    work(n)
}

/// The same path with other types is another function.
fn third(n: u64) -> Task<u64> {
    #[background_task(tt = "remote")]
    fn work(n: u64) -> u64 {
        n
    }
    work(n)
}

/// So is one with another version.
fn fourth(n: u32) -> Task<u32> {
    #[background_task(tt = "remote", version = 1)]
    fn work(n: u32) -> u32 {
        n
    }
    work(n)
}

/// Checks that an error names both functions.
fn names_both(error: &ClusterError) {
    let text = error.to_string();
    for part in
        ["`remote_duplicates::work`", "remote_duplicates.rs:10:5", "remote_duplicates.rs:18:5"]
    {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn launch_of_a_duplicate_is_an_error() {
    let cluster = Cluster::in_memory();
    atasker::supervisor().join_cluster(&cluster);
    for task in [first(1), second(1)] {
        match task.join() {
            Err(TaskError::Cluster(error)) => names_both(&error),
            other => panic!("{other:?}"),
        }
    }
    // The others wait for a node.
    assert!(!third(1).is_completed() && !fourth(1).is_completed());
}

#[test]
fn program_with_duplicates_can_not_serve() {
    let config = NodeConfig::threads(PoolConfig::new(1));
    names_both(&Cluster::in_memory().serve(config).expect_err("a call could mean either"));
}

#[test]
fn inline_launches_run_the_function_itself() {
    let _guard = atasker::testing::inline();
    assert_eq!((first(1).join().unwrap(), second(1).join().unwrap()), (1, 2));
}
