fn main() {
    let _ = atasker::wait_completed!(42);
}
