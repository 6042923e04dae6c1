use atasker::background_task;

#[background_task(unique = (user))]
fn work(user_id: u32) -> u32 {
    user_id
}

fn main() {
    let _: u32 = work(1).join().unwrap();
}
