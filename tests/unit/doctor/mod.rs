//! What `restage doctor` says of machines that aren't there, and of this one.

use crate::diagnostic::Failure;
use crate::doctor::{Finding, State, Tried, findings};
use crate::host::facts::{Container, Facts, Step, refusal};
use nix::errno::Errno;

/// An ordinary user on a machine that forbids nothing.
fn ordinary() -> Facts {
    Facts {
        uid: 1000,
        kernel: "6.18.4-arch1-1".into(),
        sysctls: [
            ("user.max_user_namespaces", 63_000),
            ("user.max_net_namespaces", 63_000),
            ("user.max_pid_namespaces", 63_000),
            ("net.core.rmem_max", 4 << 20),
        ]
        .into(),
        memlock_bytes: Some(8 << 20),
        nft: Some("/usr/sbin/nft".into()),
        btf: true,
        ..Facts::default()
    }
}

/// The same machine, with other sysctls.
fn with<const N: usize>(sysctls: [(&'static str, u64); N]) -> Facts {
    let mut facts = ordinary();
    facts.sysctls.extend(sysctls);
    facts
}

fn up() -> Tried {
    Tried::Up { user_namespace: true, lab_us: 8_700, program_us: 5_100, lacks: Vec::new() }
}

fn refused(step: Step, errno: Errno, facts: &Facts) -> Tried {
    let failure: Failure = refusal(step, errno, facts);
    Tried::Refused(failure)
}

fn listing(findings: &[Finding]) -> String {
    let mut lines = Vec::new();
    for finding in findings {
        lines.push(format!("{:?}: {}", finding.state, finding.what));
        lines.push(format!("  why: {}", finding.why));
        lines.extend(finding.fix.iter().map(|fix| format!("  fix: {fix}")));
    }
    lines.join("\n")
}

/// Facts, and what trying gave there.
fn said(facts: &Facts, tried: &Tried) -> String {
    let findings = findings(facts, tried);
    for finding in &findings {
        assert_eq!(finding.state == State::Bad, finding.fix.is_some(), "{finding:?}");
    }
    listing(&findings)
}

#[test]
fn an_ordinary_user_on_a_good_machine_lacks_only_drop_reasons() {
    insta::assert_snapshot!(said(&ordinary(), &up()));
}

#[test]
fn root_on_a_good_machine_lacks_nothing() {
    let facts = Facts { uid: 0, capabilities: u64::MAX, memlock_bytes: None, ..ordinary() };
    let up = Tried::Up { user_namespace: false, lab_us: 8_700, program_us: 5_100, lacks: Vec::new() };
    insta::assert_snapshot!(said(&facts, &up));
}

#[test]
fn root_in_a_user_namespace_lacks_drop_reasons() {
    let facts = Facts {
        uid: 0,
        capabilities: u64::MAX,
        in_user_namespace: true,
        memlock_bytes: Some(64 << 10),
        open_files: Some(20),
        ..ordinary()
    };
    let up = Tried::Up { user_namespace: false, lab_us: 8_700, program_us: 5_100, lacks: Vec::new() };
    insta::assert_snapshot!(said(&facts, &up));
}

#[test]
fn a_limit_of_an_applications_namespaces_is_named() {
    let none = with([("user.max_mnt_namespaces", 0), ("user.max_ipc_namespaces", 63_000)]);
    let unmapped = Facts { in_user_namespace: true, ..ordinary() };
    let refusals =
        [refusal(Step::Surroundings, Errno::ENOSPC, &none), refusal(Step::UserNamespace, Errno::EPERM, &unmapped)];
    let said = refusals.map(|failure| format!("{:#?}", failure.problems));
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn docker_gets_its_flag_in_the_fix() {
    let facts = Facts {
        uid: 0,
        container: Some(Container::Docker),
        seccomp: true,
        apparmor_profile: Some("docker-default (enforce)".into()),
        proc_sys_read_only: true,
        nft: None,
        memlock_bytes: Some(64 << 10),
        ..ordinary()
    };
    insta::assert_snapshot!(said(&facts, &refused(Step::UserNamespace, Errno::EPERM, &facts)));
}

#[test]
fn podman_and_kubernetes_get_their_flags_in_the_fix() {
    let told = [Container::Podman, Container::Kubernetes].map(|container| {
        let facts = Facts { container: Some(container), seccomp: true, proc_sys_read_only: true, ..ordinary() };
        let findings = findings(&facts, &refused(Step::UserNamespace, Errno::EPERM, &facts));
        listing(findings.get(..2).unwrap())
    });
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn ubuntus_apparmor_is_named_with_three_ways_out() {
    let facts = Facts {
        kernel: "6.8.0-45-generic".into(),
        ..with([
            ("kernel.unprivileged_userns_clone", 1),
            ("kernel.apparmor_restrict_unprivileged_userns", 1),
            ("net.core.rmem_max", 212_992),
        ])
    };
    insta::assert_snapshot!(said(&facts, &refused(Step::UserMap, Errno::EACCES, &facts)));
}

#[test]
fn a_switch_that_is_off_is_named() {
    let debian = with([("kernel.unprivileged_userns_clone", 0)]);
    let limited = with([("user.max_user_namespaces", 0)]);
    let told = [(debian, Errno::EPERM), (limited, Errno::ENOSPC)].map(|(facts, errno)| {
        let findings = findings(&facts, &refused(Step::UserNamespace, errno, &facts));
        listing(findings.get(..2).unwrap())
    });
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn wsl_1_is_refused_with_the_command_that_upgrades_it() {
    let mut facts = Facts { kernel: "4.4.0-19041-Microsoft".into(), btf: false, ..ordinary() };
    facts.sysctls.remove("user.max_user_namespaces");
    insta::assert_snapshot!(said(&facts, &refused(Step::UserNamespace, Errno::EINVAL, &facts)));
    assert!(!Facts { kernel: "5.15.153.1-microsoft-standard-WSL2".into(), ..ordinary() }.wsl1());
}

#[test]
fn an_old_kernel_is_refused_with_the_missing_feature() {
    let told = ["5.15.0-119-generic", "4.9.0-19-amd64", "lots"].map(|kernel| {
        let facts = Facts { kernel: kernel.into(), ..ordinary() };
        let findings = findings(&facts, &up());
        listing(findings.get(1..3).unwrap())
    });
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn small_buffers_and_odd_surroundings_are_named() {
    let facts = Facts { memlock_bytes: Some(64 << 10), ..with([("net.core.rmem_max", 131_072)]) };
    let up = Tried::Up {
        user_namespace: true,
        lab_us: 8_700,
        program_us: 5_100,
        lacks: vec!["the application sees the processes of the machine: this system allows no new /proc".into()],
    };
    insta::assert_snapshot!(said(&facts, &up));
    assert!(said(&ordinary(), &Tried::Unclear("it was busy".into())).starts_with("Unknown: a lab\n  why: it was busy"));
}

#[test]
fn a_reached_limit_is_named_with_its_value() {
    let facts = with([("user.max_net_namespaces", 7)]);
    let findings = findings(&facts, &refused(Step::NetworkNamespace, Errno::ENOSPC, &facts));
    insta::assert_snapshot!(listing(findings.get(..1).unwrap()));
}
