fn main() {
    let task = atasker::supervisor().spawn(|| 1);
    let second = std::time::Duration::from_secs(1);
    let _ = atasker::wait_any!(task, timeout = second, progress = "indexing");
}
