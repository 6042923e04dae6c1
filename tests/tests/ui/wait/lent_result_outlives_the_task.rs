fn main() {
    let task = atasker::supervisor().spawn(String::new);
    let result: &String = atasker::wait_completed!(&task).unwrap();
    drop(task);
    println!("{result}");
}
