//! A program for many machines, developed without a broker: the cluster is in this process, with two
//! nodes, one of which freezes in the middle of a run.
//!
//! ```text
//! cargo run --example in_memory
//! ```
//!
//! To leave the process, replace `Cluster::in_memory()` by `Nats::new(url).connect()?`, and start the
//! nodes on other machines. The functions remain as they are: see the example `cluster`.

use std::error::Error;

use atasker::{
    Cluster, MpPoolConfig, NodeConfig, TaskContext, background_task, supervisor, wait_completed,
};

/// Multiplies the words of a text by a number that it receives.
#[background_task(tt = "remote")]
fn weigh(ctx: &TaskContext<u64, String>, text: &str) -> u64 {
    let words = text.split_whitespace().count() as u64;
    let _ = ctx.send(format!("{words} words"));
    // A message that an attempt has not taken goes to the next one.
    ctx.recv().map_or(0, |weight| words * weight)
}

/// Fails for an empty text.
#[background_task(tt = "remote", retries = 2)]
fn first_word(text: &str) -> Result<String, String> {
    text.split_whitespace().next().map(str::to_owned).ok_or_else(|| "no words".to_owned())
}

fn main() -> Result<(), Box<dyn Error>> {
    let cluster = Cluster::in_memory();
    for name in ["north", "south"] {
        // A member of the cluster for each node, as if it were another process.
        cluster.member(name).serve(NodeConfig::new(MpPoolConfig::new(2)).name(name))?;
    }
    supervisor().join_cluster(&cluster);

    // The broker loses a tenth of all messages and acknowledgments. Each call has one outcome.
    let faults = cluster.faults();
    faults.lose(0.1);
    let words: Vec<_> = (0..50).map(|n| first_word(&format!("{n} bottles"))).collect();
    let words = wait_completed!(words)?.into_iter().collect::<Result<Vec<_>, _>>()?;
    println!("first words: {} .. {}", words[0], words[49]);
    faults.end();

    // A node freezes after a run has begun. The run begins anew on the other node, as soon as nothing
    // was heard of the frozen one for ten seconds.
    let task = weigh("to be or not to be");
    println!("begun: {}", task.recv()?);
    let frozen = task.info().node.ok_or("the task runs on a node")?;
    faults.freeze_node(&frozen);
    task.send(7)?;
    println!("begun again: {}", task.recv()?);
    let info = task.info();
    println!("weight {}, after {} loss", task.join()?, info.losses);
    assert_ne!(info.node, Some(frozen.clone()));
    // When it is thawed, its run is ended, and what that run returns is refused.
    faults.thaw_node(&frozen);

    // What fails for good is kept, with its arguments.
    let failed = first_word("");
    let id = failed.id();
    println!("failed: {:?}", failed.join()?);
    let letters = cluster.dead_letters()?;
    assert_eq!(letters.iter().map(|letter| letter.id).collect::<Vec<_>>(), [id]);
    println!("dead letters: {}", letters.len());
    cluster.drop_dead(id)?;
    Ok(())
}
