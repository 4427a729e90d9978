//! A key that is set beside the file (`--set`), as a line of TOML. Start at [`line`].

use toml::de::DeTable;

/// What a line from a command line ends with, in the text that messages show.
const FROM_COMMAND_LINE: &str = "# --set";

/// A line of TOML; `None` where the key is none. A value that is no TOML is a string.
pub(super) fn line(key: &str, value: &str) -> Option<String> {
    let as_written = format!("{key} = {value}");
    let one_key =
        |line: &str| DeTable::parse(line).is_ok_and(|table| table.get_ref().len() == 1) && !line.contains('\n');
    if one_key(&as_written) {
        return Some(as_written);
    }
    let as_text = format!("{key} = {}", super::quoted(value));
    one_key(&as_text).then_some(as_text)
}

pub(super) fn ending(line: &str) -> String {
    format!("{line}  {FROM_COMMAND_LINE}\n")
}
