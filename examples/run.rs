//! Runs a scenario and prints what became of its packets: `cargo run --example run -- scenarios/martian-sources-are-dropped.toml`.

#![expect(clippy::print_stdout, reason = "an example")]

use restage::{Failure, Options, Scenario};

fn main() -> Result<(), Failure> {
    let path = std::env::args().nth(1).unwrap_or("scenarios/martian-sources-are-dropped.toml".into());
    let outcome = Scenario::from_file(path)?.run(&Options::default())?;
    if let Some(ledger) = &outcome.ledger {
        println!("{} sent, {} lost", ledger.sent, ledger.losses.len());
        for loss in &ledger.losses {
            println!("before {}: {} ({})", loss.stage, loss.cause, loss.why);
        }
    }
    outcome.assert_passed();
    Ok(())
}
