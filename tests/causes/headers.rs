//! The rows of what stands between IP and the transport: IPv4 options and IPv6 extension headers.

use restage::Stage::{Accepted, Delivered};

use crate::frames::{Captured, v4, v6};
use crate::rows::{Row, of, row};

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;
const UDP: u8 = 17;

pub(crate) fn rows() -> Vec<Row> {
    [four(), options(), routing(), chains()].into_iter().flatten().collect()
}

fn four() -> Vec<Row> {
    let fine = |name, options: &[u8]| row(name, &v4().options(options));
    let refused = |name, options: &[u8]| fine(name, options).loses("IP_INHDR", Accepted);
    vec![
        fine("v4 option record route", &[7, 7, 4, 0, 0, 0, 0, 0]),
        fine("v4 option unknown", &[0x5e, 4, 0, 0]),
        refused("v4 option beyond the header", &[0x5e, 9, 0, 0]),
        refused("v4 option record route, pointer 6", &[7, 7, 6, 0, 0, 0, 0, 0]),
        refused("v4 option CIPSO", &[134, 10, 0, 0, 0, 1, 1, 4, 0, 0, 0, 0]),
        // What is malformed is found before the source route.
        refused("v4 option source route, then malformed", &[131, 7, 8, 10, 9, 0, 9, 7, 1, 0, 0, 0]),
        fine("v4 option source route used up, accepted", &[131, 7, 8, 10, 9, 0, 9, 0])
            .sysctl("net.ipv4.conf.all.accept_source_route", 1),
    ]
}

fn options() -> Vec<Row> {
    let hop = |name, bytes: &[u8]| row(name, &v6().headers(HOP_BY_HOP, bytes));
    let destination = |name, bytes: &[u8]| row(name, &v6().headers(DESTINATION, bytes));
    vec![
        hop("v6 hop-by-hop router alert", &[UDP, 0, 5, 2, 0, 0, 1, 0]),
        hop("v6 hop-by-hop unknown, skipped", &[UDP, 0, 0x1e, 4, 0, 0, 0, 0]),
        hop("v6 hop-by-hop unknown, discarded", &[UDP, 0, 0x5e, 4, 0, 0, 0, 0]).loses("UNHANDLED_PROTO", Accepted),
        hop("v6 hop-by-hop padding not zero", &[UDP, 0, 1, 4, 0, 0, 1, 0]).loses("IP_INHDR", Accepted),
        hop("v6 hop-by-hop IOAM not aligned", &[UDP, 0, 0x31, 4, 0, 0, 0, 0]).loses("IP_INHDR", Accepted),
        hop("v6 hop-by-hop jumbo with a length", &[UDP, 0, 0xc2, 4, 0, 1, 0, 0]).loses("IP_INHDR", Accepted),
        destination("v6 destination unknown, discarded", &[UDP, 0, 0x9e, 4, 0, 0, 0, 0])
            .loses("UNHANDLED_PROTO", Delivered),
        destination("v6 destination option too long", &[UDP, 0, 0x1e, 9, 0, 0, 0, 0]).loses("IP_INHDR", Delivered),
        // The addresses are looked at before the options, and both are malformed headers.
        row(
            "v6 destination option too long, source of a group",
            &v6().source("ff02::1").headers(DESTINATION, &[UDP, 0, 0x1e, 9, 0, 0, 0, 0]),
        )
        .loses("IP_INHDR", Accepted),
    ]
}

fn routing() -> Vec<Row> {
    let with = |name, kind, left| {
        let address = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
        row(name, &v6().headers(ROUTING, &[&[UDP, 2, kind, left, 0, 0, 0, 0], &address[..]].concat()))
    };
    vec![
        with("v6 routing type 0, none left", 0, 0),
        with("v6 routing type 2, 1 left", 2, 1).loses("IPV6_BAD_EXTHDR", Delivered).without_reason(),
        with("v6 segment routing, none left", 4, 0).loses("IPV6_BAD_EXTHDR", Delivered).without_reason(),
    ]
}

fn chains() -> Vec<Row> {
    let padded = |next| [next, 0, 1, 4, 0, 0, 0, 0];
    let ah = [UDP, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0];
    let one_of_two: Vec<Captured> = [
        v6().headers(DESTINATION, &[UDP, 0, 0x5e, 4, 0, 0, 0, 0]).times(3),
        v6().headers(HOP_BY_HOP, &[UDP, 0, 0x5e, 4, 0, 0, 0, 0]).times(2),
    ]
    .concat();
    vec![
        row(
            "v6 hop-by-hop behind destination",
            &v6().headers(DESTINATION, &[padded(HOP_BY_HOP), padded(UDP)].concat()),
        )
        .loses("IP_NOPROTO", Delivered),
        row(
            "v6 two fragment headers",
            &v6().headers(FRAGMENT, &[FRAGMENT, 0, 0, 0, 0, 0, 0, 1, UDP, 0, 0, 0, 0, 0, 0, 1]),
        )
        .loses("IPV6_BAD_EXTHDR", Delivered)
        .without_reason(),
        row("v6 UDP behind AH", &v6().headers(51, &ah))
            .not_predicted("a module may handle AH")
            .loses("IP_NOPROTO", Delivered),
        of("v6 unknown options of both kinds", one_of_two)
            .loses_of("UNHANDLED_PROTO", Accepted, 2..=2, Some("4-5".to_owned()))
            .loses_of("UNHANDLED_PROTO", Delivered, 3..=3, Some("1-3".to_owned())),
    ]
}
