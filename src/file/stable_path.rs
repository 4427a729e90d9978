//! One name for a file, whatever path was given for it and wherever its repository lies. Start at [`stable_path`].

use std::path::Path;

use super::identity::{is_stream, resolved};

/// In the folder that paths are relative to, the nearest one above a file; the first counts more than the second.
const ROOTS: [&str; 2] = ["restage.toml", ".git"];

/// The path of a file from the root of its project: the nearest folder above it that has `restage.toml`, or else `.git`. Symbolic links are
/// followed. Where there is neither, the absolute path; of a stream (`-`, a pipe), the path as it is given.
pub fn stable_path(path: &Path) -> String {
    if is_stream(path) {
        return path.display().to_string();
    }
    let real = resolved(path);
    let folders = || real.ancestors().skip(1);
    let root = ROOTS.iter().find_map(|mark| folders().find(|folder| folder.join(mark).exists()));
    root.and_then(|root| real.strip_prefix(root).ok()).unwrap_or(&real).display().to_string()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_way_to_name_a_file_gives_the_same_path() {
        let folder = std::env::temp_dir().join(format!("restage-stable-path-{}", std::process::id()));
        fs::create_dir_all(folder.join("repository/.git")).unwrap();
        fs::create_dir_all(folder.join("repository/scenarios/dns")).unwrap();
        fs::write(folder.join("repository/scenarios/dns/a.toml"), "").unwrap();
        std::os::unix::fs::symlink("repository/scenarios", folder.join("link")).unwrap();
        for path in
            ["repository/scenarios/dns/a.toml", "./repository/scenarios/../scenarios/dns/a.toml", "link/dns/a.toml"]
        {
            assert_eq!(stable_path(&folder.join(path)), "scenarios/dns/a.toml", "{path}");
        }
        fs::write(folder.join("repository/scenarios/restage.toml"), "").unwrap();
        assert_eq!(stable_path(&folder.join("link/dns/a.toml")), "dns/a.toml");
        assert_eq!(stable_path(&folder.join("link/gone.toml")), "gone.toml", "a file that is not there");
        fs::remove_dir_all(&folder).unwrap();
    }
}
