use atasker::{Cluster, TaskId, background_task};

#[background_task(tt = "remote")]
fn work<T: Into<u32>>(n: T) -> u32 {
    n.into()
}

fn main() {
    let _: u32 = work(1u8).join().unwrap();
}

fn attach(cluster: &Cluster, id: TaskId) -> u32 {
    work::attach(cluster, id).unwrap().join().unwrap()
}
