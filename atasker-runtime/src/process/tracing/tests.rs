//! Tests of values, and of what the parent does with the frames of a worker process, without
//! processes.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use parking_lot::Mutex;
use proptest::prelude::*;
use tracing_core::field::{Field, Value, Visit, debug, display};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Dispatch, Event, Metadata, Subscriber, dispatcher};

use super::MAX_OPEN_SPANS;
use super::parent::{RemoteSpans, Sender};
use super::values::{ValueWriter, Values, properties};
use crate::wire::field::Malformed;
use crate::wire::frame::{CallsiteDescription, ParentSpan, ToParent};

/// The fields as `name=type:value`.
#[derive(Default)]
struct Typed(Vec<String>);

impl Typed {
    fn push(&mut self, field: &Field, kind: &str, value: &dyn Debug) {
        self.0.push(format!("{field}={kind}:{value:?}"));
    }
}

impl Visit for Typed {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, "i64", &value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, "u64", &value);
    }
    fn record_i128(&mut self, field: &Field, value: i128) {
        self.push(field, "i128", &value);
    }
    fn record_u128(&mut self, field: &Field, value: u128) {
        self.push(field, "u128", &value);
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, "f64", &value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, "bool", &value);
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, "str", &value);
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let chain = std::iter::successors(Some(value), |error| (*error).source());
        let texts: Vec<_> = chain.map(ToString::to_string).collect();
        self.push(field, "error", &texts);
    }
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.push(field, "debug", value);
    }
}

/// What a visitor sees of values before and after they were sent. There are at most four.
fn sent(values: &[&dyn Value]) -> [Vec<String>; 2] {
    let fields = properties::METADATA.fields();
    let mut all: Vec<_> = values.iter().map(|value| Some(*value)).collect();
    all.resize(fields.len(), None);
    let values = fields.value_set_all(&all);
    let (mut before, mut after) = (Typed::default(), Typed::default());
    values.record(&mut before);
    let mut writer = ValueWriter::default();
    values.record(&mut writer);
    let bytes = writer.finish();
    let received = Values::decode(&bytes, fields.len()).unwrap();
    received.with(fields, &[], |values| values.record(&mut after));
    [before.0, after.0]
}

#[derive(Debug, thiserror::Error)]
#[error("outer {0}")]
struct Outer(u32, #[source] Inner);

#[derive(Debug, thiserror::Error)]
#[error("inner \"text\"")]
struct Inner;

#[test]
fn values_keep_their_types() {
    let error: &(dyn std::error::Error + 'static) = &Outer(7, Inner);
    let values: [&dyn Value; 13] = [
        &-1i8,
        &i64::MIN,
        &u64::MAX,
        &i128::MIN,
        &u128::MAX,
        &1.5f64,
        &f64::NAN,
        &true,
        &"text \"quoted\"",
        &debug("text \"quoted\""),
        &display("text \"quoted\""),
        &error,
        &format_args!("{} {:?}", 1, "a"),
    ];
    for values in values.chunks(4) {
        let [before, after] = sent(values);
        assert_eq!(before, after);
        assert_eq!(before.len(), values.len());
    }
}

#[test]
fn missing_values_remain_missing() {
    let none: Option<u32> = None;
    let [before, after] = sent(&[&none, &tracing_core::field::Empty, &1u32]);
    assert_eq!((&*before, before.clone()), (&["b=u64:1".to_owned()][..], after));
}

#[test]
fn long_text_is_truncated_between_characters() {
    let text = "é".repeat(1 << 23) + "é";
    let [_, after] = sent(&[&text, &display(&text)]);
    // The name, the type and, for a string, the quotes precede the text.
    assert!(after[0].ends_with("é\"") && after[1].ends_with('é'));
    assert_eq!(after[0].len(), "message=str:\"\"".len() + (1 << 24));
    assert_eq!(after[1].len(), "a=debug:".len() + (1 << 24));
    // An odd byte in front.
    let [_, after] = sent(&[&format!("x{text}")]);
    assert_eq!(after[0].len(), "message=str:\"\"".len() + (1 << 24) - 1);
}

#[test]
fn invalid_values_are_malformed() {
    let long = u64::MAX.to_le_bytes();
    let cases: [(&[u8], &str); 7] = [
        (&[0], "truncated"),
        (&[0, 1, 2], "truncated"),
        (&[0, 99], "unknown type"),
        (&[4, 5, 1], "does not exist"),
        (&[&[0, 6][..], &long].concat(), "truncated"),
        (&[0, 6, 1, 0, 0, 0, 0, 0, 0, 0, 0xff], "UTF-8"),
        (&[0, 8, 0], "without a text"),
    ];
    for (bytes, wanted) in cases {
        let Err(Malformed(what)) = Values::decode(bytes, 4) else { panic!("{wanted}") };
        assert!(what.contains(wanted), "{what}");
    }
    assert!(Values::decode(&[], 0).is_ok());
}

proptest! {
    #[test]
    fn any_bytes_are_values_or_malformed(
        bytes in prop::collection::vec(prop_oneof![0..9u8, Just(0), any::<u8>()], 0..100),
    ) {
        properties::values(&bytes);
    }

    #[test]
    fn integers_and_texts_round_trip(a: i64, b: u128, text in ".{0,40}") {
        let [before, after] = sent(&[&a, &b, &text, &debug(&text)]);
        prop_assert_eq!(before, after);
    }
}

/// What a subscriber was told, and the spans that it has open.
#[derive(Default)]
struct Seen {
    told: Vec<String>,
    open: BTreeMap<u64, usize>,
    last: u64,
}

/// A subscriber that, like the registry of tracing-subscriber, panics if it is told about a span
/// that is not open. It does not want what has the name `unwanted`, and panics about `panics`.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Seen>>);

impl Recorder {
    fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().told)
    }

    fn tell(&self, what: String) {
        self.0.lock().told.push(what);
    }

    fn check_open(&self, span: &Id) {
        let is_open = self.0.lock().open.contains_key(&span.into_u64());
        assert!(is_open, "{span:?} is not open");
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "remote" && metadata.name() != "unwanted"
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let name = span.metadata().name();
        assert_ne!(name, "panics");
        if let Some(parent) = span.parent() {
            self.check_open(parent);
        }
        let mut seen = self.0.lock();
        seen.last += 1;
        let id = seen.last;
        seen.open.insert(id, 1);
        seen.told.push(format!("{name} {id} in {:?}", span.parent().map(Id::into_u64)));
        Id::from_u64(id)
    }
    fn record(&self, span: &Id, values: &Record<'_>) {
        self.check_open(span);
        let mut fields = Typed::default();
        values.record(&mut fields);
        self.tell(format!("{} recorded {}", span.into_u64(), fields.0.join(" ")));
    }
    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.check_open(span);
        self.tell(format!("{} follows {}", span.into_u64(), follows.into_u64()));
    }
    fn event(&self, event: &Event<'_>) {
        assert!(!event.is_contextual());
        if let Some(parent) = event.parent() {
            self.check_open(parent);
        }
        let mut fields = Typed::default();
        event.record(&mut fields);
        let parent = event.parent().map(Id::into_u64);
        self.tell(format!("event in {parent:?} {}", fields.0.join(" ")));
    }
    fn enter(&self, _: &Id) {
        unreachable!("remote spans are not entered");
    }
    fn exit(&self, _: &Id) {
        unreachable!("remote spans are not entered");
    }
    fn clone_span(&self, span: &Id) -> Id {
        self.check_open(span);
        *self.0.lock().open.get_mut(&span.into_u64()).unwrap() += 1;
        span.clone()
    }
    fn try_close(&self, span: Id) -> bool {
        self.check_open(&span);
        let mut seen = self.0.lock();
        let handles = seen.open.get_mut(&span.into_u64()).unwrap();
        *handles -= 1;
        let closes = *handles == 0;
        if closes {
            seen.open.remove(&span.into_u64());
            seen.told.push(format!("{} closed", span.into_u64()));
        }
        closes
    }
}

/// The spans of a worker process that has described its callsites: 0 an event, 1 a span, 2 a span
/// that is not wanted, 3 one whose subscriber panics.
struct Remote {
    spans: RemoteSpans,
    recorder: Recorder,
    receiver: Dispatch,
}

pub(crate) fn described(is_span: bool, name: &str) -> CallsiteDescription<'_> {
    CallsiteDescription {
        is_span,
        level: 3,
        name,
        target: "remote",
        module_path: None,
        file: Some("f.rs"),
        line: None,
        fields: vec!["a", "b"],
    }
}

impl Remote {
    fn new() -> Remote {
        let recorder = Recorder::default();
        let receiver = Dispatch::new(recorder.clone());
        let mut remote = Remote { spans: RemoteSpans::default(), recorder, receiver };
        let names = [(false, "event"), (true, "span"), (true, "unwanted"), (true, "panics")];
        for (number, (is_span, name)) in (0..).zip(names) {
            remote.describe(number, &described(is_span, name)).unwrap();
        }
        remote
    }

    fn describe(
        &mut self,
        number: u32,
        description: &CallsiteDescription<'_>,
    ) -> Result<(), Malformed> {
        self.handle(&ToParent::Callsite { call: 0, number, description: description.clone() })
    }

    fn handle(&mut self, frame: &ToParent<'_>) -> Result<(), Malformed> {
        let from = Sender { pid: 77, task_of: &|_| None, described: &|_| {} };
        dispatcher::with_default(&self.receiver, || self.spans.handle(frame, &from))
    }

    fn open(&mut self, call: u64, span: u64, callsite: u32, parent: ParentSpan) {
        let values = &[];
        self.handle(&ToParent::SpanOpened { call, span, callsite, parent, values }).unwrap();
    }

    fn event(&mut self, call: u64, parent: ParentSpan) {
        self.handle(&ToParent::Event { call, callsite: 0, parent, values: &[] }).unwrap();
    }

    fn close(&mut self, span: u64) {
        self.handle(&ToParent::SpanClosed { span }).unwrap();
    }
}

#[test]
fn frames_reach_the_subscriber() {
    let mut remote = Remote::new();
    remote.open(1, 10, 1, ParentSpan::Task);
    remote.open(1, 11, 1, ParentSpan::Span(10));
    remote.handle(&ToParent::SpanRecorded { span: 11, values: &[1, 5, 1] }).unwrap();
    let from = ParentSpan::Span(10);
    remote.handle(&ToParent::SpanFollows { call: 1, span: 11, from }).unwrap();
    remote.event(1, ParentSpan::Span(11));
    remote.event(1, ParentSpan::Root);
    remote.event(1, ParentSpan::Task);
    remote.close(10);
    remote.close(11);
    assert_eq!(
        remote.recorder.told(),
        [
            "span 1 in None",
            "span 2 in Some(1)",
            "2 recorded b=bool:true",
            "2 follows 1",
            "event in Some(2) worker=u64:77",
            "event in None worker=u64:77",
            "event in None worker=u64:77",
            "1 closed",
            "2 closed",
        ]
    );
}

#[test]
fn unwanted_span_is_passed_over() {
    let mut remote = Remote::new();
    remote.open(1, 10, 1, ParentSpan::Task);
    for (span, callsite) in [(11, 2), (12, 3)] {
        remote.open(1, span, callsite, ParentSpan::Span(span - 1));
        remote.event(1, ParentSpan::Span(span));
    }
    // Their parent remains open as long as they may have children.
    remote.close(10);
    remote.event(1, ParentSpan::Span(12));
    remote.close(11);
    assert!(remote.recorder.told().iter().all(|told| !told.contains("closed")));
    remote.close(12);
    assert_eq!(remote.recorder.told(), ["1 closed"]);
}

#[test]
fn spans_of_an_ended_call_are_closed() {
    let mut remote = Remote::new();
    remote.open(0, 9, 1, ParentSpan::Root);
    remote.open(1, 10, 1, ParentSpan::Task);
    remote.open(1, 11, 1, ParentSpan::Span(10));
    remote.handle(&ToParent::SpansClosed { call: 1 }).unwrap();
    remote.open(2, 12, 1, ParentSpan::Task);
    let told = remote.recorder.told();
    assert_eq!(told[3..], ["3 closed", "2 closed", "span 4 in None"]);
    // A worker process that runs the next call has ended the previous one.
    remote.event(3, ParentSpan::Task);
    assert_eq!(remote.recorder.told()[0], "4 closed");
    // Those of no call end with the worker process.
    remote.open(3, 13, 1, ParentSpan::Task);
    remote.spans.close_all();
    assert_eq!(remote.recorder.told()[1..], ["5 closed", "1 closed"]);
    remote.open(3, 14, 1, ParentSpan::Task);
    remote.recorder.told();
    drop(remote.spans);
    assert_eq!(remote.recorder.told(), ["6 closed"]);
}

#[test]
fn unknown_spans_are_ignored() {
    let mut remote = Remote::new();
    remote.event(1, ParentSpan::Span(99));
    remote.open(1, 10, 1, ParentSpan::Span(98));
    remote.handle(&ToParent::SpanRecorded { span: 97, values: &[0xff] }).unwrap();
    let from = ParentSpan::Span(96);
    remote.handle(&ToParent::SpanFollows { call: 1, span: 10, from }).unwrap();
    remote.handle(&ToParent::SpanFollows { call: 1, span: 95, from }).unwrap();
    remote.close(94);
    remote.handle(&ToParent::SpansClosed { call: 93 }).unwrap();
    assert_eq!(remote.recorder.told(), ["event in None worker=u64:77", "span 1 in None"]);
}

#[test]
fn invalid_frames_are_malformed() {
    let mut remote = Remote::new();
    let values = &[0xff, 0xff][..];
    remote.open(1, 10, 1, ParentSpan::Task);
    let (call, parent) = (1, ParentSpan::Task);
    let frames = [
        ("out of order", ToParent::Callsite { call, number: 0, description: described(true, "x") }),
        ("out of order", ToParent::Callsite { call, number: 5, description: described(true, "x") }),
        ("was not described", ToParent::Event { call, callsite: 4, parent, values: &[] }),
        ("of another kind", ToParent::Event { call, callsite: 1, parent, values: &[] }),
        ("does not exist", ToParent::Event { call, callsite: 0, parent, values }),
        ("of another kind", ToParent::SpanOpened { call, span: 1, callsite: 0, parent, values }),
        ("does not exist", ToParent::SpanOpened { call, span: 1, callsite: 1, parent, values }),
        ("open already", ToParent::SpanOpened { call, span: 10, callsite: 1, parent, values }),
        ("does not exist", ToParent::SpanRecorded { span: 10, values }),
    ];
    for (wanted, frame) in frames {
        let Malformed(what) = remote.handle(&frame).unwrap_err();
        assert!(what.contains(wanted), "{wanted}: {what}");
    }
    for level in [0, 6, 255] {
        let description = CallsiteDescription { level, ..described(true, "level") };
        let Malformed(what) = remote.describe(4, &description).unwrap_err();
        assert!(what.contains("invalid level"), "{what}");
    }
}

#[test]
fn too_long_description_is_not_forwarded() {
    let mut remote = Remote::new();
    let long = "x".repeat(super::MAX_DESCRIPTION);
    let many = vec![""; 256];
    remote.describe(4, &described(true, &long)).unwrap();
    remote.describe(5, &CallsiteDescription { fields: many, ..described(true, "many") }).unwrap();
    for callsite in [4, 5] {
        remote.open(1, 10, callsite, ParentSpan::Task);
    }
    remote.event(1, ParentSpan::Span(10));
    assert_eq!(remote.recorder.told(), ["event in None worker=u64:77"]);
}

#[test]
fn too_many_open_spans_are_not_forwarded() {
    let mut remote = Remote::new();
    let most = MAX_OPEN_SPANS as u64;
    for span in 1..=most + 3 {
        remote.open(1, span, 1, ParentSpan::Task);
    }
    assert_eq!(remote.recorder.told().len(), MAX_OPEN_SPANS);
    remote.event(1, ParentSpan::Span(most + 2));
    remote.close(7);
    remote.open(1, most + 4, 1, ParentSpan::Task);
    let told = remote.recorder.told();
    assert_eq!(told[..2], ["event in None worker=u64:77", "7 closed"]);
    assert_eq!(told[2], format!("span {} in None", most + 1));
}

#[test]
fn own_fields_named_task_worker_and_node_are_kept() {
    let mut remote = Remote::new();
    let fields = vec!["task", "message", "worker", "node"];
    remote.describe(4, &CallsiteDescription { fields, ..described(false, "own") }).unwrap();
    let values = &[0, 5, 1, 2, 5, 0, 3, 5, 1];
    let parent = ParentSpan::Task;
    remote.handle(&ToParent::Event { call: 1, callsite: 4, parent, values }).unwrap();
    let told = "event in None task=bool:true worker=bool:false node=bool:true";
    assert_eq!(remote.recorder.told(), [told]);
}
