fn main() {
    let number = atasker::supervisor().spawn(|| 1_u32);
    let text = atasker::supervisor().spawn(|| "text");
    let _ = atasker::wait_any!(number, text);
}
