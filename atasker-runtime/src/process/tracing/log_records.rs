//! Records of the crate `log`: from a worker process to the program's logger.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use ::log::{Level, LevelFilter, Log, Metadata, Record};
use tracing::Span;

use super::values::Bounded;
use super::worker::context;
use crate::fork;
use crate::process::worker;
use crate::wire::frame::{LogRecord, ToParent};

/// The most verbose level that the logger of this process wants: 0 none, 1 error, .. 5 trace.
pub(super) fn max_level() -> u8 {
    ::log::max_level() as u8
}

/// In a worker process: the most verbose level that the parent wants.
static LEVEL: AtomicU8 = AtomicU8::new(0);

/// The logger that sends to the parent is installed.
static INSTALLED: AtomicBool = AtomicBool::new(false);

fn filter(level: u8) -> LevelFilter {
    LevelFilter::iter().nth(usize::from(level)).unwrap_or(LevelFilter::Trace)
}

/// In a worker process: sets the most verbose level that the parent wants.
pub(super) fn set_level(level: u8) {
    LEVEL.store(level, Ordering::Relaxed);
    if INSTALLED.load(Ordering::Acquire) {
        ::log::set_max_level(filter(level));
    }
}

/// In a worker process: installs the logger, unless none is wanted or there is another one.
pub(super) fn install() {
    let level = LEVEL.load(Ordering::Relaxed);
    if level > 0 && !INSTALLED.load(Ordering::Acquire) && ::log::set_logger(&FORWARDER).is_ok() {
        INSTALLED.store(true, Ordering::Release);
        ::log::set_max_level(filter(level));
    }
}

struct ForwardToParent;

static FORWARDER: ForwardToParent = ForwardToParent;

impl Log for ForwardToParent {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() as u8 <= LEVEL.load(Ordering::Relaxed) && !fork::is_copy()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut message = Vec::new();
        // An error means that the text was truncated.
        let _ = write!(Bounded::new(&mut message), "{}", record.args());
        let message = String::from_utf8_lossy(&message);
        worker::send_to_parent(&ToParent::LogRecord {
            call: context().call,
            record: LogRecord {
                level: record.level() as u8,
                target: record.target(),
                module_path: record.module_path(),
                file: record.file(),
                line: record.line(),
                message: &message,
            },
        });
    }

    fn flush(&self) {}
}

/// In the parent: passes a record to the logger, inside of the span of its task. Unguarded.
pub(super) fn emit(record: &LogRecord<'_>, span: Option<&Span>) {
    let level = Level::iter().nth(usize::from(record.level.wrapping_sub(1)));
    let Some(level) = level.filter(|level| *level <= ::log::max_level()) else { return };
    let metadata = Metadata::builder().level(level).target(record.target).build();
    let logger = ::log::logger();
    let log = || {
        if logger.enabled(&metadata) {
            let mut builder = Record::builder();
            builder.metadata(metadata.clone());
            builder.module_path(record.module_path).file(record.file).line(record.line);
            logger.log(&builder.args(format_args!("{}", record.message)).build());
        }
    };
    let in_span = span.and_then(|span| {
        span.with_subscriber(|(_, receiver)| {
            tracing::dispatcher::with_default(receiver, || span.in_scope(log));
        })
    });
    if in_span.is_none() {
        log();
    }
}
