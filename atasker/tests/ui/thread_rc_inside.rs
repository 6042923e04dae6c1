use std::rc::Rc;
use atasker::background_task;
struct Names { list: Vec<Rc<str>> }

#[background_task]
fn work(names: Names) -> usize {
    names.list.len()
}

fn main() {
    let _: usize = work(Names { list: vec![] }).join().unwrap();
}
