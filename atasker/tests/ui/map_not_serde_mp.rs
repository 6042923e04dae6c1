use atasker::map;

struct Half(u32);

fn half(half: Half) -> u32 {
    half.0
}

fn main() {
    map!([Half(1)], half, tt = "mp");
}
