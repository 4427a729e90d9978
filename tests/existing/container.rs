//! Containers of a real Docker engine. Start at [`trials`].

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    Vec::new()
}
