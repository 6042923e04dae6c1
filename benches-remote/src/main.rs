//! Tasks on other machines beside their peers.
mod bare;
mod figures;
mod ours;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg = |n: usize| args[n].as_str();
    let number = |n: usize| args[n].parse::<u64>().expect("a number");
    match arg(0) {
        "node" => ours::node(arg(1), arg(2), number(3) as usize),
        "rate" => ours::rate(arg(1), number(2)),
        "trips" => ours::round_trips(arg(1), number(2)),
        "bare-node" => bare::node(arg(1)),
        "bare-rate" => bare::rate(arg(1), number(2)),
        "bare-trips" => bare::round_trips(arg(1), number(2)),
        other => panic!("{other}"),
    }
}
