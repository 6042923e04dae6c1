use atasker::background_task;

#[background_task(tt = "remote")]
fn work(n: &mut u32) {
    *n += 1;
}

fn main() {
    work(&mut 1).join().unwrap();
}
