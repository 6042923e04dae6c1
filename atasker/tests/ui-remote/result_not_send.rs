use atasker::{Cluster, TaskId, background_task};
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;

#[derive(Serialize, Deserialize)]
struct Local(PhantomData<*const u8>);

#[background_task(tt = "remote")]
fn work() -> Local {
    Local(PhantomData)
}

fn main() {
    work().join().unwrap();
}

fn attach(cluster: &Cluster, id: TaskId) {
    work::attach(cluster, id).unwrap().join().unwrap();
}
