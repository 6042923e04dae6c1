use atasker::background_worker;

#[background_worker(event, tt = "mp", process_result = |text| println!("{text}"))]
fn work(text: &str) -> &str {
    text
}

fn main() {
    work("x".to_owned()).trigger();
}
