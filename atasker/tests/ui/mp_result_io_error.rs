use atasker::background_task;

#[background_task(tt = "mp")]
fn work(path: String) -> Result<(), std::io::Error> {
    std::fs::remove_file(path)
}

fn main() {
    work("a".into()).join().unwrap().unwrap();
}
