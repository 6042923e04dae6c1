use std::rc::Rc;

use atasker::map;

fn main() {
    let factor = Rc::new(2);
    map!(0..10, |n: u32| *factor * n);
}
