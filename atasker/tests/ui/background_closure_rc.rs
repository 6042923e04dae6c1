use atasker::background;
use std::rc::Rc;

fn main() {
    let names = Rc::new(vec![1, 2]);
    let task = background!(|| names.len());
    let _: usize = task.join().unwrap();
}
