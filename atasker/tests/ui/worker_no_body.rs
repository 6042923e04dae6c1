use atasker::background_worker;

trait Service {
    #[background_worker]
    fn work();
}

fn main() {}
