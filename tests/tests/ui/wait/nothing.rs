fn main() {
    let _ = atasker::wait_completed!();
    let _ = atasker::wait_any!(timeout = std::time::Duration::ZERO);
}
