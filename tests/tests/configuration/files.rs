//! What does a configuration file mean, and how does it look when it is written?

use std::fmt::Debug;
use std::time::Duration;

use atasker::{
    MpPoolConfig, Overflow, PoolConfig, Spans, StopOptions, Supervisor, SupervisorConfig,
    WorkerStdio,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The file in the documentation, which contains all settings.
const FILE: &str = include_str!("../../../atasker-runtime/src/supervisor/example.toml");

/// What the setters make of the same.
fn expected() -> SupervisorConfig {
    let mut config = SupervisorConfig::default();
    config.id = Some("batch".into());
    config.spans = Spans::PerTask;
    config.thread_pool = PoolConfig::new(8)
        .reserve_normal(2)
        .reserve_high(1)
        .min_size(3)
        .max_size(16)
        .idle_timeout(Duration::from_secs(120))
        .queue_limit(1000, Overflow::Reject)
        .stack_size(4 << 20);
    config.mp_pool = MpPoolConfig::new(4)
        .reserve_high(2)
        .critical_extra(7)
        .min_size(1)
        .idle_timeout(Duration::from_millis(1500))
        .max_tasks_per_worker(10_000)
        .memory_limit(1 << 30)
        .env("MODE", "fast")
        .env("LANG", "C")
        .stdio(WorkerStdio::Log)
        .nice(5)
        .nice_by_priority(true)
        .dumpable(false)
        .template(true)
        .queue_limit(10_000, Overflow::Block)
        .queue_bytes(64 << 20, Overflow::Reject);
    config
}

#[track_caller]
fn from_toml<T: DeserializeOwned>(text: &str) -> T {
    toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Checks that a text is refused with all of these words.
#[track_caller]
fn assert_refused<T: DeserializeOwned + Debug>(text: &str, words: &[&str]) {
    let error = toml::from_str::<T>(text).expect_err(text).to_string();
    for word in words {
        assert!(error.contains(word), "{text}: no {word:?} in: {error}");
    }
}

#[test]
fn file_means_what_the_setters_mean() {
    assert_eq!(from_toml::<SupervisorConfig>(FILE), expected());
    let json = serde_json::to_value(from_toml::<toml::Table>(FILE)).unwrap();
    assert_eq!(serde_json::from_value::<SupervisorConfig>(json).unwrap(), expected());
}

#[test]
fn written_file_is_read_back_equal() {
    #[track_caller]
    fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(config: &T) {
        let text = toml::to_string(config).unwrap();
        assert_eq!(&from_toml::<T>(&text), config, "{text}");
        let text = serde_json::to_string(config).unwrap();
        assert_eq!(&serde_json::from_str::<T>(&text).unwrap(), config, "{text}");
    }
    check(&expected());
    check(&SupervisorConfig::default());
    check(&PoolConfig::default());
    check(&MpPoolConfig::default());
    check(&StopOptions::default());
    for duration in [Duration::ZERO, Duration::MAX, Duration::new(3, 1), Duration::from_nanos(1)] {
        check(&PoolConfig::unlimited().idle_timeout(duration));
        check(&StopOptions::new().wait(duration).cancel_tasks(true));
    }
}

#[test]
fn written_file_has_the_documented_words() {
    let text = toml::to_string(&expected()).unwrap();
    let table: toml::Table = from_toml(&text);
    assert_eq!(table, from_toml::<toml::Table>(FILE));
    let options = StopOptions::new().wait(Duration::from_millis(1500)).cancel_tasks(true);
    let options = serde_json::to_value(&options).unwrap();
    assert_eq!(options, serde_json::json!({ "wait": "1500ms", "cancel_tasks": true }));
}

#[test]
fn left_out_field_has_its_default() {
    assert_eq!(from_toml::<SupervisorConfig>(""), SupervisorConfig::default());
    let defaults = SupervisorConfig::default();
    assert_eq!(defaults.thread_pool, PoolConfig::default());
    assert_eq!(defaults.mp_pool, MpPoolConfig::default());
    assert_eq!((defaults.id, defaults.spans), (None, Spans::Inherit));

    let mut threads = PoolConfig::default();
    threads.pool_size = 3;
    assert_eq!(from_toml::<PoolConfig>("pool_size = 3"), threads);
    let mut processes = MpPoolConfig::default();
    processes.queue_limit = Some((9, Overflow::Block));
    assert_eq!(from_toml::<MpPoolConfig>("queue_limit = { tasks = 9 }"), processes);
    assert_eq!(from_toml::<MpPoolConfig>("queue_limit.tasks = 9"), processes);
    assert_eq!(from_toml::<StopOptions>(""), StopOptions::new());
    // Null is the same where a format has it.
    let null = r#"{ "max_size": null, "queue_limit": null, "stack_size": null }"#;
    assert_eq!(serde_json::from_str::<PoolConfig>(null).unwrap(), PoolConfig::default());
    assert_eq!(
        serde_json::from_str::<StopOptions>(r#"{ "wait": null }"#).unwrap(),
        StopOptions::new()
    );
}

#[test]
fn unknown_field_is_refused_with_the_known_ones() {
    assert_refused::<PoolConfig>("pool_sise = 1", &["`pool_sise`", "`pool_size`", "`max_size`"]);
    assert_refused::<MpPoolConfig>("critical = 1", &["`critical`", "`critical_extra`", "`env`"]);
    assert_refused::<StopOptions>("limit = '1s'", &["`limit`", "`wait`", "`cancel_tasks`"]);
    assert_refused::<MpPoolConfig>("templates = true", &["`templates`", "`template`"]);
    assert_refused::<MpPoolConfig>("template = 'yes'", &["a boolean"]);
    let known = ["`threads`", "`id`", "`thread_pool`", "`mp_pool`", "`spans`"];
    assert_refused::<SupervisorConfig>("[threads]", &known);
    let known = ["`task`", "`tasks`", "`overflow`"];
    assert_refused::<PoolConfig>("queue_limit = { task = 1 }", &known);
    let known = ["`tasks`", "`bytes`", "`overflow`"];
    assert_refused::<MpPoolConfig>("queue_bytes = { tasks = 1 }", &known);
    // What a file can't contain.
    let hidden = ["over_sockets", "template_first"];
    for field in ["worker_init", "worker_exit", "worker_data"].into_iter().chain(hidden) {
        assert_refused::<MpPoolConfig>(&format!("{field} = 'x'"), &[field, "`pool_size`"]);
    }
    for limit in ["queue_limit", "queue_bytes"] {
        assert_refused::<MpPoolConfig>(&format!("{limit} = {{}}"), &["missing field"]);
        assert_refused::<MpPoolConfig>(&format!("{limit} = 10"), &["a table like {"]);
    }
}

#[test]
fn value_that_a_setter_rejects_is_refused() {
    for pool in ["thread_pool", "mp_pool"] {
        let text = format!("[{pool}]\nmin_size = 65537");
        assert_refused::<SupervisorConfig>(&text, &["`min_size` of a pool is at most 65536"]);
    }
    assert_refused::<PoolConfig>("max_size = 0", &["`max_size` of 0 would never run a task"]);
    assert_refused::<PoolConfig>("pool_size = -1", &["-1"]);
    let error = serde_json::from_str::<PoolConfig>(&format!(r#"{{ "stack_size": {} }}"#, u64::MAX));
    assert!(error.unwrap_err().to_string().contains("exceeds the address space"));
    let name = "can't be the name of an environment variable";
    assert_refused::<MpPoolConfig>("env = { '' = 'x' }", &[name]);
    assert_refused::<MpPoolConfig>("env = { 'A=B' = 'x' }", &["\"A=B\"", name]);
    assert_refused::<MpPoolConfig>(r#"env = { A = "\u0000" }"#, &["`A` can't hold a NUL"]);
    let stdio = ["`pipe`", "`inherit`", "`null`", "`log`"];
    assert_refused::<MpPoolConfig>("stdio = 'pipe'", &stdio);
    let overflow = ["`Reject`", "`block`", "`reject`"];
    assert_refused::<PoolConfig>("queue_limit = { tasks = 1, overflow = 'Reject' }", &overflow);
    assert_refused::<SupervisorConfig>("spans = 'all'", &["`all`", "`per_task`", "`inherit`"]);
    // Values that the setters change are changed in the same way.
    let text = "max_tasks_per_worker = 0\nmemory_limit = 0";
    assert_eq!(from_toml::<MpPoolConfig>(text), MpPoolConfig::default());
    assert_eq!(from_toml::<PoolConfig>("stack_size = 1"), PoolConfig::default().stack_size(1));
}

#[test]
fn bad_duration_is_refused_with_an_example() {
    let table = [
        ("'5'", "the unit of \"5\" is missing"),
        ("'5 days'", "\"days\" is not a unit of time"),
        ("'soon'", "\"soon\" is not a duration"),
        ("'18446744073709551616s'", "is too long"),
        ("5", "with its unit, in quotes"),
        ("1.5", "with its unit, in quotes"),
    ];
    for (text, reason) in table {
        assert_refused::<PoolConfig>(&format!("idle_timeout = {text}"), &[reason, "\"250ms\""]);
        assert_refused::<StopOptions>(&format!("wait = {text}"), &[reason, "\"250ms\""]);
    }
}

#[test]
fn builder_takes_all_of_a_configuration() {
    let sup = Supervisor::builder().config(expected()).build();
    assert_eq!(sup.id(), "batch");
    assert_eq!(sup.thread_pool(), expected().thread_pool);
    assert_eq!(sup.mp_pool(), expected().mp_pool);

    // All that was set before is replaced, and later setters change single parts.
    let builder = Supervisor::builder().id("before").thread_pool(PoolConfig::new(99));
    let sup = builder.config(SupervisorConfig::default()).build();
    assert_eq!((sup.id(), sup.thread_pool()), ("default", PoolConfig::default()));
    let builder = Supervisor::builder().config(expected());
    let sup = builder.id("after").mp_pool(MpPoolConfig::new(1)).build();
    assert_eq!((sup.id(), sup.mp_pool()), ("after", MpPoolConfig::new(1)));
    assert_eq!(sup.thread_pool(), expected().thread_pool);
}

#[test]
#[should_panic(expected = "would never run a task")]
fn builder_checks_a_configuration() {
    let mut config = SupervisorConfig::default();
    config.thread_pool.max_size = Some(0);
    let _ = Supervisor::builder().config(config);
}

#[test]
fn settings_of_the_program_are_kept_out_of_the_file() {
    let config = MpPoolConfig::new(1).worker_data("a secret").worker_init(|| ());
    let text = toml::to_string(&config).unwrap();
    assert!(!text.contains("secret") && !text.contains("worker"), "{text}");
    assert_ne!(from_toml::<MpPoolConfig>(&text), config);
    assert_eq!(from_toml::<MpPoolConfig>(&text), MpPoolConfig::new(1));
}

#[test]
fn debug_output_names_variables_only() {
    let mut config = expected();
    config.mp_pool = config.mp_pool.env("API_TOKEN", "hunter2");
    let text = format!("{config:?}");
    assert!(text.contains("API_TOKEN") && text.contains("batch"), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("fast"), "{text}");
}
