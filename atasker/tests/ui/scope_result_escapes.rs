use atasker::scope;

fn main() {
    let text = String::from("borrowed");
    let task = scope(|s| s.spawn(|| text.len()));
    task.join().unwrap();
}
