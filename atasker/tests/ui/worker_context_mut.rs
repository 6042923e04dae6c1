use atasker::{WorkerContext, background_worker};

#[background_worker(event)]
fn work(ctx: &mut WorkerContext) {
    let _ = ctx;
}

fn main() {
    work().trigger();
}
