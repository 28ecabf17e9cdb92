//! Pages of other sites stand apart from what clients wait for, and are taken in by slices: the backlog of a cut
//! arrives as fast as the line carries it, and a live write waits for the transaction of a slice, not for those of
//! whole pages.
use tokio::sync::mpsc;

use super::Page;
use crate::model::SiteName;

/// Pages that may wait for the task; the streams that bring them wait too.
pub(super) const PAGES_MAX: usize = 64;
/// What is taken in while the transaction of the last slice is not durable. A client's write waits for three
/// transactions.
const SLICE_BESIDE_WRITES: Slice = Slice { items: 16, bytes: 64 << 10 };
const SLICE: Slice = Slice { items: 1_024, bytes: 4 << 20 };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slice {
    items: usize,
    bytes: usize,
}

pub(super) struct Intake {
    pages: mpsc::Receiver<(SiteName, Page)>,
    /// What is left of the page that is taken in now.
    open: Option<(SiteName, Page)>,
    /// The batch that holds what was taken in last.
    batch: u64,
    taken: Slice,
    slice: Slice,
}

impl Intake {
    pub(super) fn new(pages: mpsc::Receiver<(SiteName, Page)>) -> Self {
        Self { pages, open: None, batch: 0, taken: Slice { items: 0, bytes: 0 }, slice: SLICE }
    }

    /// Clients write here now, or have not for a while.
    pub(super) fn beside_writes(&mut self, is_live: bool) {
        self.slice = if is_live { SLICE_BESIDE_WRITES } else { SLICE };
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
            self.taken = Slice { items: 0, bytes: 0 };
        }
        if !self.has_room() {
            return None;
        }
        let (from, mut page) = self.open.take().or_else(|| self.pages.try_recv().ok())?;
        let (mut items, mut bytes) = (0, 0);
        for item in &page.items {
            // One at least, however long.
            let is_full = self.taken.items + items >= self.slice.items || self.taken.bytes + bytes >= self.slice.bytes;
            if items > 0 && is_full {
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
        self.taken = Slice { items: self.taken.items + items, bytes: self.taken.bytes + bytes };
        Some((from, page))
    }

    /// What was taken in is in this batch, or in one before it.
    pub(super) fn taken_in(&mut self, batch: u64) {
        self.batch = batch;
    }

    fn has_room(&self) -> bool {
        self.taken.items < self.slice.items && self.taken.bytes < self.slice.bytes
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

    const SLICE_ITEMS: usize = SLICE_BESIDE_WRITES.items;

    #[test]
    fn a_long_page_is_taken_in_by_slices_each_when_the_one_before_is_durable() {
        let (sender, receiver) = mpsc::channel(PAGES_MAX);
        let mut intake = Intake::new(receiver);
        intake.beside_writes(true);
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
    fn after_a_full_slice_no_page_is_waited_for_before_it_is_durable() {
        let (sender, receiver) = mpsc::channel(PAGES_MAX);
        let mut intake = Intake::new(receiver);
        intake.beside_writes(true);
        sender.try_send(page(0, SLICE_ITEMS, 100)).unwrap();
        assert_eq!(positions(&intake.next(0)).len(), SLICE_ITEMS);
        intake.taken_in(1);
        assert!(!intake.is_hungry(0) && intake.is_hungry(1));
    }

    #[test]
    fn short_pages_share_a_slice_and_long_writes_are_taken_alone() {
        let (sender, receiver) = mpsc::channel(PAGES_MAX);
        let mut intake = Intake::new(receiver);
        intake.beside_writes(true);
        for n in 0..4 {
            sender.try_send(page(n * 5, 5, 100)).unwrap();
        }
        for _ in 0..3 {
            assert_eq!(positions(&intake.next(0)).len(), 5);
            intake.taken_in(1);
        }
        assert_eq!(positions(&intake.next(0)).len(), SLICE_ITEMS - 15);
        assert_eq!(intake.next(0), None);
        assert_eq!(positions(&intake.next(1)).len(), 20 - SLICE_ITEMS);
        intake.taken_in(2);

        sender.try_send(page(20, 2, SLICE_BESIDE_WRITES.bytes)).unwrap();
        assert_eq!(positions(&intake.next(2)), [21]);
        intake.taken_in(3);
        assert_eq!(intake.next(2), None);
        assert_eq!(positions(&intake.next(3)), [22]);
        intake.taken_in(4);

        intake.beside_writes(false);
        sender.try_send(page(22, 256, 100)).unwrap();
        sender.try_send(page(278, 256, 100)).unwrap();
        assert_eq!(positions(&intake.next(4)).len(), 256, "nobody waits for it");
        intake.taken_in(5);
        assert_eq!(positions(&intake.next(4)).len(), 256);
    }
}
