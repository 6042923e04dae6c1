use std::rc::Rc;

use atasker::scope;

fn main() {
    let shared = Rc::new(1);
    scope(|s| {
        s.spawn(|| println!("{shared}"));
    });
}
