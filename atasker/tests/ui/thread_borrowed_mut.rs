use atasker::background_task;

#[background_task]
fn work(n: &mut u32) -> u32 {
    *n
}

fn main() {
    let _: u32 = work(&mut 1).join().unwrap();
}
