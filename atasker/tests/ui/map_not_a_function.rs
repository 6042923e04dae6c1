use atasker::map;

const LIMIT: u32 = 1;

fn main() {
    map!(0..10, LIMIT);
}
