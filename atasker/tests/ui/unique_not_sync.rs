use atasker::background_task;
use std::cell::Cell;

#[derive(Clone, PartialEq, Eq)]
pub struct Order {
    id: Cell<u64>,
}

impl std::hash::Hash for Order {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.id.get().hash(state);
    }
}

#[background_task(unique = (&order))]
fn work(order: Order) -> u64 {
    order.id.get()
}

fn main() {
    let _: u64 = work(Order { id: Cell::new(1) }).join().unwrap();
}
