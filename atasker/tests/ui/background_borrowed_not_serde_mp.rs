use atasker::background;

struct Point(u32);

fn work(points: &[Point]) -> u32 {
    points[0].0
}

fn main() {
    let points = vec![Point(1)];
    let task = background!(work(&points), tt = "mp");
    let _: u32 = task.join().unwrap();
}
