//! A counter of an entity over the time of the trouble, as most classes of the
//! network family read one.

use super::{Case, Leaf};
use crate::scene::{Compare, Scene, Windows};
use crate::stats::grade;
use crate::units::{self, was};
use taproot_model::EntityId;

/// What a counter gained.
pub(super) struct Gained {
    /// In the whole time.
    pub(super) n: f64,
    /// Per second.
    pub(super) rate: Compare,
    pub(super) windows: Windows,
    signal: &'static str,
    values: Vec<Option<f64>>,
}

impl Gained {
    /// What `signal` gained, if that is at least `least` and three times what is usual.
    pub(super) fn of(
        scene: &Scene<'_>,
        id: &EntityId,
        signal: &'static str,
        least: f64,
    ) -> Option<Self> {
        let values = scene.rates(id, signal, "");
        let windows = scene.windows(&values);
        let rate = scene.compare(id, signal, "", &windows)?;
        let n = rate.during * windows.during.length().as_secs_f64();
        // A sum of many thirds is a little less than it should be.
        (n + 1e-6 >= least && rate.grew(3.0)).then_some(Self { n, rate, windows, signal, values })
    }

    /// Adds it to a case: `words` says what was counted, `most` how many prove it best.
    pub(super) fn tell(self, case: &mut Case, low: f64, high: f64, most: f64, words: &str) {
        let usual = was(self.rate.before, |b| format!("{} a second", units::number(b)));
        let text = format!("{words} {} times{usual}", units::number(self.n.round()));
        let strength = low + (high - low) * grade(self.n, 1.0, most);
        let leaf = Leaf::new(self.signal, self.n, strength, text);
        case.leaf(leaf.before(self.rate.before).series(self.values));
    }
}

/// CPUs an entity uses, as a leaf that says it is idle; `None` if it is busy or not known.
pub(super) fn idle(scene: &Scene<'_>, id: &EntityId, w: &Windows) -> Option<Leaf> {
    const BUSY: f64 = 0.5;
    let cpu = scene.compare(id, taproot_model::metric::CPU_TIME, "", w)?;
    (cpu.during < BUSY).then(|| {
        let name = scene.called(id);
        let text = format!("{name} is not busy: it uses {} CPUs", units::number(cpu.during));
        Leaf::new(taproot_model::metric::CPU_TIME, cpu.during, 0.1, text).before(cpu.before)
    })
}
