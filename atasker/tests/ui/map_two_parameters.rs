use atasker::map;

fn add(a: u32, b: u32) -> u32 {
    a + b
}

fn main() {
    map!(0..10, add);
}
