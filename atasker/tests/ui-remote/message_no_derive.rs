use atasker::{TaskContext, background_task};

struct Frame(u32);

#[background_task(tt = "remote")]
fn work(ctx: &TaskContext<(), Frame>, n: u32) {
    let _ = ctx.send(Frame(n));
}

fn main() {
    work(1).join().unwrap();
}
