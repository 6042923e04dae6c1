use atasker::map;

fn length(text: &str) -> usize {
    text.len()
}

fn main() {
    let on_threads = map!(["a"], length);
    let in_processes = map!(["a"], length, tt = "mp");
    assert_eq!(on_threads, in_processes);
}
