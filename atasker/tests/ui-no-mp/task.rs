use atasker::{TaskContext, background_task};

#[background_task]
fn thread(n: u32) -> u32 {
    n
}

#[background_task(priority = "low", tt = "mp")]
fn process(_: &TaskContext<u8>, text: &str, n: u32) -> Result<u32, String> {
    Ok(text.len() as u32 + n)
}

fn main() {
    thread(1).join().unwrap();
    let _: u32 = process("a", 1).join().unwrap().unwrap();
    let _: u32 = process::call(&TaskContext::detached(), "a", 1).unwrap();
}
