use atasker::background_task;

trait Works {
    #[background_task]
    fn work(self, n: u32) -> u32;
}

fn main() {}
