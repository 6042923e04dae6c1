fn main() {
    let t = || atasker::supervisor().spawn(|| 1);
    let _ = atasker::wait_completed!(
        t(), t(), t(), t(), t(), t(), t(), t(), t(), t(), t(), t(), t()
    );
}
