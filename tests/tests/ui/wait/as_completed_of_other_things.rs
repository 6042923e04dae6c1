fn main() {
    for _ in atasker::as_completed(vec![1, 2]) {}
}
