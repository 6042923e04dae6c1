use std::rc::Rc;
use atasker::background;

fn work(names: Rc<Vec<String>>) -> usize {
    names.len()
}

fn main() {
    let names = Rc::new(vec![]);
    let task = background!(work(names));
    let _: usize = task.join().unwrap();
}
