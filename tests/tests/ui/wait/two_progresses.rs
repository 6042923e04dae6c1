fn main() {
    let (a, b) = (atasker::supervisor().spawn(|| 1), atasker::supervisor().spawn(|| 2));
    let _ = atasker::wait_completed!(progress = "one", a, progress = "two");
    let _ = atasker::wait_settled!(b, progress = "one", progress = "two");
}
