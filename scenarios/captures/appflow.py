#!/usr/bin/env python3
"""Write three captures in the shape of a NetScaler AppFlow export.

    appflow.pcapng      three exporters, eight bursts in 27 hours, as a collector receives them
    appflow-2017.pcap   one exporter in July of 2017, with times in milliseconds, and templates in its first and middle datagrams
    appflow-sent.pcap   six datagrams as the exporter itself sees them: the checksums are left to its network card

NetScaler needs a licence, so no script can record it. What its export looks like is public: IPFIX (RFC 7011) over UDP with
information elements of enterprise 5951, which Wireshark can name. Nothing here stems from a capture of anybody's network.

The output depends on nothing but this file: no clock, no system randomness, no library beyond Python's own.

    python3 appflow.py [FOLDER]      (default: the folder of this script)
"""

import struct
import sys
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

DATAGRAMS = 720
FLOWS = 1401

COLLECTOR = IPv4Address("10.20.9.9")
COLLECTOR_MAC = bytes.fromhex("0050569a2009")
ROUTER_MAC = bytes.fromhex("00005e000114")  # the collector's router, foreign to any lab: VRRP group 20
PORT = 4739

START = 1_772_431_200  # 2026-03-02 06:00:00 UTC
START_OF_2017 = 1_500_000_000  # 2017-07-14 02:40:00 UTC
HOUR = 3600
BURSTS = [0, 1.8 * HOUR, 5 * HOUR, 6.5 * HOUR, 13 * HOUR, 14.2 * HOUR, 21 * HOUR, 27 * HOUR]

NETSCALER = 5951
VARIABLE = 65535  # RFC 7011, 7: the length stands before each value

# (element, length[, enterprise]); the names of the IANA registry, and of Wireshark for enterprise 5951
FLOW_HEAD = [
    (138, 4),  # observationPointId
    (144, 4),  # exportingProcessId
    (148, 8),  # flowId
    (129, 4, NETSCALER),  # transaction id
    (133, 4, NETSCALER),  # connection id
    (60, 1),  # ipVersion
    (4, 1),  # protocolIdentifier
]
FLOW_TAIL = [
    (7, 2),  # sourceTransportPort
    (11, 2),  # destinationTransportPort
    (2, 8),  # packetDeltaCount
    (1, 8),  # octetDeltaCount
    (6, 1),  # tcpControlBits
    (132, 8, NETSCALER),  # flow flags
    (154, 8),  # flowStartMicroseconds
    (155, 8),  # flowEndMicroseconds
    (10, 4),  # ingressInterface
    (14, 4),  # egressInterface
    (151, 4, NETSCALER),  # application id
    (128, 4, NETSCALER),  # round trip time
]
HTTP = [
    (141, VARIABLE, NETSCALER),  # method
    (142, VARIABLE, NETSCALER),  # host
    (130, VARIABLE, NETSCALER),  # URL
    (144, 2, NETSCALER),  # status of the response
    (145, 8, NETSCALER),  # length of the response
]
TCP4, HTTP4, TCP6, APPLICATIONS = 256, 257, 258, 259
TEMPLATES = {
    TCP4: FLOW_HEAD + [(8, 4), (12, 4)] + FLOW_TAIL,  # sourceIPv4Address, destinationIPv4Address
    HTTP4: FLOW_HEAD + [(8, 4), (12, 4)] + FLOW_TAIL + HTTP,
    TCP6: FLOW_HEAD + [(27, 16), (28, 16)] + FLOW_TAIL,  # sourceIPv6Address, destinationIPv6Address
}
APPLICATION_SCOPE = [(151, 4, NETSCALER)]  # application id
APPLICATION_OPTIONS = [(150, 4, NETSCALER), (152, VARIABLE, NETSCALER)]  # incarnation, name
APPLICATION_NAMES = ["shop-vs-443", "mail-vs-443", "intranet-vs-80"]


class Dice:
    """A linear congruential generator (Knuth's MMIX constants): Python promises no sequence across its versions."""

    def __init__(self, seed):
        self.state = seed

    def below(self, limit):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 33) % limit

    def between(self, low, high):
        return low + self.below(high - low + 1)

    def pick(self, items):
        return items[self.below(len(items))]

    def shuffle(self, items):
        for i in range(len(items) - 1, 0, -1):
            j = self.below(i + 1)
            items[i], items[j] = items[j], items[i]


def element(number, length, enterprise=None):
    """A field specifier, RFC 7011, 3.2."""
    if enterprise is None:
        return struct.pack("!HH", number, length)
    return struct.pack("!HHI", number | 0x8000, length, enterprise)


def variable(text):
    value = text.encode()
    assert len(value) < 255
    return bytes([len(value)]) + value


def a_set(number, *records):
    """A set, filled with zeros up to a multiple of four bytes as RFC 7011, 3.3.1 allows."""
    body = b"".join(records)
    body += bytes(-len(body) % 4)
    return struct.pack("!HH", number, 4 + len(body)) + body


def template_sets(in_milliseconds):
    other = {154: 152, 155: 153} if in_milliseconds else {}  # flowStartMilliseconds, flowEndMilliseconds
    templates = [
        struct.pack("!HH", number, len(fields)) + b"".join(element(other.get(field[0], field[0]), *field[1:]) for field in fields)
        for number, fields in TEMPLATES.items()
    ]
    fields = APPLICATION_SCOPE + APPLICATION_OPTIONS
    options = struct.pack("!HHH", APPLICATIONS, len(fields), len(APPLICATION_SCOPE))
    return [
        a_set(2, *templates),
        a_set(3, options + b"".join(element(*field) for field in fields)),
    ]


def microseconds(ns):
    """dateTimeMicroseconds, RFC 7011, 6.1.9: the form of NTP, of whose fraction the lowest 11 bits are to be zero."""
    seconds, rest = divmod(ns, 10**9)
    return struct.pack("!II", (seconds + 2_208_988_800) % 2**32, ((rest << 32) // 10**9) & ~0x7FF)


class Exporter:
    """One observation domain. It counts data records, options included, templates not (RFC 7011, 3.1)."""

    def __init__(self, number, ttl, in_milliseconds=False):
        self.dice = Dice(0x5951 * number)
        self.address = IPv4Address(f"10.44.1.{number}")
        self.domain = 1000 + number
        self.port = 40_000 + 1_111 * (number - 10)
        self.ttl = ttl
        self.in_milliseconds = in_milliseconds
        self.ip_id = self.dice.below(2**16)
        self.sequence = 0
        self.flow = self.dice.below(2**32) << 8
        self.transaction = self.dice.below(2**24)

    def message(self, ns, sets, records):
        body = b"".join(sets)
        header = struct.pack("!HHIII", 10, 16 + len(body), ns // 10**9, self.sequence, self.domain)
        self.sequence += records
        return header + body

    def templates(self, ns):
        """What starts each burst: the templates again (over UDP they must be resent, RFC 7011, 8.4), and the applications."""
        applications = [
            struct.pack("!II", number, 7) + variable(name) for number, name in enumerate(APPLICATION_NAMES, 1)
        ]
        sets = template_sets(self.in_milliseconds) + [a_set(APPLICATIONS, *applications)]
        return self.message(ns, sets, len(applications))

    def flows(self, ns, count):
        template = self.dice.pick([TCP4, TCP4, TCP4, HTTP4, HTTP4, TCP6])
        if template != TCP4 and count > 2:
            count_of_others, rest = 2, count - 2
            sets = [
                a_set(template, *(self.record(template, ns) for _ in range(count_of_others))),
                a_set(TCP4, *(self.record(TCP4, ns) for _ in range(rest))),
            ]
        else:
            sets = [a_set(template, *(self.record(template, ns) for _ in range(count)))]
        return self.message(ns, sets, count)

    def record(self, template, ns):
        dice = self.dice
        self.flow += dice.between(1, 9)
        self.transaction += dice.below(2)
        client_number, server_number = dice.between(1, 250), dice.between(1, 3)
        if template == TCP6:
            version = 6
            client = IPv6Address(f"2001:db8:c11e::{client_number:x}").packed
            server = IPv6Address(f"2001:db8:5e::{server_number}").packed
        else:
            version = 4
            client = IPv4Address(f"198.51.100.{client_number}").packed
            server = IPv4Address(f"203.0.113.{server_number}").packed
        ports = [dice.between(1024, 65535), 80 if template == HTTP4 else 443]
        back = dice.below(2)
        if back:
            client, server = server, client
            ports.reverse()
        packets = dice.between(3, 40)
        duration_us = dice.between(900, 4_000_000)
        record = struct.pack(
            "!IIQIIBB",
            int(self.address) & 0xFF,
            self.domain % 1000,
            self.flow,
            self.transaction,
            dice.below(2**20),
            version,
            6,
        )
        record += client + server + struct.pack("!HH", *ports)
        record += struct.pack("!QQB", packets, packets * dice.between(52, 1400), 0x1B)
        record += struct.pack("!Q", 0x84000 | back)
        begin, end = ns - duration_us * 1000 - 5_000_000, ns - 5_000_000
        if self.in_milliseconds:
            record += struct.pack("!QQ", begin // 10**6, end // 10**6)
        else:
            record += microseconds(begin) + microseconds(end)
        record += struct.pack("!IIII", 1 + back, 2 - back, server_number, dice.between(180, 90_000))
        if template == HTTP4:
            path = f"/{dice.pick(['cart', 'item', 'search', 'img'])}/{dice.below(10**5)}"
            record += variable(dice.pick(["GET", "GET", "GET", "POST"])) + variable("shop.example") + variable(path)
            record += struct.pack("!HQ", dice.pick([200, 200, 200, 304, 404]), dice.below(10**5))
        return record

    def frame(self, payload, offloaded=False):
        """Ethernet, IPv4 (DF, as exporters set it), UDP. Offloaded: IP sum 0, UDP sum only that of the pseudo-header."""
        length = 8 + len(payload)
        pseudo = self.address.packed + COLLECTOR.packed + struct.pack("!BBH", 0, 17, length)
        udp = struct.pack("!HHH", self.port, PORT, length)
        if offloaded:
            udp_sum = ones_complement_sum(pseudo)
        else:
            # RFC 768: a sum that comes out as zero is sent as all ones, for zero means "none"
            udp_sum = ~ones_complement_sum(pseudo + udp + bytes(2) + payload) & 0xFFFF or 0xFFFF
        ip = struct.pack("!BBHHHBB", 0x45, 0, 20 + length, self.ip_id, 0x4000, self.ttl, 17)
        addresses = self.address.packed + COLLECTOR.packed
        ip_sum = 0 if offloaded else ~ones_complement_sum(ip + bytes(2) + addresses) & 0xFFFF
        self.ip_id = (self.ip_id + 1) % 2**16
        ip += struct.pack("!H", ip_sum) + addresses
        ethernet = COLLECTOR_MAC + ROUTER_MAC + struct.pack("!H", 0x0800)
        return ethernet + ip + udp + struct.pack("!H", udp_sum) + payload


def ones_complement_sum(octets):
    if len(octets) % 2:
        octets += b"\0"
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def export():
    """All frames with their times, in the order of their arrival."""
    exporters = [Exporter(11, ttl=61), Exporter(12, ttl=61), Exporter(13, ttl=58)]
    dice = Dice(1401)
    template_messages = len(BURSTS) * len(exporters)

    # How many flows each data message holds: 1 to 4, and exactly FLOWS together.
    sizes = [1] * 250 + [2] * 240 + [3] * 153 + [4] * 53
    assert len(sizes) == DATAGRAMS - template_messages and sum(sizes) == FLOWS
    dice.shuffle(sizes)
    whose = [exporter for exporter in exporters for _ in range(len(sizes) // len(exporters))]
    dice.shuffle(whose)
    per_burst = len(sizes) // len(BURSTS)

    frames = []
    for number, offset in enumerate(BURSTS):
        ns = (START + int(offset)) * 10**9 + dice.below(10**9)
        for exporter in exporters:
            frames.append((ns, exporter.frame(exporter.templates(ns))))
            ns += dice.between(80_000, 900_000)
        for index in range(number * per_burst, (number + 1) * per_burst):
            frames.append((ns, whose[index].frame(whose[index].flows(ns, sizes[index]))))
            ns += dice.between(20_000, 40_000_000)
    assert len(frames) == DATAGRAMS
    return frames


def seen_by_the_exporter():
    exporter = Exporter(11, ttl=64)
    ns = START * 10**9
    frames = [(ns, exporter.frame(exporter.templates(ns), offloaded=True))]
    for count in (1, 2, 3, 2, 4):
        ns += 3_000_000
        frames.append((ns, exporter.frame(exporter.flows(ns, count), offloaded=True)))
    return frames


def of_2017():
    """40 datagrams, 2 of them with templates, 38 with one to four flows: 98 flows."""
    exporter = Exporter(21, ttl=61, in_milliseconds=True)
    ns = START_OF_2017 * 10**9
    frames = []
    for index in range(40):
        payload = exporter.templates(ns) if index % 20 == 0 else exporter.flows(ns, 1 + index % 4)
        frames.append((ns, exporter.frame(payload)))
        ns += 250_000_000
    return frames


def pcapng(frames):
    """draft-ietf-opsawg-pcapng: section header, one interface with nanoseconds and a comment, enhanced packets."""

    def option(code, value):
        return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)

    def block(kind, body):
        length = 12 + len(body)
        return struct.pack("<II", kind, length) + body + struct.pack("<I", length)

    end_of_options = struct.pack("<HH", 0, 0)
    opt_comment, shb_userappl, if_name, if_tsresol = 1, 4, 2, 9
    section = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + option(shb_userappl, b"appflow.py of restage") + end_of_options
    interface = struct.pack("<HHI", 1, 0, 65535)
    interface += option(if_name, b"collector0") + option(if_tsresol, bytes([9]))
    interface += option(opt_comment, b"In the shape of a NetScaler AppFlow export; made by appflow.py, not recorded") + end_of_options
    yield block(0x0A0D0D0A, section)
    yield block(0x00000001, interface)
    for ns, frame in frames:
        head = struct.pack("<IIIII", 0, ns >> 32, ns & 0xFFFFFFFF, len(frame), len(frame))
        yield block(0x00000006, head + frame + bytes(-len(frame) % 4))


def pcap(frames):
    """The classic savefile, big-endian and with microseconds: neither is what this machine would write."""
    yield struct.pack(">IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    for ns, frame in frames:
        yield struct.pack(">IIII", ns // 10**9, ns % 10**9 // 1000, len(frame), len(frame)) + frame


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    (folder / "appflow.pcapng").write_bytes(b"".join(pcapng(export())))
    (folder / "appflow-2017.pcap").write_bytes(b"".join(pcap(of_2017())))
    (folder / "appflow-sent.pcap").write_bytes(b"".join(pcap(seen_by_the_exporter())))


if __name__ == "__main__":
    main()
