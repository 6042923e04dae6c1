use atasker::background_worker;

#[background_worker(tt = "thread")]
async fn work() {}

fn main() {
    let worker = work();
    worker.start();
}
