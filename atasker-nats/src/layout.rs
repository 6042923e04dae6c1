//! The names, subjects and settings of a namespace at the server.
//!
//! | stream | subjects `atasker.{namespace}.` | contents |
//! |---|---|---|
//! | `S` | `s.{key}`, `x.{name}` | records; what members agree on about the server |
//! | `Q` | `q.{queue}.{priority}.{id}` | entries of queues |
//! | `B` | `b.{key}.{index}` | blocks of large payloads |
//! | `D` | `d.{log}.{key}` | logs |
//! | `L` | `l.{key}.{index}` | blocks that are kept as long as logs |
//!
//! Messages have the subjects `atasker.{namespace}.m.{subject}` and are in no stream.

use std::time::Duration;

use atasker_runtime::__broker::Kept;
use atasker_runtime::Priority;
use serde_json::{Value, json};

use crate::nats::Storage;

/// How long the server recognizes a write or an entry that is sent again.
const DUPLICATES: Duration = Duration::from_secs(120);
const DEAD_LETTERS_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
const DEAD_LETTERS: u64 = 10_000;

/// Settings in the descriptions of streams.
const LOST_AFTER: &str = "lost_after";
const QUEUE_LIMIT: &str = "queue_limit";

/// The settings that all members of a namespace share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) lost_after: Duration,
    pub(crate) keep: Duration,
    pub(crate) queue_limit: u64,
    pub(crate) storage: Storage,
    pub(crate) replicas: usize,
}

impl Shared {
    /// When an entry that was neither acknowledged nor touched comes back.
    pub(crate) fn redeliver_after(&self) -> Duration {
        (self.lost_after / 2).min(Duration::from_millis(1500))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Records,
    Queues,
    Blocks,
    Dead,
    LongBlocks,
}

impl Stream {
    pub(crate) const ALL: [Stream; 5] =
        [Stream::Records, Stream::Queues, Stream::Blocks, Stream::Dead, Stream::LongBlocks];

    /// Returns the stream of blocks.
    pub(crate) const fn of_blocks(kept: Kept) -> Stream {
        match kept {
            Kept::AsRecords => Stream::Blocks,
            Kept::AsLogs => Stream::LongBlocks,
        }
    }

    const fn letter(self) -> char {
        match self {
            Stream::Records => 'S',
            Stream::Queues => 'Q',
            Stream::Blocks => 'B',
            Stream::Dead => 'D',
            Stream::LongBlocks => 'L',
        }
    }
}

/// The names of one namespace.
#[derive(Debug)]
pub(crate) struct Layout {
    /// `atasker.{namespace}.`
    prefix: String,
    streams: [String; 5],
}

impl Layout {
    pub(crate) fn new(namespace: &str) -> Layout {
        Layout {
            prefix: format!("atasker.{namespace}."),
            streams: Stream::ALL.map(|s| format!("atasker_{namespace}_{}", s.letter())),
        }
    }

    pub(crate) fn stream(&self, stream: Stream) -> &str {
        &self.streams[stream as usize]
    }

    pub(crate) fn record(&self, key: &str) -> String {
        format!("{}s.{key}", self.prefix)
    }

    /// Returns the key of the subject of a record.
    pub(crate) fn record_key<'a>(&self, subject: &'a str) -> Option<&'a str> {
        subject.strip_prefix(&self.prefix)?.strip_prefix("s.")
    }

    pub(crate) fn agreed(&self, name: &str) -> String {
        format!("{}x.{name}", self.prefix)
    }

    pub(crate) fn entry(&self, queue: &str, priority: Priority, id: &str) -> String {
        format!("{}q.{queue}.{}.{id}", self.prefix, digit(priority))
    }

    /// Matches the entry with an id in whichever queue.
    pub(crate) fn entry_anywhere(&self, id: &str) -> String {
        format!("{}q.*.*.{id}", self.prefix)
    }

    /// Returns the queue, the priority and the id of the subject of an entry.
    pub(crate) fn entry_key<'a>(&self, subject: &'a str) -> Option<(&'a str, Priority, &'a str)> {
        let rest = subject.strip_prefix(&self.prefix)?.strip_prefix("q.")?;
        let mut tokens = rest.splitn(3, '.');
        let (queue, digit, id) = (tokens.next()?, tokens.next()?, tokens.next()?);
        Some((queue, priority(digit)?, id))
    }

    pub(crate) fn block(&self, kept: Kept, key: &str, index: u32) -> String {
        format!("{}{}.{key}.{index}", self.prefix, block_token(kept))
    }

    pub(crate) fn blocks(&self, kept: Kept, key: &str) -> String {
        format!("{}{}.{key}.*", self.prefix, block_token(kept))
    }

    pub(crate) fn logged(&self, log: &str, key: &str) -> String {
        format!("{}d.{log}.{key}", self.prefix)
    }

    pub(crate) fn log(&self, log: &str) -> String {
        format!("{}d.{log}.>", self.prefix)
    }

    /// Returns the log and the key of the subject of an entry of a log.
    pub(crate) fn logged_key<'a>(&self, subject: &'a str) -> Option<&'a str> {
        let rest = subject.strip_prefix(&self.prefix)?.strip_prefix("d.")?;
        rest.split_once('.').map(|(_, key)| key)
    }

    pub(crate) fn message(&self, subject: &str) -> String {
        format!("{}m.{subject}", self.prefix)
    }

    pub(crate) fn message_subject<'a>(&self, subject: &'a str) -> Option<&'a str> {
        subject.strip_prefix(&self.prefix)?.strip_prefix("m.")
    }

    /// The configuration of a stream.
    pub(crate) fn stream_config(&self, stream: Stream, shared: &Shared) -> Value {
        let p = &self.prefix;
        let (subjects, retention, per_subject, discard) = match stream {
            Stream::Records => (vec![format!("{p}s.>"), format!("{p}x.>")], "limits", 1, "old"),
            Stream::Queues => (vec![format!("{p}q.>")], "workqueue", -1, "new"),
            Stream::Blocks => (vec![format!("{p}b.>")], "limits", 1, "old"),
            Stream::Dead => (vec![format!("{p}d.>")], "limits", 1, "old"),
            Stream::LongBlocks => (vec![format!("{p}l.>")], "limits", 1, "old"),
        };
        let max_age = match stream {
            Stream::Dead | Stream::LongBlocks => DEAD_LETTERS_KEPT,
            Stream::Records | Stream::Queues | Stream::Blocks => shared.keep,
        };
        // The limit of the queues is not one of their stream, which counts entries that are given out as
        // well: see `gate`.
        let max_msgs: i64 = match stream {
            Stream::Dead => DEAD_LETTERS as i64,
            _ => -1,
        };
        json!({
            "name": self.stream(stream),
            "description": describe(shared),
            "subjects": subjects,
            "retention": retention,
            "max_consumers": -1,
            "max_msgs": max_msgs,
            "max_msgs_per_subject": per_subject,
            "max_bytes": -1,
            "max_age": nanos(max_age),
            "max_msg_size": -1,
            "storage": shared.storage.as_str(),
            "discard": discard,
            "num_replicas": shared.replicas,
            "duplicate_window": nanos(DUPLICATES.min(max_age)),
            // Replicas would answer as well, with what they have so far.
            "allow_direct": shared.replicas == 1,
        })
    }

    /// The name of the consumer of a queue and priority.
    pub(crate) fn consumer(&self, queue: &str, priority: Priority) -> String {
        format!("{}_{queue}", digit(priority))
    }

    /// Returns the queue and the priority of a consumer.
    pub(crate) fn consumer_queue<'a>(&self, name: &'a str) -> Option<(&'a str, Priority)> {
        let (digit, queue) = name.split_once('_')?;
        Some((queue, priority(digit)?))
    }

    /// The configuration of the consumer of a queue and priority.
    pub(crate) fn consumer_config(
        &self,
        queue: &str,
        priority: Priority,
        shared: &Shared,
    ) -> Value {
        json!({
            "durable_name": self.consumer(queue, priority),
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": nanos(shared.redeliver_after()),
            "max_deliver": -1,
            "max_ack_pending": -1,
            "max_waiting": 16_384,
            "filter_subject": self.entry(queue, priority, "*"),
            "replay_policy": "instant",
        })
    }
}

/// The settings that no field of a stream holds, by their names.
fn describe(shared: &Shared) -> String {
    let Shared { lost_after, queue_limit, .. } = shared;
    format!("atasker 1, {LOST_AFTER} {lost_after:?}, {QUEUE_LIMIT} {queue_limit}")
}

/// Returns a setting of a description.
fn described<'a>(config: &'a Value, setting: &str) -> Option<&'a str> {
    let settings = config["description"].as_str()?.split(", ");
    settings
        .filter_map(|words| words.split_once(' '))
        .find(|(name, _)| *name == setting)
        .map(|(_, value)| value)
}

/// Compares the configuration of a stream with what it is to be. Returns the setting that differs,
/// its value here, and that at the server.
pub(crate) fn difference(here: &Value, there: &Value) -> Option<(&'static str, String, String)> {
    let differs = |field: &str| here[field] != there[field];
    let pair = |field: &str, show: fn(&Value) -> String| (show(&here[field]), show(&there[field]));
    let named = |what, (here, there)| Some((what, here, there));
    if differs("storage") {
        return named("storage", pair("storage", plain));
    }
    if differs("num_replicas") {
        return named("replicas", pair("num_replicas", plain));
    }
    for setting in [LOST_AFTER, QUEUE_LIMIT] {
        let [here, there] = [here, there].map(|config| described(config, setting));
        if here != there {
            let show = |value: Option<&str>| value.unwrap_or("unknown").to_owned();
            return Some((setting, show(here), show(there)));
        }
    }
    if differs("max_age") {
        return named("keep", pair("max_age", duration));
    }
    for field in ["subjects", "retention", "max_msgs", "max_msgs_per_subject", "discard"] {
        if differs(field) {
            return Some((
                "streams",
                format!("{field} {}", here[field]),
                format!("{field} {}", there[field]),
            ));
        }
    }
    None
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn duration(value: &Value) -> String {
    value.as_u64().map_or_else(|| value.to_string(), |n| format!("{:?}", Duration::from_nanos(n)))
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(i64::MAX as u64).min(i64::MAX as u64)
}

fn block_token(kept: Kept) -> char {
    match kept {
        Kept::AsRecords => 'b',
        Kept::AsLogs => 'l',
    }
}

/// Priorities by digits, the most urgent first, so that lists of consumers are in their order.
fn digit(priority: Priority) -> char {
    match priority {
        Priority::Critical => '0',
        Priority::High => '1',
        Priority::Normal => '2',
        Priority::Low => '3',
    }
}

fn priority(digit: &str) -> Option<Priority> {
    match digit {
        "0" => Some(Priority::Critical),
        "1" => Some(Priority::High),
        "2" => Some(Priority::Normal),
        "3" => Some(Priority::Low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared() -> Shared {
        Shared {
            lost_after: Duration::from_secs(10),
            keep: Duration::from_secs(3600),
            queue_limit: 10,
            storage: Storage::File,
            replicas: 1,
        }
    }

    #[test]
    fn names_are_found_again() {
        let layout = Layout::new("a_Q");
        let subject = layout.entry("gpu_1-x", Priority::High, "0a-1");
        assert_eq!(layout.entry_key(&subject), Some(("gpu_1-x", Priority::High, "0a-1")));
        let name = layout.consumer("gpu_1-x", Priority::Low);
        assert_eq!(layout.consumer_queue(&name), Some(("gpu_1-x", Priority::Low)));
        assert_eq!(layout.record_key(&layout.record("c.1.2")), Some("c.1.2"));
        assert_eq!(layout.logged_key(&layout.logged("dead", "1-2")), Some("1-2"));
        assert_eq!(Layout::new("a").record_key(&layout.record("c")), None);
        assert_eq!(layout.record_key(&layout.agreed("server")), None);
    }

    #[test]
    fn streams_of_different_namespaces_have_different_names() {
        let (a, b) = (Layout::new("a"), Layout::new("a_S"));
        for one in Stream::ALL {
            for other in Stream::ALL {
                assert_ne!(a.stream(one), b.stream(other));
            }
        }
    }

    #[test]
    fn differences_are_named() {
        let layout = Layout::new("x");
        let here = layout.stream_config(Stream::Queues, &shared());
        assert_eq!(difference(&here, &here), None);
        type Change = fn(&mut Shared);
        let others: [(&str, Change); 5] = [
            ("lost_after", |s| s.lost_after *= 2),
            ("keep", |s| s.keep *= 2),
            ("queue_limit", |s| s.queue_limit += 1),
            ("storage", |s| s.storage = Storage::Memory),
            ("replicas", |s| s.replicas = 3),
        ];
        for (what, change) in others {
            let mut other = shared();
            change(&mut other);
            let there = layout.stream_config(Stream::Queues, &other);
            let (found, here, there) = difference(&here, &there).unwrap();
            assert_eq!(found, what);
            assert_ne!(here, there);
        }
    }
}
