//! Bytes of a JSON string as bit masks, sixteen or sixty-four at a time.
//!
//! Hot path: `benches/envelope.rs`. Only tells which bytes are quotes, backslashes, control
//! characters or not ASCII; what that means is decided in `string`. The crate `wide` reaches the
//! vector instructions that every machine of a kind has (SSE2, NEON) from safe code.

use wide::{u8x16, u8x64};

/// What is in sixteen bytes; bit n stands for byte n.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Masks16 {
    /// Quotes, backslashes and control characters: everything that may end a plain run.
    pub special: u32,
    /// Bytes above 0x7f.
    pub wide: u32,
}

/// Masks of the sixteen bytes at `at`, if there are so many.
#[inline]
pub fn masks16_at(body: &[u8], at: usize) -> Option<Masks16> {
    let lanes = u8x16::new(*body.get(at..)?.first_chunk()?);
    let text = lanes.simd_eq(u8x16::splat(b'"')) | lanes.simd_eq(u8x16::splat(b'\\'));
    // The smaller of a byte and 0x1f is the byte itself where it is a control character.
    let control = lanes.min(u8x16::splat(0x1f)).simd_eq(lanes);
    Some(Masks16 { special: (text | control).to_bitmask(), wide: lanes.to_bitmask() })
}

/// Sixty-four bytes, to be asked about; bit n of an answer stands for byte n.
#[derive(Clone, Copy)]
pub struct Block(u8x64);

impl Block {
    /// The block at `at`. Beyond the end of the body it holds zeros, thus control characters.
    #[inline]
    pub fn at(body: &[u8], at: usize) -> Self {
        let rest = body.get(at..).unwrap_or_default();
        match rest.first_chunk() {
            Some(block) => Self(u8x64::new(*block)),
            None => Self::tail(rest),
        }
    }

    #[cold]
    fn tail(rest: &[u8]) -> Self {
        let mut block = [0; 64];
        for (to, from) in block.iter_mut().zip(rest) {
            *to = *from;
        }
        Self(u8x64::new(block))
    }

    /// Which bytes are that one.
    #[inline]
    pub fn equal(self, byte: u8) -> u64 {
        self.0.simd_eq(u8x64::splat(byte)).to_bitmask()
    }

    /// Which bytes are below 0x20.
    #[inline]
    pub fn control(self) -> u64 {
        self.0.min(u8x64::splat(0x1f)).simd_eq(self.0).to_bitmask()
    }

    /// Which bytes are the letter n or t, as after nearly every backslash of source code.
    #[inline]
    pub fn newline_or_tab(self) -> u64 {
        let newline = self.0.simd_eq(u8x64::splat(b'n'));
        (newline | self.0.simd_eq(u8x64::splat(b't'))).to_bitmask()
    }

    /// Which bytes are above 0x7f.
    #[inline]
    pub fn wide(self) -> u64 {
        self.0.to_bitmask()
    }

    /// Which bytes begin a character that is not ASCII.
    #[inline]
    pub fn leads(self) -> u64 {
        self.0.max(u8x64::splat(0xc0)).simd_eq(self.0).to_bitmask()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn by_hand(bytes: &[u8], wanted: impl Fn(u8) -> bool) -> u64 {
        bytes.iter().enumerate().fold(0, |mask, (n, &b)| mask | u64::from(wanted(b)) << n)
    }

    /// Bytes that sit at the borders of every class.
    fn edgy() -> impl Strategy<Value = u8> {
        prop_oneof![
            prop::sample::select(
                b"\"\\nt\x1f\x20\x21\x00\x7f\x80\xff\x9f\xa2\xbf\xc0\xdc".to_vec()
            ),
            any::<u8>(),
        ]
    }

    proptest! {
        #[test]
        fn masks_say_what_each_byte_is(bytes in prop::collection::vec(edgy(), 64)) {
            let block = Block::at(&bytes, 0);
            prop_assert_eq!(block.equal(b'"'), by_hand(&bytes, |b| b == b'"'));
            prop_assert_eq!(block.equal(0xff), by_hand(&bytes, |b| b == 0xff));
            prop_assert_eq!(block.control(), by_hand(&bytes, |b| b < 0x20));
            prop_assert_eq!(block.newline_or_tab(), by_hand(&bytes, |b| b == b'n' || b == b't'));
            prop_assert_eq!(block.wide(), by_hand(&bytes, |b| b > 0x7f));
            prop_assert_eq!(block.leads(), by_hand(&bytes, |b| b >= 0xc0));
            let short = masks16_at(&bytes, 48).unwrap();
            let special = by_hand(&bytes[48..], |b| b < 0x20 || b == b'"' || b == b'\\');
            prop_assert_eq!(u64::from(short.special), special);
            prop_assert_eq!(u64::from(short.wide), by_hand(&bytes[48..], |b| b > 0x7f));
        }

        #[test]
        fn the_tail_reads_as_zeros(bytes in prop::collection::vec(edgy(), 0..64)) {
            let block = Block::at(&bytes, 0);
            let inside = (1 << bytes.len()) - 1;
            prop_assert_eq!(block.control(), by_hand(&bytes, |b| b < 0x20) | !inside);
            prop_assert_eq!(block.wide(), by_hand(&bytes, |b| b > 0x7f));
            prop_assert_eq!(Block::at(&bytes, 99).control(), u64::MAX);
            prop_assert!(masks16_at(&bytes, bytes.len()).is_none());
        }
    }
}
