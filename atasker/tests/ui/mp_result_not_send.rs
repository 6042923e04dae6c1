use atasker::background_task;
#[derive(serde::Serialize, serde::Deserialize)]
struct Local(u32, #[serde(skip)] Option<std::rc::Rc<u32>>);

#[background_task(tt = "mp")]
fn work(n: u32) -> Local {
    Local(n, None)
}

fn main() {
    let _: Local = work(1).join().unwrap();
}
