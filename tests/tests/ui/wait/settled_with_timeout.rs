fn main() {
    let task = atasker::supervisor().spawn(|| 1);
    let _ = atasker::wait_settled!(task, timeout = std::time::Duration::ZERO);
}
