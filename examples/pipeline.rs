//! A pipeline of two queues, with limits for each tenant.
//!
//! ```text
//! cargo run --release --example pipeline -- acme=40 globex=4
//! ```
//!
//! ```text
//! orders ──> render: 2 at once for a tenant ──> letters ──> deliver: 50 per second for a tenant
//! ```
//!
//! `orders` and `letters` are background workers with a queue. They don't wait for the tasks that
//! they launch, so a task that waits for the limit of its tenant delays no other tenant. It occupies
//! no thread either. Here, the few letters of `globex` arrive long before the last of `acme`,
//! although they were ordered after all of those.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use atasker::{
    KeyedLimit, PoolConfig, QueueWorker, StopOptions, TaskContext, background_task,
    background_worker, supervisor,
};

/// At most two letters of a tenant are rendered at once.
static RENDER: KeyedLimit<String> = KeyedLimit::concurrency(2);
/// The mail server of a tenant accepts 50 letters per second, and ten at once after a pause.
static DELIVER: KeyedLimit<String> = KeyedLimit::rate(50, Duration::from_secs(1)).burst(10);

/// How many letters of each tenant are being rendered, and the most that there were.
static RENDERING: Mutex<BTreeMap<String, (usize, usize)>> = Mutex::new(BTreeMap::new());

#[derive(Clone)]
struct Order {
    tenant: String,
    number: u64,
}

#[derive(Clone)]
struct Letter {
    order: Order,
    text: String,
}

/// The end of an order, in either stage.
struct Receipt {
    order: Order,
    result: Result<(), String>,
}

/// Has the letter of an order rendered. High priority, because it only launches a task.
#[background_worker(queue, priority = "high")]
fn orders(order: Order, letters: &QueueWorker<Letter>, receipts: &Sender<Receipt>) {
    let (letters, receipts) = (letters.clone(), receipts.clone());
    let task = render::builder(order.clone()).limit(RENDER.key(&order.tenant));
    let task = task.on_complete(move |outcome| match outcome {
        Ok(letter) => letters.put(letter.clone()).expect("the worker is active"),
        Err(error) => {
            let _ = receipts.send(Receipt { order, result: Err(error.to_string()) });
        }
    });
    task.start().detach();
}

/// Renders a letter, and seals it.
#[background_task]
fn render(order: Order) -> Letter {
    let count = |change: fn(&mut (usize, usize))| {
        change(RENDERING.lock().unwrap().entry(order.tenant.clone()).or_default());
    };
    count(|(now, most)| (*now, *most) = (*now + 1, (*most).max(*now + 1)));
    let text = format!("Dear {}, this is letter {}.", order.tenant, order.number);
    let mut seal = blake3::hash(text.as_bytes());
    for _ in 0..5_000 {
        seal = blake3::hash(seal.as_bytes());
    }
    count(|(now, _)| *now -= 1);
    Letter { order, text: format!("{text} Seal: {seal}") }
}

/// Has a letter delivered.
#[background_worker(queue, priority = "high")]
fn letters(letter: Letter, receipts: &Sender<Receipt>) {
    let (order, receipts) = (letter.order.clone(), receipts.clone());
    let task = deliver::builder(letter).limit(DELIVER.key(&order.tenant));
    let task = task.on_complete(move |outcome| {
        let result = match outcome {
            Ok(result) => result.clone(),
            Err(error) => Err(error.to_string()),
        };
        let _ = receipts.send(Receipt { order, result });
    });
    task.start().detach();
}

/// Delivers a letter. Every tenth is refused the first time; each attempt counts for the limit.
#[background_task(retries = 3, backoff = "50ms..1s")]
async fn deliver(ctx: TaskContext, letter: Letter) -> Result<(), String> {
    if letter.order.number.is_multiple_of(10) && ctx.attempt() == 1 {
        return Err("the server is busy".to_owned());
    }
    println!("{}", letter.text);
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut wanted: Vec<String> = std::env::args().skip(1).collect();
    if wanted.is_empty() {
        wanted = vec!["acme=40".into(), "globex=4".into()];
    }
    supervisor().set_thread_pool(PoolConfig::new(8).reserve_high(2));
    let (sender, receipts) = channel();
    let letters = letters(sender.clone());
    let orders = orders(letters.clone(), sender);
    letters.start();
    orders.start();

    let mut total = 0;
    for tenant in &wanted {
        let (tenant, count) = tenant.split_once('=').ok_or("write TENANT=LETTERS")?;
        for number in 1..=count.parse()? {
            orders.put(Order { tenant: tenant.to_owned(), number })?;
            total += 1;
        }
    }

    // The number of letters of each tenant, and the place of the last one among all.
    let mut delivered: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (index, Receipt { order, result }) in receipts.iter().take(total).enumerate() {
        match result {
            Ok(()) => {
                let (count, last) = delivered.entry(order.tenant).or_default();
                (*count, *last) = (*count + 1, index + 1);
            }
            Err(error) => eprintln!("{} {}: {error}", order.tenant, order.number),
        }
    }
    supervisor().stop(StopOptions::new());
    for (tenant, (count, last)) in delivered {
        let most = RENDERING.lock().unwrap()[&tenant].1;
        println!("{tenant}: {count} delivered, the last as {last} of {total}, {most} at once");
    }
    Ok(())
}
