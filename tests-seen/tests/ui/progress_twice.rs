fn main() {
    let task = atasker::supervisor().spawn(|| 1);
    let _ = atasker::wait_completed!(task, progress = "one", progress = "two");
}
