use atasker::background_task;

#[background_task]
fn work<T: ToString>(n: T) -> u32 {
    n.to_string().len() as u32
}

fn main() {
    let _: u32 = work(1).join().unwrap();
}
