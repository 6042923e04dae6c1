use atasker::{TaskContext, background_task};

#[background_task]
fn work(ctx: &mut TaskContext<u32>) -> u32 {
    ctx.recv().unwrap()
}

fn main() {
    let task = work();
    task.send(1).unwrap();
    let _: u32 = task.join().unwrap();
}
