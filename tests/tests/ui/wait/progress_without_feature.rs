fn main() {
    let (a, b) = (atasker::supervisor().spawn(|| 1), atasker::supervisor().spawn(|| 2));
    let _ = atasker::wait_completed!(a, progress = "indexing");
    let _ = atasker::wait_settled!(b, progress = "indexing");
}
