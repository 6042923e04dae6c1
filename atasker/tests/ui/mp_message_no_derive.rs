use atasker::{TaskContext, background_task};
struct Step(u32);

#[background_task(tt = "mp")]
fn work(ctx: &TaskContext<(), Step>, n: u32) {
    ctx.send(Step(n)).unwrap();
}

fn main() {
    let step = work(1).recv().unwrap();
    let _: u32 = step.0;
}
