use atasker::map;

fn double(n: u32) -> u32 {
    2 * n
}

fn main() {
    map!(0..10, double, timeout = "5s");
}
