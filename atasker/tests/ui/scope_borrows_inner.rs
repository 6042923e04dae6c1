use atasker::scope;

fn main() {
    scope(|s| {
        let inner = String::from("declared in the scope");
        s.spawn(|| println!("{inner}"));
    });
}
