use atasker::background_task;

struct Service;

impl Service {
    #[background_task(tt = "remote")]
    fn work(n: u32) -> u32 {
        n
    }
}

fn main() {
    let _: u32 = Service::work(1).join().unwrap();
}
