use atasker::{WorkerContext, background_worker};

#[background_worker(event)]
fn work(n: u32, ctx: &WorkerContext) {
    let _ = (n, ctx);
}

fn main() {
    work(1).trigger();
}
