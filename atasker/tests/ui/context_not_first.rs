use atasker::{TaskContext, background_task};

#[background_task(tt = "mp")]
fn work(n: u32, ctx: &TaskContext<u32>) -> u32 {
    n + ctx.recv().unwrap()
}

fn main() {
    let task = work(1);
    task.send(1).unwrap();
    let _: u32 = task.join().unwrap();
}
