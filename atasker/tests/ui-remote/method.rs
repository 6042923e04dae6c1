use std::sync::Arc;

use atasker::background_task;

#[derive(Default)]
struct Service(u32);

impl Service {
    #[background_task(tt = "remote")]
    fn work(self: Arc<Self>) -> u32 {
        self.0
    }
}

fn main() {
    let service = Arc::new(Service::default());
    let _: u32 = service.work().join().unwrap();
}
