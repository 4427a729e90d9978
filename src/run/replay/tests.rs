//! When several machines begin, and when one alone does.

use super::*;

#[test]
fn the_first_deadline_is_ahead_of_the_start() {
    let at = Duration::from_millis;
    // A machine has waited for the start, and makes the first frame ready.
    assert_eq!(anchor(Some((at(500), at(0))), at(501), at(0)), at(500) + LEAD);
    // Its first frame is due later than those of others.
    assert_eq!(anchor(Some((at(500), at(70))), at(501), at(0)), at(570) + LEAD);
    // One that sends alone, at first and after a step.
    assert_eq!(anchor(None, at(500), at(0)), at(500) + LEAD);
    assert_eq!(anchor(None, at(900), at(300)) + at(300), at(900) + LEAD);
}
