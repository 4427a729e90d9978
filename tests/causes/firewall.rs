//! The rows of the packet filter. All of its verdicts have one cause; where it was said is told by the hook.

use restage::Stage::Accepted;

use crate::frames::{Sum, v4, v6};
use crate::rows::{Row, row};

const CAUSE: &str = "NETFILTER_DROP";

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row("nft input drop", &v4())
            .ruleset("table inet t { chain c { type filter hook input priority 0; udp dport 9999 drop; }; }")
            .loses(CAUSE, Accepted),
        row("nft input policy drop", &v4())
            .ruleset("table inet t { chain c { type filter hook input priority 0; policy drop; }; }")
            .loses(CAUSE, Accepted),
        row("nft input reject", &v4())
            .ruleset("table inet t { chain c { type filter hook input priority 0; udp dport 9999 reject; }; }")
            .loses(CAUSE, Accepted),
        row("nft prerouting drop", &v4())
            .ruleset("table inet t { chain c { type filter hook prerouting priority -300; udp dport 9999 drop; }; }")
            .loses(CAUSE, Accepted),
        row("nft netdev ingress drop", &v4())
            .ruleset(
                "table netdev t { chain c { type filter hook ingress device \"rx0\" priority 0; udp dport 9999 drop; }; }",
            )
            .loses(CAUSE, Accepted),
        row("conntrack invalid drop (bad udp csum)", &v4().sum(Sum::Wrong))
            .ruleset("table inet t { chain c { type filter hook input priority 0; ct state invalid drop; }; }")
            .loses(CAUSE, Accepted),
        row("v6 nft input drop", &v6())
            .ruleset("table inet t { chain c { type filter hook input priority 0; udp dport 9999 drop; }; }")
            .loses(CAUSE, Accepted),
        row("v6 rpfilter via nft fib", &v6().source("2001:db8::1"))
            .no_routes()
            .ruleset(
                "table inet t { chain c { type filter hook prerouting priority -300; \
                 fib saddr . iif oif missing drop; }; }",
            )
            .not_predicted("what `fib` looks up is not walked")
            .loses(CAUSE, Accepted),
    ]
}
