use atasker::{WorkerContext, background_worker};

#[background_worker(queue)]
fn work(ctx: &WorkerContext) {
    let _ = ctx;
}

fn main() {
    let _ = work();
}
