use atasker::map;

fn main() {
    map!(0..10, async |n: u32| 2 * n);
}
