use atasker::map;

fn main() {
    map!(0..10);
}
