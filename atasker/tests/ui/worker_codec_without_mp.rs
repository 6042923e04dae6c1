use atasker::background_worker;

#[background_worker(codec = "msgpack")]
fn work() {}

fn main() {
    let worker = work();
    worker.start();
}
