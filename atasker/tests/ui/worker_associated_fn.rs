use atasker::background_worker;

struct Service;

impl Service {
    #[background_worker(event)]
    fn work(service: &Self) {
        let _ = service;
    }
}

fn main() {
    Service::work(Service).trigger();
}
