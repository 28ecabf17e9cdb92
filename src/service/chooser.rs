//! Which site decides. Pure: from what is known of the sites to one of them.
use crate::model::SiteName;

/// A site takes its own writes back when it is so much less than `lag` behind: each of them waits for what is missing.
const RETURN_FACTOR: u64 = 10;

/// What is known of one site as a decider, now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Can be asked, its endpoints answer, it is not stopped.
    pub available: bool,
    /// Its service is asked and does not answer: others are preferred.
    pub hangs: bool,
    /// Age of the oldest write it should have decided.
    pub lag_ms: u64,
    /// It decides where no other site can.
    pub last: bool,
    /// It is this site: what is sent here waits for all that its replica has not decided yet.
    pub waits_here: bool,
}

/// Sticky: a site that decides keeps deciding until it cannot, and a preferred one takes over again only when it has
/// caught up.
#[derive(Debug)]
pub struct Chooser {
    order: Vec<SiteName>,
    lag_ms: u64,
    current: Option<SiteName>,
    /// Who decided last, where nobody does now.
    last: Option<SiteName>,
}

impl Chooser {
    pub fn new(order: Vec<SiteName>, lag_ms: u64) -> Self {
        Self { order, lag_ms, current: None, last: None }
    }

    pub fn current(&self) -> Option<&SiteName> {
        self.current.as_ref()
    }

    /// Who decides, or did last.
    pub fn last(&self) -> Option<&SiteName> {
        self.current.as_ref().or(self.last.as_ref())
    }

    /// Looks at all sites again; returns whether the choice changed.
    pub fn update(&mut self, standing: impl Fn(&SiteName) -> Standing) -> bool {
        let standing = &standing;
        // A site that is more than `lag` behind is not healthy as a decider, preferred or not. But lag only orders:
        // where all are behind, who decides now goes on, for each write waits for what it must come after wherever it
        // is sent (G3).
        let can = |site: &SiteName| {
            let s = standing(site);
            let stays = self.current.as_ref().is_none_or(|current| current == site);
            s.available
                && !s.hangs
                && !s.last
                && s.lag_ms <= if stays || !s.waits_here { self.lag_ms } else { self.lag_ms / RETURN_FACTOR }
        };
        let with = |last: bool| {
            move |site: &&SiteName| {
                let standing = standing(site);
                standing.available && standing.last == last
            }
        };
        let choice = self.order.iter().find(|site| can(site));
        let choice = choice.or_else(|| self.current.as_ref().filter(with(false)));
        let choice = choice.or_else(|| self.order.iter().find(with(false)));
        let choice = choice.or_else(|| self.current.as_ref().filter(with(true)));
        let choice = choice.or_else(|| self.order.iter().find(with(true))).cloned();
        let changed = choice != self.current;
        self.last = self.current.take().or(self.last.take());
        self.current = choice;
        changed
    }

    /// The choice for one write that some sites could not take.
    pub fn pick(&self, tried: &[SiteName], standing: impl Fn(&SiteName) -> Standing) -> Option<SiteName> {
        let open = |site: &&SiteName| !tried.contains(site);
        let current = self.current.as_ref().filter(open);
        let others = self.order.iter().filter(open).map(|site| (standing(site), site));
        let others = others.filter(|(standing, _)| standing.available);
        current
            .or_else(|| others.min_by_key(|(standing, _)| (standing.last, standing.hangs)).map(|(_, site)| site))
            .cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_is_available_and_not_behind_decides() {
        let (a, b) = (SiteName::new("a"), SiteName::new("b"));
        let mut chooser = Chooser::new(vec![a.clone(), b.clone()], 1_000);
        let at = |a_ok, a_lag, b_ok| {
            let a = SiteName::new("a");
            move |site: &SiteName| {
                let (available, lag_ms) = if *site == a { (a_ok, a_lag) } else { (b_ok, 0) };
                Standing { available, hangs: false, lag_ms, last: false, waits_here: *site == a }
            }
        };
        assert!(chooser.update(at(true, 0, true)));
        assert_eq!(chooser.current(), Some(&a));
        assert!(chooser.update(at(false, 0, true)));
        assert_eq!(chooser.current(), Some(&b));
        assert!(!chooser.update(at(true, 5_000, true)), "back, but behind");
        assert!(!chooser.update(at(true, 900, true)), "each write would wait for so long");
        assert!(chooser.update(at(true, 90, true)));
        assert!(!chooser.update(at(true, 900, true)), "it stays until it is more than lag behind");
        assert_eq!(chooser.current(), Some(&a));
        assert_eq!(chooser.pick(std::slice::from_ref(&a), at(true, 0, true)), Some(b.clone()));
        assert_eq!(chooser.pick(&[a.clone(), b.clone()], at(true, 0, true)), None);
        assert!(!chooser.update(at(true, 5_000, false)), "behind, but nobody else is there");
        assert_eq!(chooser.current(), Some(&a));
        assert!(chooser.update(at(false, 0, false)));
        assert_eq!(chooser.current(), None);
    }

    #[test]
    fn a_site_that_is_chosen_last_decides_where_nobody_else_can() {
        let (a, b) = (SiteName::new("a"), SiteName::new("b"));
        let mut chooser = Chooser::new(vec![a.clone(), b.clone()], 1_000);
        let at = |b_ok: bool, b_last: bool| {
            move |site: &SiteName| match site.as_str() {
                "a" => Standing { available: true, hangs: false, lag_ms: 50_000, last: true, waits_here: true },
                _ => Standing { available: b_ok, hangs: false, lag_ms: 0, last: b_last, waits_here: false },
            }
        };
        for (b_ok, b_last, chosen) in [(true, false, &b), (false, false, &a), (true, true, &a), (true, false, &b)] {
            chooser.update(at(b_ok, b_last));
            assert_eq!(chooser.current(), Some(chosen), "{b_ok} {b_last}");
        }
        assert_eq!(chooser.pick(std::slice::from_ref(&b), at(true, false)), Some(a));
    }

    #[test]
    fn one_whose_service_does_not_answer_decides_only_where_no_other_can() {
        let (a, b) = (SiteName::new("a"), SiteName::new("b"));
        let mut chooser = Chooser::new(vec![a.clone(), b.clone()], 1_000);
        let at = |a_hangs, b_hangs| {
            let a = SiteName::new("a");
            move |site: &SiteName| {
                let hangs = if *site == a { a_hangs } else { b_hangs };
                Standing { available: true, hangs, lag_ms: 0, last: false, waits_here: *site == a }
            }
        };
        chooser.update(at(false, false));
        assert!(chooser.update(at(true, false)));
        assert_eq!(chooser.current(), Some(&b));
        assert!(!chooser.update(at(true, true)), "nobody is better");
        assert!(chooser.update(at(false, true)));
        assert_eq!(chooser.current(), Some(&a));
    }
}
