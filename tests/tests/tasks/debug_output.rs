//! Does the `Debug` output of types that may contain secrets omit them?

use atasker::{MpPoolConfig, Supervisor, TaskBuilder, TaskContext};

const SECRET: &str = "hunter2";

#[test]
fn mp_pool_config_shows_no_values() {
    let config = MpPoolConfig::new(2).env("API_TOKEN", SECRET).worker_data(SECRET).nice(4);
    for text in [
        format!("{config:?}"),
        format!("{config:#?}"),
        format!("{:?}", Supervisor::builder().mp_pool(config.clone())),
    ] {
        assert!(!text.contains(SECRET), "{text}");
        assert!(text.contains("API_TOKEN") && text.contains("nice: 4"), "{text}");
    }
    // The stored form of worker data is not shown either.
    let bytes = format!("{:?}", SECRET.as_bytes());
    assert!(!format!("{config:?}").contains(bytes.trim_matches(['[', ']'])));
}

#[test]
fn handles_show_no_results_and_no_messages() {
    /// Has no `Debug`.
    #[derive(Clone)]
    struct Silent;

    let builder = TaskBuilder::with_context(|ctx: &TaskContext<Silent, &str>| {
        ctx.send(SECRET).unwrap();
        (SECRET, Silent)
    });
    let mut shown = format!("{builder:?}");
    let task = builder.start();
    task.wait().map(|_| ()).unwrap();
    let messages = task.messages();
    shown += &format!("{messages:?}");
    assert!(shown.contains("Messages"), "{shown}");
    shown += &format!("{task:?} {:?} {:?}", task.to_ref(), task.info());
    shown += &format!("{:?}", atasker::SendError(SECRET));
    shown += &format!("{:?}", TaskContext::<Silent, Silent>::detached());
    assert!(!shown.contains(SECRET), "{shown}");
}
