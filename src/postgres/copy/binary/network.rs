//! `inet` and `cidr`: the form of `inet_send`, the spelling of `inet_out`.

use std::net::Ipv4Addr;

use super::{CopyProblem, Malformed, integer};

/// `PGSQL_AF_INET` and `PGSQL_AF_INET6`: the server's own numbers, the same on every system.
const V4: u8 = 2;
const V6: u8 = 3;

pub(super) fn inet(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let [family, bits, is_cidr, length, address @ ..] = value else { return Err(CopyProblem::Malformed) };
    if usize::from(*length) != address.len() {
        return Err(CopyProblem::Malformed);
    }
    let most = match (*family, address.len()) {
        (V4, 4) => {
            v4(address, out);
            32
        }
        (V6, 16) => {
            v6(address.as_chunks::<2>().0, out);
            128
        }
        _ => return Err(CopyProblem::Malformed),
    };
    if *bits > most {
        return Err(CopyProblem::Malformed);
    }
    // A network always shows its bits, a host where they are not all of them.
    if *is_cidr != 0 || *bits != most {
        out.push(b'/');
        integer(*bits, out);
    }
    Ok(())
}

fn v4(address: &[u8], out: &mut Vec<u8>) {
    for (i, byte) in address.iter().enumerate() {
        if i > 0 {
            out.push(b'.');
        }
        integer(*byte, out);
    }
}

/// The longest run of two zero groups or more, the first of several, is left out; IPv4 inside of IPv6 is spelled as
/// such (the rules of `inet_net_ntop` in the server's `inet_net_ntop.c`).
fn v6(groups: &[[u8; 2]], out: &mut Vec<u8>) {
    let is_zero = |group: &[u8; 2]| *group == [0, 0];
    let mut best = 0..0;
    let mut at = 0;
    while at < groups.len() {
        let run = groups[at..].iter().take_while(|group| is_zero(group)).count();
        if run > best.len() {
            best = at..at + run;
        }
        at += run.max(1);
    }
    if best.len() < 2 {
        best = 0..0;
    }
    for (i, group) in groups.iter().enumerate() {
        if best.contains(&i) {
            if i == best.start {
                out.push(b':');
            }
            continue;
        }
        if i > 0 {
            out.push(b':');
        }
        let mapped = best.start == 0
            && (best.len() == 6
                || (best.len() == 7 && groups[7] != [0, 1])
                || (best.len() == 5 && groups[5] == [0xff, 0xff]));
        if i == 6 && mapped {
            let [[a, b], [c, d]] = [groups[6], groups[7]];
            out.extend_from_slice(Ipv4Addr::new(a, b, c, d).to_string().as_bytes());
            return;
        }
        out.extend_from_slice(format!("{:x}", u16::from_be_bytes(*group)).as_bytes());
    }
    if !best.is_empty() && best.end == groups.len() {
        out.push(b':');
    }
}
