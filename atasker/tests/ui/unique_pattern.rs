use atasker::background_task;

#[background_task(unique = (a))]
fn work((a, b): (u32, u32)) -> u32 {
    a + b
}

fn main() {
    let _: u32 = work((1, 2)).join().unwrap();
}
