use std::rc::Rc;

use atasker::map;

fn main() {
    map(0..10, |n: u32| Rc::new(n));
}
