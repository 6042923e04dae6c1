//! Tests of code that launches tasks, at the end of this file. The program books invoices, prints
//! letters, and reminds customers after two weeks.
//!
//! ```text
//! cargo test -p atasker-examples --example testing
//! cargo run --example testing -- ada=1999 bob=500
//! ```
//!
//! | code under test | its test uses |
//! |---|---|
//! | `book` receives and sends messages | `TaskContext::pair` |
//! | `letters` launches tasks in worker processes | `testing::inline` |
//! | `remind` launches a task with a delay and retries | `testing::pause` |

use std::error::Error;
use std::time::Duration;

use atasker::{
    Supervisor, Task, TaskBuilder, TaskContext, WaitError, background_task, supervisor,
    wait_completed,
};
use serde::{Deserialize, Serialize};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Invoice {
    customer: String,
    cents: u64,
}

/// Books one invoice per message until a stop is requested. Returns the sum.
#[background_task]
fn book(ctx: &TaskContext<String, Result<Invoice, String>>) -> u64 {
    let mut sum = 0;
    while let Ok(line) = ctx.recv() {
        let invoice = parse(&line).ok_or_else(|| format!("`{line}` is not CUSTOMER=CENTS"));
        sum += invoice.as_ref().map_or(0, |invoice| invoice.cents);
        if ctx.send(invoice).is_err() {
            break;
        }
    }
    sum
}

fn parse(line: &str) -> Option<Invoice> {
    let (customer, cents) = line.split_once('=')?;
    Some(Invoice { customer: customer.to_owned(), cents: cents.parse().ok()? })
}

#[background_task(tt = "mp")]
fn letter(invoice: &Invoice) -> String {
    let Invoice { customer, cents } = invoice;
    assert!(*cents > 0, "nothing to pay");
    format!("Dear {customer}, please pay {}.{:02}", cents / 100, cents % 100)
}

fn letters(invoices: &[Invoice]) -> Result<Vec<String>, WaitError> {
    let tasks: Vec<_> = invoices.iter().map(letter).collect();
    wait_completed!(tasks)
}

/// Reminds the customer in two weeks, unless the task is canceled. If the mail server fails, tries
/// again every hour, five times.
fn remind(
    sup: &Supervisor,
    invoice: Invoice,
    send: impl Fn(&Invoice) -> Result<(), String> + Send + 'static,
) -> Task<Result<(), String>> {
    TaskBuilder::repeatable(move || send(&invoice))
        .delay(14 * DAY)
        .retries(5)
        .retry_if(|sent: &Result<(), String>| sent.is_err())
        .retry_delay(HOUR)
        .supervisor(sup)
        .start()
}

fn main() -> Result<(), Box<dyn Error>> {
    let booking = book();
    let mut invoices = Vec::new();
    for line in std::env::args().skip(1) {
        booking.send(line)?;
        invoices.push(booking.recv()??);
    }
    booking.stop();
    for letter in letters(&invoices)? {
        println!("{letter}");
    }
    let remind = |invoice| remind(supervisor(), invoice, |_| Err("there is no server".to_owned()));
    let reminders: Vec<_> = invoices.into_iter().map(remind).collect();
    // All customers pay in time.
    let canceled = reminders.iter().filter(|reminder| reminder.cancel()).count();
    println!("{} cents booked, {canceled} reminders canceled", booking.join()?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use atasker::testing;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    fn invoice(customer: &str, cents: u64) -> Invoice {
        Invoice { customer: customer.to_owned(), cents }
    }

    /// The function runs on this thread, and the test is its other end. No task is launched.
    #[test]
    fn invoices_are_booked_until_stop() {
        let (ctx, peer) = TaskContext::pair();
        for line in ["ada=1999", "bob", "eve=1"] {
            peer.send(line.to_owned()).unwrap();
        }
        peer.stop(); // The function receives what is queued before it notices the stop.
        assert_eq!(book::call(&ctx), 2000);
        assert_eq!(peer.recv(), Ok(Ok(invoice("ada", 1999))));
        assert_eq!(peer.recv(), Ok(Err("`bob` is not CUSTOMER=CENTS".to_owned())));
    }

    /// Each launch runs its task before it returns, on this thread and without worker processes.
    /// Arguments and results are encoded as for a process nevertheless.
    #[test]
    fn letters_are_in_order_and_an_empty_invoice_is_an_error() {
        let _inline = testing::inline();
        let paid = letters(&[invoice("ada", 1999), invoice("bob", 5)]).unwrap();
        assert_eq!(paid, ["Dear ada, please pay 19.99", "Dear bob, please pay 0.05"]);
        let error = letters(&[invoice("ada", 1999), invoice("eve", 0)]).unwrap_err();
        assert!(matches!(error, WaitError::Task { index: 1, .. }), "{error}");
    }

    /// Two weeks pass at once, and only for this supervisor.
    #[test]
    fn reminder_is_sent_after_two_weeks_and_again_if_the_server_fails() {
        static SENT: AtomicU32 = AtomicU32::new(0);
        let sup = Supervisor::builder().build();
        let clock = testing::pause(&sup);
        let task = remind(&sup, invoice("ada", 1999), |_| match SENT.fetch_add(1, Relaxed) {
            0 | 1 => Err("busy".to_owned()),
            _ => Ok(()),
        });
        for (time, attempts) in [(13 * DAY, 0), (DAY, 1), (HOUR, 2), (HOUR, 3), (365 * DAY, 3)] {
            clock.advance(time);
            assert_eq!(SENT.load(Relaxed), attempts, "{task:?}");
        }
        assert_eq!(task.result(), Some(&Ok(())));
    }
}
