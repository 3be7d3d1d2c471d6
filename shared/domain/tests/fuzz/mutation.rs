//! Random changes of known inputs. A seed gives the same inputs again.

/// Bytes of one input; ten times as many as API Gateway lets through in a header.
pub(crate) const LENGTH_LIMIT: usize = 64 * 1024;

/// Pieces that the parsers look for.
const PIECES: &[&str] = &[
    "\0",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\",
    ",",
    ":",
    "&",
    "=",
    "%",
    "%2",
    "+",
    "*",
    "/",
    "|",
    "?",
    "#",
    "~",
    "~0",
    "~1",
    "null",
    "true",
    "1e999",
    "-0",
    "18446744073709551616",
    "\\ud800",
    "\\u0000",
    "\u{feff}",
    "\r\n",
    "--b",
    "--b--",
    "t=",
    "v1=",
    "v1,",
    "hmac;1;",
    "sha256=",
    "Bearer ",
    "{body}",
    "{ts}",
    "{secret}",
    "{url}",
    "header:",
    "json:/*",
    "item:/",
    "lower:",
    "text:",
    "pair:t",
    "position:9",
    "2026-11-23T20:00:00Z",
    "2026-02-30T24:60:60+99:99",
    "9999999999999",
    "eyJhbGciOiJub25lIn0",
    ".",
    "\"alg\":\"none\"",
    "\"type\":\"url_verification\"",
    "\"challenge\":\"a\"",
];

/// A generator that requires no crate: `SplitMix64`.
///
/// Source: <https://doi.org/10.1145/2714064.2660195>, section 3.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, or 0.
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    /// One of the seeds, changed one to eight times.
    pub(crate) fn mutated(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(8) {
            self.change(&mut input, seeds);
        }
        input.truncate(LENGTH_LIMIT);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let begin = self.below(input.len() + 1);
        let end = (begin + self.below(24)).min(input.len());
        match self.below(8) {
            0 if begin < input.len() => input[begin] ^= 1 << self.below(8),
            1 if begin < input.len() => input[begin] = self.next().to_le_bytes()[0],
            2 => drop(input.drain(begin..end)),
            3 => {
                let copy = input[begin..end].repeat(1 + self.below(40));
                input.splice(begin..begin, copy);
            }
            4 => {
                let other = &seeds[self.below(seeds.len())];
                let from = self.below(other.len() + 1);
                let until = (from + self.below(80)).min(other.len());
                input.splice(begin..end, other[from..until].iter().copied());
            }
            5 => input.truncate(begin),
            _ => {
                let piece = PIECES[self.below(PIECES.len())];
                input.splice(begin..begin, piece.bytes());
            }
        }
    }
}
