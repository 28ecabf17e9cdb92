//! Writing a broken record anew, as another site has it.
use rusqlite::OptionalExtension;

use super::Row;
use super::apply::{Applier, WriteError};
use super::names::{self, GroupName};
use super::record::{self, Key, Table};
use crate::model::{Chain, Item, Request};

impl Applier<'_> {
    /// See [`super::Op::Mend`].
    pub(super) fn mend(
        &mut self,
        group: GroupName,
        row: &Row,
        request: Option<&Request>,
        witnesses: &[(u64, Chain)],
    ) -> Result<(), WriteError> {
        if let Err(why) = self.is_proven(group, row, witnesses)? {
            tracing::error!(id = %row.id, why, "what another site sent of a broken record is not what stood there");
            return Ok(());
        }
        let Some((position, _)) = row.position else { return Ok(()) };
        if self.stored(group, row, position)?.is_none() {
            self.row(group, row)?;
        }
        match request {
            Some(request) => self.replace_request(group, row.id, request),
            None => Ok(()),
        }
    }

    /// Its chain follows from the one before, and leads to one that is whole here.
    fn is_proven(
        &self,
        group: GroupName,
        row: &Row,
        witnesses: &[(u64, Chain)],
    ) -> Result<Result<(), &'static str>, WriteError> {
        let (Some((position, chain)), Some(outcome)) = (row.position, &row.outcome) else {
            return Ok(Err("it has no position"));
        };
        if witnesses.first() != row.position.as_ref() {
            return Ok(Err("its chain is not the one that its witnesses begin with"));
        }
        let Some(meta) = self.series_meta(group, row.id.log) else { return Ok(Err("nothing of its series is stored")) };
        if position <= meta.forgotten || position > meta.received {
            return Ok(Err("its position is not stored here"));
        }
        if self.holder(group, row, position)?.is_some_and(|holder| holder != row.id) {
            return Ok(Err("its position is another write's"));
        }
        let before = match position {
            1 => Some(Chain::default()),
            _ => self.stored(group, row, position - 1)?.map(|(_, chain)| chain),
        };
        let follows = |before| Item::chain_over(before, position, row.id, &row.facts, outcome) == chain;
        if !before.is_none_or(follows) {
            return Ok(Err("its chain does not follow from the one before"));
        }
        for &(at, told) in witnesses {
            let known = match self.stored(group, row, at)? {
                Some((_, chain)) => Some(chain),
                None => (at == meta.received).then_some(meta.chain),
            };
            if let Some(known) = known {
                return Ok(if known == told { Ok(()) } else { Err("its chain does not lead to what stands after it") });
            }
        }
        Ok(Err("nothing that is whole here proves it"))
    }

    /// Who has a position of the same series, as the list of positions says.
    fn holder(&self, group: GroupName, row: &Row, position: u64) -> Result<Option<crate::model::WriteId>, WriteError> {
        let Some(series) = self.names().series(group.ix, row.id.log) else { return Ok(None) };
        let failed = WriteError::sqlite("read a position");
        let mut find = self.connection().prepare_cached("SELECT id FROM place WHERE at = ?1").map_err(&failed)?;
        let row_id = find.query_row([names::place(series, position)], |row| row.get(0)).optional().map_err(&failed)?;
        Ok(row_id.and_then(|row_id| self.names().write_id(row_id)))
    }

    /// The position and chain of the row that stands there, if it is whole.
    fn stored(&self, group: GroupName, row: &Row, position: u64) -> Result<Option<(u64, Chain)>, WriteError> {
        let Some(id) = self.holder(group, row, position)? else { return Ok(None) };
        let Some(row_id) = self.names().row_id(id) else { return Ok(None) };
        let failed = WriteError::sqlite("read a row");
        let mut find = self.connection().prepare_cached("SELECT body FROM write WHERE id = ?1").map_err(&failed)?;
        let body: Option<Vec<u8>> = find.query_row([row_id], |row| row.get(0)).optional().map_err(&failed)?;
        let found = body.and_then(|body| record::decode::<Row>(Key::write(Table::Row, group.tag, id), &body).ok());
        Ok(found.and_then(|found| found.position).filter(|(at, _)| *at == position))
    }
}
