use atasker::map;

fn main() {
    map!();
}
