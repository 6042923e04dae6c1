use atasker::background_worker;

struct Service;

impl Service {
    #[background_worker(event)]
    fn work(&self) {}
}

fn main() {
    let service = Service;
    service.work().trigger();
}
