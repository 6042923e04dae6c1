use atasker::background;

fn work(weight: f64) -> f64 {
    weight
}

fn main() {
    let weight = 1.5;
    let _: f64 = background!(work(weight), unique = (weight)).join().unwrap();
}
