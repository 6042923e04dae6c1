use atasker::background_worker;
#[derive(serde::Deserialize)]
struct Half(u32);

#[background_worker(event, tt = "mp", process_result = |_| ())]
fn work() -> Half {
    Half(1)
}

fn main() {
    work().trigger();
}
