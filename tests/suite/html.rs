//! The HTML report in a real browser: its script runs, its links and filters work, and nothing that a scenario or an application wrote does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::small::{capture, datagrams, scenario};
use crate::common::{User, both, browser, fresh_folder, restage, users};

/// Runs the browser, which ends by itself.
fn browse(browser: &str, arguments: &[&str], url: &str) -> String {
    let profile = fresh_folder("browser");
    let output = Command::new("timeout")
        .args(["--kill-after=5", "60", browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
        .arg(format!("--user-data-dir={}", profile.display()))
        // What a script does later is waited for; time is virtual.
        .arg("--virtual-time-budget=2000")
        .args(arguments)
        .arg(url)
        .env("HOME", &profile)
        .output()
        .expect("timeout runs");
    assert!(output.status.success(), "{}", both(&output));
    fs::remove_dir_all(&profile).ok();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The page as it is when its script has run.
fn opened(browser: &str, page: &Path, rest: &str) -> String {
    browse(browser, &["--dump-dom"], &format!("file://{}{rest}", page.display()))
}

/// The beginning of each scenario's element, which has its attributes.
fn cards(dom: &str) -> Vec<&str> {
    dom.split("<details ").skip(1).map(|rest| rest.split_once('>').expect("a tag ends").0).collect()
}

fn card<'a>(dom: &'a str, id: &str) -> &'a str {
    let id = format!("id=\"{id}\"");
    cards(dom).into_iter().find(|card| card.contains(&id)).expect("the scenario is there")
}

const HOSTILE: &str = "\"'><img src=x onerror=\"document.title=1\"></pre></script><script>document.title=2</script>";

/// A report of scenarios that pass, fail and are skipped, with everything that shows in it; one is hostile wherever it can be.
fn report() -> PathBuf {
    let folder = scenario(&capture(&datagrams(40), 1000), "");
    fs::create_dir(folder.join(".git")).expect("it can be made");
    let lines = |lines: &[&str]| lines.join("\n") + "\n";
    let map = "[rewrite.source]\nip = { \"10.44.1.0/24\" = \"192.0.2.0/24\" }";
    let capture = "[capture]\nfile = \"in.pcap\"";
    let hostile = HOSTILE.replace('\\', "\\\\").replace('"', "\\\"");
    let command = format!(
        "[receiver]\ncommand = [\"sh\", \"-c\", \"printf '%s' \\\"$0\\\"; exec sleep 60\", \"{hostile}\"]\nlistens = []"
    );
    for (name, text) in [
        ("pass", lines(&["format = 1", "tags = [\"udp\", \"smoke\"]", "summary = \"All of them\"", capture, map])),
        (
            "fail",
            lines(&["format = 1", "tags = [\"udp\"]", capture, "[lab]\nroutes = []\naddresses = [\"192.0.2.20/24\"]"]),
        ),
        ("skipped", lines(&["format = 1", capture, "[require]\ncommands = [\"no-such-program\"]"])),
        (
            &HOSTILE.replace('/', "|"),
            lines(&["format = 1", &format!("summary = \"{hostile}\""), capture, &command, "[expect]\narrived = 41"]),
        ),
    ] {
        fs::write(folder.join(format!("{name}.toml")), text).expect("it can be written");
    }
    fs::remove_file(folder.join("s.toml")).expect("it is there");
    let mut command = restage(*users().last().unwrap_or(&User::Caller));
    command.current_dir(&folder).args(["run", ".", "--jobs", "4", "--report-html", "report.html"]);
    let output = command.output().expect("restage runs");
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    folder.join("report.html")
}

#[test]
fn a_report_opens_in_a_browser() {
    let (Some(browser), Some(_)) = (browser(), users().last()) else { return };
    let page = report();
    let dom = opened(browser, &page, "");
    assert!(dom.contains(">4 of 4 shown</span>"), "the script has run: {dom}");
    assert!(!dom.contains("<form id=\"filters\" hidden"), "the filters are there: {dom}");
    let text = fs::read_to_string(&page).expect("it is there");
    for shown in
        ["<h2>Ledger</h2>", "<h2>Over time</h2>", "<h2>Lateness</h2>", "<h2>Rewriting</h2>", "<h2>Application</h2>"]
    {
        assert!(text.contains(shown) && dom.contains(shown), "{shown}");
    }
    assert!(
        dom.contains(
            "<td><code>10.44.1.0/24</code></td><td><code>192.0.2.0/24</code></td><td class=\"number\">40</td>"
        )
    );
    assert!(
        dom.contains("<title>restage: 4 scenarios: 1 passed, 2 failed, 1 skipped in "),
        "nothing has set another title: {dom}"
    );
    assert!(!dom.contains("<img"), "nothing that was written is HTML: {dom}");
    assert_eq!(dom.matches("<script").count(), 1);
    assert!(dom.contains("onerror=\"document.title=1\"&gt;&lt;/pre&gt;"), "the output is shown as it is: {dom}");

    // A link opens its scenario.
    assert!(!card(&dom, "pass").contains("open"));
    assert!(card(&opened(browser, &page, "#pass"), "pass").contains("open"));

    // Links with filters, and one to a scenario that they hide.
    let visible = |rest: &str| {
        let dom = opened(browser, &page, rest);
        cards(&dom).iter().filter(|card| !card.contains("hidden")).count()
    };
    assert_eq!(visible("?verdict=pass,skipped"), 2);
    assert_eq!(visible("?tag=udp"), 2);
    assert_eq!(visible("?tag=udp&verdict=fail"), 1);
    assert_eq!(visible("?text=no-such-program%20SKIPPED"), 1);
    assert_eq!(visible("?text=nothing%20has%20this"), 0);
    assert_eq!(visible("?verdict=fail#pass"), 4, "the filters make way for the scenario that is linked to");
}

/// The pictures are in the temporary folder of cargo, to be looked at.
#[test]
fn a_report_is_drawn_on_a_phone_and_on_a_desktop_in_light_and_in_dark() {
    let (Some(browser), Some(_)) = (browser(), users().last()) else { return };
    let page = report();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
    fs::create_dir_all(&folder).expect("it can be made");
    let mut pictures = Vec::new();
    for (width, screen) in [(390, "phone"), (1200, "desktop")] {
        for (scheme, number) in [("dark", 0), ("light", 1)] {
            let picture = folder.join(format!("{screen}-{scheme}.png"));
            let arguments = [
                format!("--window-size={width},2000"),
                format!("--blink-settings=preferredColorScheme={number}"),
                format!("--screenshot={}", picture.display()),
            ];
            browse(browser, &arguments.each_ref().map(String::as_str), &format!("file://{}", page.display()));
            pictures.push(fs::read(&picture).expect("a picture was made"));
        }
    }
    for picture in &pictures {
        assert!(picture.len() > 50_000, "a page without text takes 8 KB, this picture {}", picture.len());
        assert_eq!(pictures.iter().filter(|other| *other == picture).count(), 1, "each is another one");
    }
}
