//! RADIUS (RFC 2865, RFC 2866, RFC 5176): addresses in attributes, and the authenticators over them.
//!
//! A packet whose authenticators are not right for the secret is not decoded, so that a wrong secret shows. A request for access without
//! Message-Authenticator has none that could be wrong.

use std::collections::HashMap;
use std::net::IpAddr;

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};

use super::Datagram;
use crate::packet::bytes::{array, be16, byte, put};

const HEADER: usize = 20;
const MESSAGE_AUTHENTICATOR: u8 = 80;
/// NAS-IP-Address, Framed-IP-Address, Login-IP-Host; Framed-IP-Netmask (9) is a mask.
const V4: [u8; 3] = [4, 8, 14];
/// NAS-IPv6-Address, Login-IPv6-Host (RFC 3162), Framed-IPv6-Address, DNS-Server-IPv6-Address (RFC 6911).
const V6: [u8; 4] = [95, 98, 168, 169];
/// How many requests are remembered.
const MOST: usize = 65_536;

/// What client and server share.
#[derive(Clone)]
pub(super) struct Secret(Vec<u8>);

impl Secret {
    pub(super) fn new(secret: &str) -> Self {
        Self(secret.as_bytes().to_vec())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// Who asked whom, with which identifier.
type Request = ([(IpAddr, u16); 2], u8);

/// The authenticators of requests, as captured and as rewritten: those of their responses need them.
#[derive(Debug, Clone, Default)]
pub(super) struct Requests(HashMap<Request, [[u8; 16]; 2]>);

/// Maps the addresses of a packet; `None` where it is none, answers a request that is not known, or has authenticators that are not right.
pub(super) fn rewrite(secret: &Secret, requests: &mut Requests, datagram: &mut Datagram<'_>) -> Option<()> {
    let length = usize::from(be16(datagram.bytes, 2)?);
    if length < HEADER || length > datagram.bytes.len() {
        return None;
    }
    let [code, identifier] = array(datagram.bytes, 0)?;
    let captured: [u8; 16] = array(datagram.bytes, 4)?;
    let [source, destination] = datagram.endpoints;
    // What stands in the place of the authenticator while it is computed, as captured and as rewritten.
    let [seed, new_seed] = match Kind::of(code)? {
        Kind::Access => [captured, captured],
        Kind::Request => [[0; 16]; 2],
        Kind::Response => *requests.0.get(&([destination, source], identifier))?,
    };
    let is_random = Kind::of(code)? == Kind::Access;
    let signature = attributes(datagram.bytes, length)?.find(|(kind, ..)| *kind == MESSAGE_AUTHENTICATOR);
    let signature = match signature {
        Some((_, at, 16)) => Some(at),
        Some(_) => return None,
        None => None,
    };
    let mut packet = datagram.bytes.get(..length)?.to_vec();
    if !is_random && response_authenticator(secret, &mut packet, seed) != captured {
        return None;
    }
    if let Some(at) = signature {
        let written: [u8; 16] = array(&packet, at)?;
        if message_authenticator(secret, &mut packet, at, seed) != written {
            return None;
        }
    }
    let found: Vec<_> = attributes(datagram.bytes, length)?.collect();
    for (kind, at, length) in found {
        match length {
            4 if V4.contains(&kind) => datagram.v4_at(at)?,
            16 if V6.contains(&kind) => datagram.v6_at(at)?,
            _ => {}
        }
    }
    let mut packet = datagram.bytes.get(..length)?.to_vec();
    if let Some(at) = signature {
        let new = message_authenticator(secret, &mut packet, at, new_seed);
        put(&mut packet, at, new);
        put(datagram.bytes, at, new);
    }
    let rewritten = if is_random { captured } else { response_authenticator(secret, &mut packet, new_seed) };
    put(datagram.bytes, 4, rewritten);
    if Kind::of(code)? != Kind::Response {
        if requests.0.len() >= MOST {
            requests.0.clear();
        }
        requests.0.insert(([source, destination], identifier), [captured, rewritten]);
    }
    Some(())
}

/// How a packet is authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// By random bytes, which hide the password (RFC 2865 §3).
    Access,
    /// By a digest over itself (RFC 2866 §3, RFC 5176 §2.3).
    Request,
    /// By a digest over itself and the authenticator of its request.
    Response,
}

impl Kind {
    fn of(code: u8) -> Option<Self> {
        match code {
            1 | 12 => Some(Self::Access),
            4 | 40 | 43 => Some(Self::Request),
            2 | 3 | 5 | 11 | 41 | 42 | 44 | 45 => Some(Self::Response),
            _ => None,
        }
    }
}

/// The attributes: type, where the value begins, its length. `None` where they don't fill the packet.
fn attributes(bytes: &[u8], length: usize) -> Option<impl Iterator<Item = (u8, usize, usize)>> {
    let mut found = Vec::new();
    let mut at = HEADER;
    while at < length {
        let whole = usize::from(byte(bytes, at + 1)?);
        if whole < 2 || at + whole > length {
            return None;
        }
        found.push((byte(bytes, at)?, at + 2, whole - 2));
        at += whole;
    }
    Some(found.into_iter())
}

/// MD5 over the packet, with `seed` in the place of its authenticator, and the secret.
fn response_authenticator(secret: &Secret, packet: &mut [u8], seed: [u8; 16]) -> [u8; 16] {
    put(packet, 4, seed);
    Md5::new().chain_update(&*packet).chain_update(&secret.0).finalize().into()
}

/// HMAC-MD5 over the packet, with `seed` in the place of its authenticator, and the attribute at `at` being zero (RFC 3579 §3.2).
fn message_authenticator(secret: &Secret, packet: &mut [u8], at: usize, seed: [u8; 16]) -> [u8; 16] {
    put(packet, 4, seed);
    put(packet, at, [0; 16]);
    let mac = Hmac::<Md5>::new_from_slice(&secret.0).expect("HMAC takes keys of any length");
    mac.chain_update(&*packet).finalize().into_bytes().into()
}
