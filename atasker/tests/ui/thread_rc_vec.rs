use std::rc::Rc;
use atasker::background_task;

#[background_task]
fn work(names: Vec<Rc<str>>) -> usize {
    names.len()
}

fn main() {
    let _: usize = work(vec![]).join().unwrap();
}
