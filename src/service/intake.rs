//! Pages of other sites stand apart from what clients wait for, and are taken in by slices: the backlog of a cut arrives as fast
//! as the line carries it, and a live write waits for the transaction of a slice, not for those of whole pages.
use tokio::sync::mpsc;

use super::Page;
use crate::model::SiteName;

/// Pages that may wait for the task; the streams that bring them wait too.
pub(super) const PAGES_MAX: usize = 64;
/// What is taken in while the transaction of the last slice is not durable.
const SLICE_ITEMS: usize = 64;
const SLICE_BYTES: usize = 256 << 10;

pub(super) struct Intake {
    pages: mpsc::Receiver<(SiteName, Page)>,
    /// What is left of the page that is taken in now.
    open: Option<(SiteName, Page)>,
    /// The batch that holds what was taken in last.
    batch: u64,
    items: usize,
    bytes: usize,
}

impl Intake {
    pub(super) fn new(pages: mpsc::Receiver<(SiteName, Page)>) -> Self {
        Self { pages, open: None, batch: 0, items: 0, bytes: 0 }
    }

    /// Whether to wait for the next page. `durable` is the last batch that is.
    pub(super) fn is_hungry(&self, durable: u64) -> bool {
        self.open.is_none() && (self.batch <= durable || self.has_room())
    }

    pub(super) async fn arrived(&mut self) -> Option<(SiteName, Page)> {
        self.pages.recv().await
    }

    /// A page that was waited for.
    pub(super) fn open(&mut self, page: (SiteName, Page)) {
        self.open = Some(page);
    }

    /// The next slice, unless enough of them is under way to the disk.
    pub(super) fn next(&mut self, durable: u64) -> Option<(SiteName, Page)> {
        if self.batch <= durable {
            (self.items, self.bytes) = (0, 0);
        }
        if !self.has_room() {
            return None;
        }
        let (from, mut page) = self.open.take().or_else(|| self.pages.try_recv().ok())?;
        let (mut items, mut bytes) = (0, 0);
        for item in &page.items {
            // One at least, however long.
            if items > 0 && (self.items + items >= SLICE_ITEMS || self.bytes + bytes >= SLICE_BYTES) {
                break;
            }
            items += 1;
            bytes += item.weight();
        }
        if items < page.items.len() {
            let rest = page.items.split_off(items);
            let rest = Page { log: page.log, site: page.site.clone(), from: page.from + items as u64, items: rest };
            self.open = Some((from.clone(), rest));
        }
        self.items += items;
        self.bytes += bytes;
        Some((from, page))
    }

    /// What was taken in is in this batch, or in one before it.
    pub(super) fn taken_in(&mut self, batch: u64) {
        self.batch = batch;
    }

    fn has_room(&self) -> bool {
        self.items < SLICE_ITEMS && self.bytes < SLICE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Item, LogId};
    use crate::service::testing;

    fn page(from: u64, count: usize, body_bytes: usize) -> (SiteName, Page) {
        let log = LogId { store: [7; 16], incarnation: 1 };
        let items = (1..=count as u64).map(|n| Arc::new(testing::item(log, from + n, body_bytes))).collect();
        (SiteName::new("b"), Page { log, site: SiteName::new("b"), from, items })
    }

    fn positions(taken: &Option<(SiteName, Page)>) -> Vec<u64> {
        let items = |(_, page): &(SiteName, Page)| page.items.iter().map(|item: &Arc<Item>| item.position).collect();
        taken.as_ref().map(items).unwrap_or_default()
    }

    #[test]
    fn a_long_page_is_taken_in_by_slices_each_when_the_one_before_is_durable() {
        let (sender, receiver) = mpsc::channel(PAGES_MAX);
        let mut intake = Intake::new(receiver);
        sender.try_send(page(10, SLICE_ITEMS + 3, 100)).unwrap();
        assert!(intake.is_hungry(0));
        let first = intake.next(0);
        assert_eq!(positions(&first), (11..11 + SLICE_ITEMS as u64).collect::<Vec<_>>());
        intake.taken_in(1);
        assert_eq!(intake.next(0), None, "its transaction is under way");
        assert!(!intake.is_hungry(0));
        let second = intake.next(1);
        assert_eq!(second.as_ref().unwrap().1.from, 10 + SLICE_ITEMS as u64);
        assert_eq!(positions(&second), (11 + SLICE_ITEMS as u64..14 + SLICE_ITEMS as u64).collect::<Vec<_>>());
        intake.taken_in(2);
        assert_eq!(intake.next(1), None, "nothing is left");
        assert!(intake.is_hungry(1), "short pages share a transaction");
    }

    #[test]
    fn short_pages_share_a_slice_and_long_writes_are_taken_alone() {
        let (sender, receiver) = mpsc::channel(PAGES_MAX);
        let mut intake = Intake::new(receiver);
        for n in 0..4 {
            sender.try_send(page(n * 20, 20, 100)).unwrap();
        }
        for _ in 0..3 {
            assert_eq!(positions(&intake.next(0)).len(), 20);
            intake.taken_in(1);
        }
        assert_eq!(positions(&intake.next(0)).len(), SLICE_ITEMS - 60);
        assert_eq!(intake.next(0), None);
        assert_eq!(positions(&intake.next(1)).len(), 80 - SLICE_ITEMS);
        intake.taken_in(2);

        sender.try_send(page(80, 2, 2 * SLICE_BYTES)).unwrap();
        assert_eq!(positions(&intake.next(2)), [81]);
        intake.taken_in(3);
        assert_eq!(intake.next(2), None);
        assert_eq!(positions(&intake.next(3)), [82]);
    }
}
