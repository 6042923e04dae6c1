use atasker::background;

fn work(n: u32) -> u32 {
    n
}

fn main() {
    let _: u32 = background!(work(1), backoff = "100ms..30s").join().unwrap();
}
