fn main() {
    let _ = atasker::wait_settled!(vec!["a", "b"]);
}
