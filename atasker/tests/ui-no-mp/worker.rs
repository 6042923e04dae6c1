use atasker::{QueueWorker, WorkerContext, background_worker};

#[background_worker(queue, tt = "mp", process_result = |n| println!("{n}"))]
fn work(_: &WorkerContext, item: u32, text: &str) -> u32 {
    item + text.len() as u32
}

fn main() {
    let worker: QueueWorker<u32> = work("a".to_owned());
    worker.start();
}
