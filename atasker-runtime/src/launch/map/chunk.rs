//! A chunk of a map in the process that runs it.

use std::time::{Duration, Instant};

use super::pace::Pace;
use crate::error::TaskError;
use crate::fork;
use crate::process::{self, JournalWriter, Recorded};
use crate::remote::chunk::{self, Kind, Summary, malformed};
use crate::remote::functions::Call;
use crate::unwind;
use crate::wire::reply::Reply;

/// How long a chunk goes on if items remain. The caller then measures again and divides them anew.
const LONGEST: Duration = Duration::from_millis(3);

/// Runs a function for each item of a chunk: decodes the item, calls the function, and encodes its
/// result. Called by generated code, as the function in the table.
///
/// # Errors
///
/// Returns an error if the arguments are malformed. Errors of items are parts of the result.
#[doc(hidden)]
pub fn run_chunk(
    call: &mut Call<'_>,
    function: fn(&mut Call<'_>) -> Result<(), TaskError>,
) -> Result<(), TaskError> {
    let started = Instant::now();
    let (count, mut items) = chunk::split_args(call.args())?;
    let mut journal = process::begin_journal(count);
    let mut done = 0;
    let mut stopped = false;
    let mut pace = Pace::new();
    let mut buffer = Vec::new();
    let task = call.task();
    let out = call.reply_mut().rest_mut();
    out.resize(Summary::LENGTH, 0);
    while has_next(&mut journal, &out[Summary::LENGTH..], done, count) {
        // The item has begun: decoding it, and encoding its result, are parts of it.
        let args = items.next().ok_or_else(malformed)?;
        let mut item = Call::with_reply(args, Reply::with_buffer(buffer), task);
        let outcome = unwind::catch(|| function(&mut item)).and_then(|result| result);
        // The worker itself replies, not a copy made by a fork in the function.
        fork::end_if_copy();
        let reply = item.into_reply();
        match outcome {
            Ok(()) => chunk::write_result(out, Kind::Result, reply.parts()),
            Err(error) => {
                chunk::write_result(out, Kind::Error, [&process::encode_error(&error), &[]]);
            }
        }
        buffer = reply.into_buffer();
        buffer.clear();
        done += 1;
        let recorded = journal
            .as_mut()
            .map_or(Recorded::Yes, |journal| journal.finish_item(&out[Summary::LENGTH..], done));
        if pace.measure().is_some() {
            stopped = task.header().state.read().stopped();
            if stopped || started.elapsed() > LONGEST {
                break;
            }
        }
        if recorded == Recorded::No {
            break;
        }
    }
    let nanos = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let (head, _) = out.split_first_chunk_mut().expect("resized above");
    Summary { done, stopped, nanos }.write(head);
    Ok(())
}

/// Begins the next item. Returns false if none is left.
fn has_next(journal: &mut Option<JournalWriter>, results: &[u8], done: u32, count: u32) -> bool {
    match journal {
        Some(journal) => journal.begin_item(results),
        None => done < count,
    }
}
