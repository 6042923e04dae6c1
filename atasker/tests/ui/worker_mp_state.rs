use atasker::background_worker;

#[background_worker(event, tt = "mp")]
fn work(sum: &mut u32) {
    *sum += 1;
}

fn main() {
    work(1).trigger();
}
