use atasker::background_task;
use atasker::TaskContext;

#[background_task(tt = "mp")]
fn work(ctx: &TaskContext<&'static str>) -> u32 {
    ctx.recv().unwrap().len() as u32
}

fn main() {
    let _: u32 = work().join().unwrap();
}
