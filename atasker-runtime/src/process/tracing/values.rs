//! The values of the fields of a span or event, as they are sent to the parent. Pure: values in,
//! bytes out, and back.
//!
//! A value is the index of its field (1 byte), its type (1 byte) and its contents. Integers, floats,
//! booleans and strings keep their types. An error is sent as its text and the texts of its sources,
//! everything else as the text that its `Debug` implementation writes.

use std::error::Error;
use std::fmt::{self, Write as _};

use tracing_core::field::{Field, FieldSet, Value, ValueSet, Visit, display};

use crate::text::prefix;
use crate::wire::field::Malformed;

/// Fields with a higher index are not sent. None of tracing's macros makes as many.
pub(super) const MAX_FIELDS: usize = 255;
/// A text is truncated to this many bytes.
const MAX_TEXT: usize = 1 << 24;
/// All values together are truncated to about this many bytes.
const MAX_TOTAL: usize = 1 << 26;
/// More sources of an error are not sent.
const MAX_SOURCES: usize = 16;

const I64: u8 = 0;
const U64: u8 = 1;
const I128: u8 = 2;
const U128: u8 = 3;
const F64: u8 = 4;
const BOOL: u8 = 5;
const STR: u8 = 6;
const DEBUG: u8 = 7;
const ERROR: u8 = 8;

/// Writes values.
#[derive(Default)]
pub(super) struct ValueWriter {
    bytes: Vec<u8>,
}

impl ValueWriter {
    /// Returns the encoded values.
    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// Writes the index and the type. Returns `false` if the field is not sent.
    fn begin(&mut self, field: &Field, kind: u8) -> bool {
        let Ok(index) = u8::try_from(field.index()) else { return false };
        let is_sent = usize::from(index) < MAX_FIELDS;
        if is_sent {
            self.bytes.extend_from_slice(&[index, kind]);
        }
        is_sent
    }

    fn number(&mut self, field: &Field, kind: u8, bytes: &[u8]) {
        if self.begin(field, kind) {
            self.bytes.extend_from_slice(bytes);
        }
    }

    fn text(&mut self, text: fmt::Arguments<'_>) {
        let most = MAX_TEXT.min(MAX_TOTAL.saturating_sub(self.bytes.len()));
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 8]);
        let start = self.bytes.len();
        // An error means that the text was truncated, or that its value has refused to write it.
        let _ = Bounded { bytes: &mut self.bytes, end: start + most }.write_fmt(text);
        let len = (self.bytes.len() - start) as u64;
        self.bytes[at..start].copy_from_slice(&len.to_le_bytes());
    }
}

/// Appends text up to an end, and refuses the rest.
pub(super) struct Bounded<'a> {
    bytes: &'a mut Vec<u8>,
    end: usize,
}

impl<'a> Bounded<'a> {
    /// Appends at most as much as one value may have.
    #[allow(dead_code)] // Without the feature `log`.
    pub(super) fn new(bytes: &'a mut Vec<u8>) -> Self {
        let end = bytes.len() + MAX_TEXT;
        Bounded { bytes, end }
    }
}

impl fmt::Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let written = prefix(text, self.end.saturating_sub(self.bytes.len()));
        self.bytes.extend_from_slice(written.as_bytes());
        if written.len() == text.len() {
            return Ok(());
        }
        // Nothing follows a truncated text, however short.
        self.end = 0;
        Err(fmt::Error)
    }
}

impl Visit for ValueWriter {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field, I64, &value.to_le_bytes());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field, U64, &value.to_le_bytes());
    }
    fn record_i128(&mut self, field: &Field, value: i128) {
        self.number(field, I128, &value.to_le_bytes());
    }
    fn record_u128(&mut self, field: &Field, value: u128) {
        self.number(field, U128, &value.to_le_bytes());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.number(field, F64, &value.to_bits().to_le_bytes());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.number(field, BOOL, &[u8::from(value)]);
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        if self.begin(field, STR) {
            self.text(format_args!("{value}"));
        }
    }
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        if self.begin(field, ERROR) {
            let chain = std::iter::successors(Some(value), |error| (*error).source());
            let chain: Vec<_> = chain.take(MAX_SOURCES + 1).collect();
            self.bytes.push(chain.len() as u8);
            for error in chain {
                self.text(format_args!("{error}"));
            }
        }
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.begin(field, DEBUG) {
            self.text(format_args!("{value:?}"));
        }
    }
}

/// A value as received from a worker process.
enum Received<'a> {
    I64(i64),
    U64(u64),
    I128(i128),
    U128(u128),
    F64(f64),
    Bool(bool),
    Str(&'a str),
    Debug(Text<'a>),
    Error(Box<dyn Error + 'static>),
}

/// Shows the text as it is, like the value that has written it.
type Text<'a> = tracing_core::field::DisplayValue<&'a str>;

impl Received<'_> {
    fn value(&self) -> &dyn Value {
        match self {
            Received::I64(value) => value,
            Received::U64(value) => value,
            Received::I128(value) => value,
            Received::U128(value) => value,
            Received::F64(value) => value,
            Received::Bool(value) => value,
            Received::Str(value) => value,
            Received::Debug(value) => value,
            Received::Error(value) => value,
        }
    }
}

/// An error of a worker process: its text, and its source.
#[derive(Debug)]
struct RemoteError {
    text: String,
    source: Option<Box<RemoteError>>,
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for RemoteError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// The values of a span or event, as received from a worker process: one for each of its fields, or
/// none.
pub(super) struct Values<'a>(Vec<Option<Received<'a>>>);

impl<'a> Values<'a> {
    /// Decodes the values of a callsite with this many fields.
    pub(super) fn decode(mut bytes: &'a [u8], fields: usize) -> Result<Self, Malformed> {
        let mut values = Vec::new();
        values.resize_with(fields, || None);
        while !bytes.is_empty() {
            let [index, kind] = array(&mut bytes)?;
            let slot = values
                .get_mut(usize::from(index))
                .ok_or(Malformed("a value of a field that does not exist"))?;
            *slot = Some(match kind {
                I64 => Received::I64(i64::from_le_bytes(array(&mut bytes)?)),
                U64 => Received::U64(u64::from_le_bytes(array(&mut bytes)?)),
                I128 => Received::I128(i128::from_le_bytes(array(&mut bytes)?)),
                U128 => Received::U128(u128::from_le_bytes(array(&mut bytes)?)),
                F64 => Received::F64(f64::from_bits(u64::from_le_bytes(array(&mut bytes)?))),
                BOOL => Received::Bool(array(&mut bytes)? != [0]),
                STR => Received::Str(text(&mut bytes)?),
                DEBUG => Received::Debug(display(text(&mut bytes)?)),
                ERROR => {
                    let [count] = array(&mut bytes)?;
                    let texts = (0..count.min(MAX_SOURCES as u8 + 1))
                        .map(|_| text(&mut bytes))
                        .collect::<Result<Vec<_>, _>>()?;
                    let chain = texts.into_iter().rev().fold(None, |source, text| {
                        Some(Box::new(RemoteError { text: text.to_owned(), source }))
                    });
                    Received::Error(chain.ok_or(Malformed("an error without a text"))?)
                }
                _ => return Err(Malformed("a value of an unknown type")),
            });
        }
        Ok(Values(values))
    }

    /// Calls `f` with the values, followed by `more`, of these fields.
    pub(super) fn with<T>(
        &self,
        fields: &FieldSet,
        more: &[Option<&dyn Value>],
        f: impl FnOnce(&ValueSet<'_>) -> T,
    ) -> T {
        let own = self.0.iter().map(|value| value.as_ref().map(Received::value));
        let mut values: Vec<_> = own.chain(more.iter().copied()).collect();
        // A callsite has a value or none for each of its fields.
        values.resize(fields.len(), None);
        f(&fields.value_set_all(&values))
    }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], Malformed> {
    let (taken, rest) = bytes.split_at_checked(count).ok_or(Malformed("a truncated value"))?;
    *bytes = rest;
    Ok(taken)
}

fn array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Malformed> {
    take(bytes, N)?.try_into().map_err(|_| Malformed("a truncated value"))
}

fn text<'a>(bytes: &mut &'a [u8]) -> Result<&'a str, Malformed> {
    let len = u64::from_le_bytes(array(bytes)?);
    let len = usize::try_from(len).map_err(|_| Malformed("a truncated value"))?;
    std::str::from_utf8(take(bytes, len)?).map_err(|_| Malformed("a value that is not UTF-8"))
}

/// Properties of [`Values`] for any input, checked by the tests and by the fuzzer.
#[cfg(any(test, fuzzing))]
pub(crate) mod properties {
    use super::*;
    use tracing_core::callsite::{DefaultCallsite, Identifier};
    use tracing_core::metadata::Kind;
    use tracing_core::{Level, Metadata};

    static CALLSITE: DefaultCallsite = DefaultCallsite::new(&METADATA);
    pub(crate) static METADATA: Metadata<'static> = Metadata::new(
        "values",
        "values",
        Level::INFO,
        None,
        None,
        None,
        FieldSet::new(&["message", "a", "b", "c"], Identifier(&CALLSITE)),
        Kind::EVENT,
    );

    /// Any bytes decode to values or fail, and encoding is the inverse of decoding.
    pub(crate) fn values(bytes: &[u8]) {
        let fields = METADATA.fields();
        let encoded = |values: &Values<'_>| {
            let mut writer = ValueWriter::default();
            values.with(fields, &[], |values| values.record(&mut writer));
            writer.finish()
        };
        if let Ok(values) = Values::decode(bytes, fields.len()) {
            let bytes = encoded(&values);
            let again = Values::decode(&bytes, fields.len()).expect("it was written by us");
            assert_eq!(bytes, encoded(&again));
        }
    }
}
