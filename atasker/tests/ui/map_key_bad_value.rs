use atasker::map;

fn double(n: u32) -> u32 {
    2 * n
}

fn main() {
    map!(0..10, double, priority = "urgent");
    map!(0..10, double, tt = "process");
    map!(0..10, double, name = 5);
    map!(0..10, double, supervisor = "mine");
    map!(0..10, double, tt = "mp", codec = "json");
}
