use atasker::background_task;
use atasker::TaskContext;

#[derive(serde::Deserialize)]
struct Half(u32);

#[background_task(tt = "mp")]
fn work(ctx: &TaskContext<Half>) -> u32 {
    ctx.recv().unwrap().0
}

fn main() {
    let _: u32 = work().join().unwrap();
}
