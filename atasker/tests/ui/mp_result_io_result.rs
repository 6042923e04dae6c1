use atasker::background_task;

#[background_task(tt = "mp")]
fn work(path: String) -> std::io::Result<()> {
    std::fs::remove_file(path)
}

fn main() {
    work("a".into()).join().unwrap().unwrap();
}
