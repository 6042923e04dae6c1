use atasker::map;

fn main() {
    map!(0..10, |a: u32, b: u32| a + b);
}
