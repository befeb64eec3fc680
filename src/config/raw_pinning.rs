//! `pinning`: how long sessions stay with a model, and what a warm prompt cache is worth.

use crate::config::bound;
use crate::config::keys;
use crate::config::problem::At;
use crate::config::section::{Section, shown};
use crate::pinning::window::Windows;
use crate::routing::tier;

/// A part of what the cache saves, in millionths: half, as the seed has it (S2-13).
const BONUS_PPM: u32 = 500_000;
/// A part of a switch's own cost, in millionths: with it no simulated workload costs more than by staying or by
/// always switching.
const MARGIN_PPM: u32 = 400_000;

/// `pinning`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pinning {
    /// Whether sessions are pinned where a strategy looks at requests.
    pub enabled: bool,
    /// How long.
    pub windows: Windows,
    /// The part of what the cache saves that counts for staying in the soft window, in millionths; 0 = what the
    /// strategy says counts alone.
    pub bonus_ppm: u32,
    /// Leaving in the soft window is weighed over the turns to come, by the rules of the providers' caches;
    /// otherwise by the next turn, as the seed does.
    pub cache_aware: bool,
    /// Turns that any session is expected to have still, where its agent's others have not told otherwise.
    pub expected_turns: u64,
    /// The part of a switch's cost that has to be gained on top of it, in millionths.
    pub margin_ppm: u32,
    /// Seconds that caches live, for models that say nothing else; `None` = by what is known of each family.
    pub cache_ttl_s: Option<u64>,
    /// Where pins are kept. A change needs a restart.
    pub keep: Keep,
}

/// Where pins are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// In memory; a restart forgets them.
    #[default]
    Memory,
    /// In the store as well: they outlive a restart, and all nodes of one store share them.
    Store,
}

impl Keep {
    /// The name used in configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Store => "store",
        }
    }
}

/// Reads `pinning`.
pub fn read(section: &Section<'_>) -> Pinning {
    let hard_s = section.number("hard_window_s", &bound::HARD_WINDOW_S);
    let soft_s = section.number("soft_window_s", &bound::SOFT_WINDOW_S);
    if soft_s < hard_s {
        let message =
            format!("is shorter than hard_window_s ({hard_s}; the soft window follows it)");
        section.problem("soft_window_s", message);
    }
    let words = [Keep::Memory, Keep::Store].map(|keep| (keep.name(), keep));
    Pinning {
        enabled: section.flag_or("enabled", true),
        windows: Windows { hard_ms: hard_s * 1_000, soft_ms: soft_s * 1_000 },
        bonus_ppm: share(section, "soft_bonus_weight").unwrap_or(BONUS_PPM),
        cache_aware: section.flag_or("cache_aware", true),
        expected_turns: section.number("expected_turns", &bound::EXPECTED_TURNS),
        margin_ppm: share(section, "switch_margin").unwrap_or(MARGIN_PPM),
        cache_ttl_s: section.number_if_given("cache_ttl_s", &bound::CACHE_TTL_S),
        keep: section.choice("keep", &words, &[]).unwrap_or_default(),
    }
}

/// Reads the whole section of a file.
pub fn pinning(top: &Section<'_>) -> Pinning {
    read(&top.section("pinning", &keys::PINNING))
}

fn share(section: &Section<'_>, key: &str) -> Option<u32> {
    let At { value, .. } = section.text(key)?;
    let refuse = |error| {
        let allowed = "(0 to 1, at most 6 digits after the point)";
        section.problem(key, format!("{} {error} {allowed}", shown(&value)));
    };
    tier::parse_share(&value.text).map_err(refuse).ok()
}
