use atasker::map;

fn one() -> u32 {
    1
}

fn main() {
    map!(0..10, one, tt = "mp");
}
