use atasker::background_task;

struct Point(u32);

#[background_task(tt = "remote")]
fn work(point: Point) -> u32 {
    point.0
}

fn main() {
    let _: u32 = work(Point(1)).join().unwrap();
}
