//! What no collector can decode: records of flow exports whose template comes later or never, or whose template's id is used twice.
//!
//! Start at [`flow_notes`].

use super::Plan;
use super::stream::Stream;
use crate::diagnostic::{Diagnostic, Result};
use crate::figures::{agree, count};
use crate::flow::{FlowExporter, FlowExports, Flows};
use crate::scenario::Scenario;

/// How many exporters each note names.
const NAMED: usize = 4;

/// Notes about the flow exports of a scenario as they are sent: one more pass over its capture, where there are any.
///
/// # Errors
/// A capture that can't be read.
pub fn flow_notes(scenario: &Scenario, plan: &Plan) -> Result<Vec<Diagnostic>> {
    if !plan.survey.may_have_flows {
        return Ok(Vec::new());
    }
    let mut stream = Stream::open(scenario, &plan.rewriter, &plan.medium)?;
    let mut flows = Flows::of_definitions();
    let mut left = plan.frames();
    while left > 0
        && let Some(frame) = stream.next_frame()?
    {
        left -= 1;
        flows.add(frame.number, &frame.layers, frame.bytes, |_| {});
    }
    let span = scenario.capture.files.span();
    Ok(notes(&flows.finish()).into_iter().map(|note| note.at(&scenario.source, span.clone())).collect())
}

fn notes(exports: &FlowExports) -> Vec<Diagnostic> {
    [late(exports), absent(exports), reused(exports)].into_iter().flatten().collect()
}

/// Records before their template.
fn late(exports: &FlowExports) -> Option<Diagnostic> {
    let Missing { sets, who } = Missing::of(exports, true);
    (sets > 0).then(|| {
        Diagnostic::warning(format!(
            "{} of flow records {} before {} template, and no collector can decode {}",
            count(sets, "set"),
            agree(sets, "comes", "come"),
            agree(sets, "its", "their"),
            agree(sets, "it", "them"),
        ))
        .why(format!("over UDP, a collector knows a template when it has read it (RFC 7011 §8.4): {who}"))
        .fix("`[rewrite.flows] templates = \"first\"` sends the templates before the first message of each exporter")
    })
}

/// Records without a template.
fn absent(exports: &FlowExports) -> Option<Diagnostic> {
    let Missing { sets, who } = Missing::of(exports, false);
    (sets > 0).then(|| {
        Diagnostic::warning(format!(
            "{} of flow records {} no template, and no collector can decode {}",
            count(sets, "set"),
            agree(sets, "has", "have"),
            agree(sets, "it", "them"),
        ))
        .why(format!("no frame that is sent has a definition that can be kept: {who}"))
        .fix("`[rewrite.flows] templates = \"first\"` sends those of frames that are not selected, and with `from` those of another capture")
    })
}

/// Ids that are defined again with other fields.
fn reused(exports: &FlowExports) -> Option<Diagnostic> {
    let mut found = Names::default();
    for exporter in &exports.exporters {
        for template in exporter.templates.iter().filter(|template| template.changes > 0) {
            found.add(|| format!("template {} of {}", template.id, name(exporter)));
        }
    }
    (found.all > 0).then(|| {
        Diagnostic::note(format!(
            "{} defined again with other fields",
            if found.all == 1 { "a template is".to_owned() } else { format!("{} are", count(found.all, "template")) }
        ))
        .why(format!(
            "a collector that doesn't get the new definition, or that takes two exporters for one, decodes the records behind it with the wrong \
             fields: {}",
            found.shown()
        ))
    })
}

/// Sets whose template is missing.
struct Missing {
    sets: u64,
    /// Which, of whom, and where the first one is.
    who: String,
}

impl Missing {
    /// Those whose template comes later, or those whose template never comes.
    fn of(exports: &FlowExports, comes: bool) -> Self {
        let (mut sets, mut who) = (0, Names::default());
        for exporter in &exports.exporters {
            for missing in exporter.undecodable.iter().filter(|missing| missing.template_comes.is_some() == comes) {
                let Some(template) = missing.template else { continue };
                sets += missing.sets;
                let needed = missing.first;
                who.add(|| {
                    let defined = missing.template_comes.map(|frame| format!(", defined in frame {frame}"));
                    let of = name(exporter);
                    format!("template {template} of {of}, needed in frame {needed}{}", defined.unwrap_or_default())
                });
            }
        }
        let mut who = who.shown();
        if exports.unlisted_undecodable > 0 {
            let sets = count(exports.unlisted_undecodable, "more set");
            who = format!("{who}; {sets} can't be decoded either, beyond the limit of those that are listed");
        }
        Self { sets, who }
    }
}

fn name(exporter: &FlowExporter) -> String {
    format!("{} (domain {})", exporter.address, exporter.domain)
}

/// The first of many, by name, and how many there are.
#[derive(Default)]
struct Names {
    first: Vec<String>,
    all: u64,
}

impl Names {
    fn add(&mut self, name: impl FnOnce() -> String) {
        self.all += 1;
        if self.first.len() < NAMED {
            self.first.push(name());
        }
    }

    fn shown(&self) -> String {
        let more = self.all - self.first.len() as u64;
        let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
        format!("{}{rest}", self.first.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::diagnostic::{Style, render};
    use crate::plan::{Facts, plan};
    use crate::scenario::pacing::Limit;

    fn told(scenario: &str, change: impl Fn(&mut Scenario)) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(scenario);
        let mut scenario = crate::Scenario::from_file(&path).expect("it is valid");
        change(&mut scenario);
        let plan = plan(&scenario, Facts::default()).expect("it can be planned");
        let notes = flow_notes(&scenario, &plan).expect("it can be read");
        render(&notes, Style::Plain).replace(&format!("{}/", path.parent().expect("a folder").display()), "")
    }

    #[test]
    fn records_before_their_template_are_named_until_it_is_sent_first() {
        insta::assert_snapshot!(told("flows-before-their-template-are-not-stored.toml", |_| {}));
        assert_eq!(told("templates-that-are-sent-first-save-their-flows.toml", |_| {}), "");
    }

    #[test]
    fn what_a_limit_keeps_from_being_sent_is_no_template_that_comes() {
        let most = |frames| {
            told("flows-before-their-template-are-not-stored.toml", |scenario| {
                scenario.pacing.limit = Some(crate::diagnostic::At::default_value(Limit::Packets(frames)));
            })
        };
        assert!(most(20).contains("come before their template"), "frame 21 has the templates");
        let told = most(9);
        assert!(told.contains("12 sets of flow records have no template"), "{told}");
        assert!(!told.contains("come before"), "{told}");
    }

    #[test]
    fn records_whose_template_never_comes_are_named() {
        let told = told("flows-before-their-template-are-not-stored.toml", |scenario| {
            scenario.capture.frames.as_mut().expect("it has some").value = "2-10".parse().expect("frame numbers");
        });
        insta::assert_snapshot!(told);
    }
}
