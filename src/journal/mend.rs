//! Writing a broken record anew, as another site has it.
use rusqlite::OptionalExtension;

use super::apply::{Applier, WriteError};
use super::names::{self, GroupName};
use super::record::{self, Key, Table};
use super::standing::Standing;
use super::{Fate, Here, Row};
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
            let Some(here) = self.as_it_stood(row)? else {
                tracing::error!(
                    id = %row.id,
                    "whether this replica had begun a write whose record is broken cannot be told"
                );
                return Ok(());
            };
            self.row(group, &Row { here, ..row.clone() })?;
        }
        match request {
            Some(request) => self.replace_request(group, row.id, request),
            None => Ok(()),
        }
    }

    /// Where the broken row stood, as far as the columns beside it tell: `row` knows only whether it was decided.
    /// `None` where it counts as untouched and nothing confirms that (G2).
    fn as_it_stood(&self, row: &Row) -> Result<Option<Here>, WriteError> {
        let Some(row_id) = self.names().row_id(row.id) else { return Ok(None) };
        let failed = WriteError::sqlite("read the columns of a broken row");
        let sql = "SELECT key, lane, pos, standing FROM write WHERE id = ?1";
        let mut read = self.connection().prepare_cached(sql).map_err(&failed)?;
        type Columns = (Option<i64>, i64, Option<i64>, i64);
        let found = read.query_row([row_id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)));
        let columns: Option<Columns> = found.optional().unwrap_or(None);
        let key = row.facts.key.map(|key| key.short() as i64);
        let position = row.position.map(|(position, _)| position as i64);
        let fits = |&(k, lane, at, _): &Columns| (k, lane, at) == (key, row.facts.lane.0 as i64, position);
        let standing = columns.filter(fits).map(|(_, _, _, standing)| standing);
        Ok(match &row.here {
            Here::Untouched => (standing == Some(Standing::Received as i64)).then_some(Here::Untouched),
            Here::Decided(Fate::Applied | Fate::Skipped) if standing == Some(Standing::Applied as i64) => {
                Some(Here::Decided(Fate::Applied))
            }
            // A copy of another one has the same key: it is found by that.
            Here::Decided(Fate::Applied | Fate::Skipped) if standing == Some(Standing::Final as i64) => {
                Some(Here::Decided(Fate::Skipped))
            }
            here => Some(here.clone()),
        })
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
