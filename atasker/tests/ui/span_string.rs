use atasker::background_task;

#[background_task(span = "off")]
fn resize() {}

fn main() {
    let _ = resize();
}
