use atasker::background_task;

#[derive(PartialEq, Eq, Hash)]
pub struct Order {
    id: u64,
}

#[background_task(unique = (order))]
fn work(order: Order) -> u64 {
    order.id
}

fn main() {
    let _: u64 = work(Order { id: 1 }).join().unwrap();
}
