use atasker::background_worker;

#[background_worker]
struct Work;

fn main() {
    let _ = Work;
}
