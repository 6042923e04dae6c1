use atasker::{ScopedTask, scope};

fn main() {
    let mut kept: Vec<ScopedTask<'_, usize>> = Vec::new();
    let text = String::from("borrowed");
    scope(|s| kept.push(s.spawn(|| text.len())));
}
