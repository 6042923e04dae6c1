use atasker::background;

fn work(path: &str) -> std::io::Result<()> {
    std::fs::remove_file(path)
}

fn main() {
    let task = background!(work("a"), tt = "mp");
    task.join().unwrap().unwrap();
}
