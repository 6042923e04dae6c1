fn main() {
    let name = String::from("indexing");
    let task = atasker::supervisor().spawn(|| 1);
    let _ = task.show_progress(name.as_str()).join();
}
