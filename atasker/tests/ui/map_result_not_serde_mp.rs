use atasker::map;

struct Half(#[allow(dead_code)] u32);

fn half(n: u32) -> Half {
    Half(n)
}

fn main() {
    map!(0..10, half, tt = "mp");
}
