//! What came back, set against what was asked. Start at [`account`].

use std::collections::BTreeMap;

use crate::evidence::{Evidence, Replies};
use crate::figures::count;
use crate::outcome::{self, IcmpErrors};
use crate::packet::exchange::Came;
use crate::plan::{Plan, Question, Questions};

/// What came back, in figures; `None` where nothing did and nothing is expected. Where the plan has no questions, their number is not known.
pub fn account(plan: &Plan, evidence: &Evidence) -> Option<outcome::Replies> {
    let replies = evidence.replies.as_ref().filter(|replies| plan.questions.is_some() || came(replies))?;
    let unseen = unseen(replies);
    let why = unseen.clone().or_else(|| match &plan.questions {
        Some(questions) => unmatched(questions, replies),
        None => {
            Some("nothing is expected of the replies, and the capture is too long to look for its questions".to_owned())
        }
    });
    let questions = plan.questions.as_ref().filter(|_| why.is_none());
    let answers = |questions: &Questions| {
        questions.list.iter().map(|question| answered(question, &replies_to(question, replies))).sum()
    };
    let errors = replies.errors.iter().map(|(&(ipv6, kind, code), &frames)| {
        let name = error_name(ipv6, kind, code).to_owned();
        IcmpErrors { ipv6, r#type: kind, code, name, frames }
    });
    let others = |others: &BTreeMap<&'static str, u64>| {
        others.iter().map(|(name, frames)| ((*name).to_owned(), *frames)).collect()
    };
    Some(outcome::Replies {
        datagrams: unseen.is_none().then_some(replies.datagrams),
        questions: questions.map(Questions::due),
        answered: questions.map(answers),
        icmp_errors: unseen.is_none().then(|| errors.collect()),
        kernel: replies.others.as_ref().filter(|_| unseen.is_none()).map(others),
        why,
    })
}

/// Whether anything came that is worth a line.
pub fn came(replies: &Replies) -> bool {
    replies.datagrams > 0 || !replies.errors.is_empty() || replies.lost > 0
}

/// Why it is not known what came back.
pub fn unseen(replies: &Replies) -> Option<String> {
    let lost = replies.lost;
    (lost > 0).then(|| format!("{} of the receiver found no room in the ring that observes them", count(lost, "frame")))
}

/// Why it is not known which question was answered.
pub fn unmatched(questions: &Questions, replies: &Replies) -> Option<String> {
    if questions.incomplete {
        return Some("the frames ask more than 262,144 questions".to_owned());
    }
    replies.answers.incomplete.as_deref().map(str::to_owned)
}

/// What answers a question, of what the filter of `[expect.replies]` takes.
pub fn replies_to(question: &Question, replies: &Replies) -> Came {
    replies.answers.to(&question.sent, question.to_group)
}

/// How many of the answers that are due came.
pub fn answered(question: &Question, came: &Came) -> u64 {
    came.answers.min(question.due)
}

/// What an ICMP error means (RFC 792, RFC 1122 §3.2.2.1, RFC 1812 §5.2.7.1, RFC 4443).
pub fn error_name(ipv6: bool, kind: u8, code: u8) -> &'static str {
    match (ipv6, kind, code) {
        (false, 3, 0) | (true, 1, 0) => "no route",
        (false, 3, 1) | (true, 1, 3) => "host unreachable",
        (false, 3, 2) => "protocol unreachable",
        (false, 3, 3) | (true, 1, 4) => "port unreachable",
        (false, 3, 4) | (true, 2, _) => "packet too big",
        (false, 3, 9 | 10 | 13) | (true, 1, 1 | 5 | 6) => "prohibited",
        (false, 3, _) | (true, 1, _) => "unreachable",
        (false, 5, _) => "redirect",
        (false, 11, 1) | (true, 3, 1) => "reassembly time exceeded",
        (false, 11, _) | (true, 3, _) => "hop limit exceeded",
        (false, 12, _) | (true, 4, _) => "parameter problem",
        _ => "ICMP error",
    }
}
