use atasker::background_task;

#[background_task]
struct Work;

fn main() {
    let _ = Work;
}
