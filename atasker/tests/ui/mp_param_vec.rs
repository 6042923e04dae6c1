use atasker::background_task;
struct Point(u32);

#[background_task(tt = "mp")]
fn work(points: Vec<Point>) -> u32 {
    points[0].0
}

fn main() {
    let _: u32 = work(vec![Point(1)]).join().unwrap();
}
