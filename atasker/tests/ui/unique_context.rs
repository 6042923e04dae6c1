use atasker::{TaskContext, background_task};

#[background_task(unique = (n, ctx.name().len()))]
fn work(ctx: &TaskContext, n: u32) -> u32 {
    let _ = ctx;
    n
}

fn main() {
    let _: u32 = work(1).join().unwrap();
}
