use atasker::map;

fn main() {
    map!(0..10, |n: u32| 2 * n, tt = "mp");
}
