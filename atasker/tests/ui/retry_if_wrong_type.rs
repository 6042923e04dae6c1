use atasker::background_task;

fn is_empty(text: &String) -> bool {
    text.is_empty()
}

#[background_task(retries = 3, retry_if = is_empty)]
fn work(n: u32) -> u32 {
    n
}

fn main() {
    let _: u32 = work(1).join().unwrap();
}
