use atasker::background_task;
struct Point(u32);

#[background_task(tt = "mp")]
fn work(n: u32) -> Point {
    Point(n)
}

fn main() {
    let _: Point = work(1).join().unwrap();
}
