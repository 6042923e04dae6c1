use atasker::background_worker;

#[background_worker(event)]
fn work(names: &mut Vec<&str>) {
    names.clear();
}

fn main() {
    work(vec!["x"]).trigger();
}
