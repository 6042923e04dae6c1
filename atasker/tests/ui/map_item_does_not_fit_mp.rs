use atasker::map;

fn length(text: &str) -> usize {
    text.len()
}

fn main() {
    map!([Some("a")], length, tt = "mp");
}
