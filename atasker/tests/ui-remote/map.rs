use atasker::map;

fn double(n: u32) -> u32 {
    2 * n
}

fn main() {
    let _ = map!([1, 2], double, tt = "remote");
}
