use atasker::map;

fn length(text: &str) -> usize {
    text.len()
}

fn main() {
    map!([1, 2], length);
}
