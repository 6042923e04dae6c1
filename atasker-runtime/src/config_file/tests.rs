//! Is every configuration read back as it was written?

use std::time::Duration;

use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::duration::Text;
use crate::options::{Overflow, PoolConfig, StopOptions};
use crate::time::duration_syntax;
use crate::{Spans, SupervisorConfig};

/// The largest integer in TOML.
const MOST: u64 = i64::MAX as u64;

fn duration() -> impl Strategy<Value = Duration> {
    let any_number = (any::<u64>(), 0u32..1_000_000_000);
    prop_oneof![
        any_number.prop_map(|(secs, nanos)| Duration::new(secs, nanos)),
        (0u64..10_000, prop::sample::select(duration_syntax::UNITS.to_vec()))
            .prop_map(|(count, (_, unit))| Duration::from_nanos(count * unit as u64)),
        Just(Duration::MAX),
    ]
}

fn limit(most: u64) -> impl Strategy<Value = Option<(u64, Overflow)>> {
    let overflow = prop::sample::select(vec![Overflow::Block, Overflow::Reject]);
    prop::option::of((0..=most, overflow))
}

prop_compose! {
    fn thread_pool()(
        sizes in prop::array::uniform3(0..=MOST as usize),
        min_size in 0usize..=65_536,
        max_size in prop::option::of(1..=MOST as usize),
        idle_timeout in duration(),
        queue_limit in limit(MOST),
        stack_size in prop::option::of(131_072..=MOST as usize),
    ) -> PoolConfig {
        let mut config = PoolConfig::new(sizes[0]);
        (config.reserve_normal, config.reserve_high) = (sizes[1], sizes[2]);
        (config.min_size, config.max_size) = (min_size, max_size);
        config.idle_timeout = idle_timeout;
        config.queue_limit = queue_limit.map(|(tasks, overflow)| (tasks as usize, overflow));
        config.stack_size = stack_size;
        config
    }
}

#[cfg(feature = "mp")]
prop_compose! {
    fn mp_pool()(
        sizes in prop::array::uniform4(0..=MOST as usize),
        min_size in 0usize..=65_536,
        idle_timeout in duration(),
        limits in prop::array::uniform2(prop::option::of(1..=MOST)),
        env in prop::collection::btree_map("[^=\0]{1,5}", "[^\0]{0,5}", 0..4),
        stdio in prop::sample::select(vec![
            crate::WorkerStdio::Inherit,
            crate::WorkerStdio::Null,
            crate::WorkerStdio::Log,
        ]),
        nice in any::<i32>(),
        flags in any::<(bool, bool, bool)>(),
        queue_limit in limit(MOST),
        queue_bytes in limit(MOST),
    ) -> crate::MpPoolConfig {
        let mut config = crate::MpPoolConfig::new(sizes[0]);
        (config.reserve_normal, config.reserve_high) = (sizes[1], sizes[2]);
        (config.critical_extra, config.min_size) = (sizes[3], min_size);
        config.idle_timeout = idle_timeout;
        [config.max_tasks_per_worker, config.memory_limit] = limits;
        (config.env, config.stdio, config.nice) = (env, stdio, nice);
        (config.nice_by_priority, config.dumpable, config.template) = flags;
        config.queue_limit = queue_limit.map(|(tasks, overflow)| (tasks as usize, overflow));
        config.queue_bytes = queue_bytes;
        config
    }
}

#[cfg(not(feature = "mp"))]
fn mp_pool() -> impl Strategy<Value = crate::process::MpPoolConfig> {
    Just(Default::default())
}

prop_compose! {
    fn supervisor()(
        id in prop::option::of(".*"),
        thread_pool in thread_pool(),
        mp_pool in mp_pool(),
        spans in prop::sample::select(vec![Spans::PerTask, Spans::Inherit, Spans::Off]),
    ) -> SupervisorConfig {
        SupervisorConfig { id, thread_pool, mp_pool, spans }
    }
}

/// Writes and reads a value in each format.
fn read_back<T: Serialize + DeserializeOwned>(value: &T) -> Vec<T> {
    let as_toml = toml::to_string(value).unwrap();
    let pretty = toml::to_string_pretty(value).unwrap();
    let as_json = serde_json::to_string(value).unwrap();
    vec![
        toml::from_str(&as_toml).unwrap(),
        toml::from_str(&pretty).unwrap(),
        serde_json::from_str(&as_json).unwrap(),
        serde_json::from_value(serde_json::to_value(value).unwrap()).unwrap(),
    ]
}

/// The same without field names.
#[cfg(feature = "mp")]
fn read_back_by_position<T: Serialize + DeserializeOwned>(value: &T) -> Vec<T> {
    let config = bincode::config::standard();
    let as_bincode = bincode::serde::encode_to_vec(value, config).unwrap();
    let as_msgpack = rmp_serde::to_vec(value).unwrap();
    vec![
        bincode::serde::decode_from_slice(&as_bincode, config).unwrap().0,
        rmp_serde::from_slice(&as_msgpack).unwrap(),
        rmp_serde::from_slice(&rmp_serde::to_vec_named(value).unwrap()).unwrap(),
    ]
}

proptest! {
    #[test]
    fn configuration_is_read_back_as_written(config in supervisor()) {
        for read in read_back(&config) {
            prop_assert_eq!(&read, &config);
        }
        #[cfg(feature = "mp")]
        for read in read_back_by_position(&config) {
            prop_assert_eq!(&read, &config);
        }
        // A supervisor accepts it without changing it.
        prop_assert_eq!(config.thread_pool.clone().checked(), config.thread_pool);
        prop_assert_eq!(config.mp_pool.clone().checked(), config.mp_pool);
    }

    #[test]
    fn stop_options_are_read_back_as_written(
        wait in prop::option::of(duration()),
        cancel in any::<bool>(),
    ) {
        let options = StopOptions::new().wait(wait).cancel_tasks(cancel);
        for read in read_back(&options) {
            prop_assert_eq!(&read, &options);
        }
        #[cfg(feature = "mp")]
        for read in read_back_by_position(&options) {
            prop_assert_eq!(&read, &options);
        }
    }

    #[test]
    fn duration_is_written_exactly(duration in duration()) {
        let text = Text(duration).to_string();
        prop_assert_eq!(duration_syntax::parse(&text), Ok(duration), "{}", text);
    }

    #[test]
    fn fraction_is_exact(secs in any::<u64>(), nanos in 0u32..1_000_000_000) {
        let text = format!("{secs}.{nanos:09}s");
        prop_assert_eq!(duration_syntax::parse(&text), Ok(Duration::new(secs, nanos)));
    }
}

#[test]
fn durations_are_written_as_the_attributes_spell_them() {
    let table = [
        (Duration::ZERO, "0s"),
        (Duration::from_nanos(1), "1ns"),
        (Duration::from_micros(1_500), "1500us"),
        (Duration::from_millis(250), "250ms"),
        (Duration::from_secs(5), "5s"),
        (Duration::from_secs(90), "90s"),
        (Duration::from_secs(120), "2m"),
        (Duration::from_secs(7_200), "2h"),
        (Duration::MAX, "18446744073709551615999999999ns"),
    ];
    for (duration, text) in table {
        assert_eq!(Text(duration).to_string(), text);
    }
}

#[cfg(not(feature = "mp"))]
#[test]
fn settings_for_builds_with_worker_processes_are_ignored() {
    let file = include_str!("../supervisor/example.toml");
    let config: SupervisorConfig = toml::from_str(file).unwrap();
    assert_eq!(config.id.as_deref(), Some("batch"));
    let read: SupervisorConfig = serde_json::from_str(r#"{ "mp_pool": null }"#).unwrap();
    assert_eq!(read, SupervisorConfig::default());
    assert!(toml::from_str::<SupervisorConfig>("[mp_pools]").is_err());
    // Builds with the feature read it as the default.
    let written: toml::Table = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
    assert!(written["mp_pool"].as_table().unwrap().is_empty());
}
