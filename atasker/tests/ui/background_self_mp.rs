use atasker::background;

struct Geometry;

impl Geometry {
    fn area(a: u32, b: u32) -> u32 {
        a * b
    }
    fn square(a: u32) -> u32 {
        background!(Self::area(a, a), tt = "mp").join().unwrap()
    }
}

fn main() {
    Geometry::square(2);
}
