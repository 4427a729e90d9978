//! Shows what the receiver would do with the frames of a scenario, and writes them as they would be sent. Nothing is sent:
//! `cargo run --example plan -- scenarios/martian-sources-are-dropped.toml /tmp/rewritten.pcapng`.

#![expect(clippy::print_stdout, reason = "an example")]

use restage::{Failure, Scenario};

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().unwrap_or("scenarios/martian-sources-are-dropped.toml".into());
    let scenario = Scenario::from_file(path)?;
    for kind in scenario.plan()?.predictions {
        println!("{:>9} {}: {}", kind.frames, kind.what, kind.end);
    }
    if let Some(output) = arguments.next() {
        let written = scenario.rewrite(&output)?.written;
        println!("{written} frames written to {output}");
        println!("{} conversations", restage::inspect(&output)?.conversations.len());
    }
    Ok(())
}
