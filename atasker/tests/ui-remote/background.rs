use atasker::background;

fn area(a: u32, b: u32) -> u32 {
    a * b
}

fn main() {
    let _: u32 = background!(area(3, 4), tt = "remote").join().unwrap();
}
