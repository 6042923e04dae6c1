use atasker::background_worker;
#[derive(serde::Serialize, serde::Deserialize)]
struct Local(u32, #[serde(skip)] Option<std::rc::Rc<u32>>);

#[background_worker(event, tt = "mp")]
fn work(n: u32, local: &Local) {
    let _ = n + local.0;
}

fn main() {
    work(1, Local(1, None)).trigger();
}
