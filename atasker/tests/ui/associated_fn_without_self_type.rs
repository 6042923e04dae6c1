use std::sync::Arc;

use atasker::background_task;

#[derive(Default)]
struct Service(u32);

impl Service {
    #[background_task]
    fn work(n: u32) -> u32 {
        n
    }
}

fn main() {
    let service = Arc::new(Service::default());
    let _: u32 = Service::work(service.0).join().unwrap();
}
