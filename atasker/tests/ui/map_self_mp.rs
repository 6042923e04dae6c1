use atasker::map;

struct Calculator;

impl Calculator {
    fn double(n: u32) -> u32 {
        2 * n
    }

    fn all() {
        map!(0..10, Self::double, tt = "mp");
    }
}

fn main() {
    Calculator::all();
}
