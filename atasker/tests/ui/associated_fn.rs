use std::sync::Arc;

use atasker::background_task;

#[derive(Default)]
struct Service(u32);

impl Service {
    #[background_task]
    fn work(service: Arc<Self>) -> u32 {
        service.0
    }
}

fn main() {
    let service = Arc::new(Service::default());
    let _: u32 = Service::work(service).join().unwrap();
}
