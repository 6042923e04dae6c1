use atasker::{TaskContext, background_worker};

#[background_worker(event)]
fn work(ctx: &TaskContext) {
    let _ = ctx;
}

fn main() {
    let _ = work;
}
