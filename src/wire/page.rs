//! A page: its head, then one frame per record: length (4) | CRC32 of the record (4) | record. The frames together are
//! compressed with zstd where that makes them smaller. The frame is what the journal can keep as it came.
use std::sync::Arc;

use bytes::Bytes;
use wincode::{SchemaRead, SchemaWrite};

use super::envelope::{read_value, seal_into, write_value};
use super::{Error, Kind, open};
use crate::model::{Group, Item, LogId, SiteName};
use crate::service::Page;

/// Fastest level: a line is paced, an edge machine's CPU is not spare.
const LEVEL: i32 = 1;
/// Smaller bodies are not worth the call.
const COMPRESS_FROM_BYTES: usize = 1_024;
const FRAME_BYTES: usize = 8;

#[derive(SchemaRead, SchemaWrite)]
struct Head {
    group: Group,
    log: LogId,
    site: SiteName,
    from: u64,
    records: u32,
    /// Of all frames together, before compression.
    body_bytes: u32,
    compressed: bool,
    body: Vec<u8>,
}

pub fn encode_page(group: &Group, page: &Page) -> Result<Bytes, Error> {
    let frames = frames_of(&page.items)?;
    let oversized = |what, got| move |_| Error::Oversized { what, got, limit: u32::MAX as usize };
    let body_bytes = u32::try_from(frames.len()).map_err(oversized("page body", frames.len()))?;
    let records = u32::try_from(page.items.len()).map_err(oversized("page", page.items.len()))?;
    let compressed = (frames.len() >= COMPRESS_FROM_BYTES)
        .then(|| zstd::bulk::compress(&frames, LEVEL).map_err(Error::Compression))
        .transpose()?
        .filter(|compressed| compressed.len() < frames.len());
    let head = Head {
        group: group.clone(),
        log: page.log,
        site: page.site.clone(),
        from: page.from,
        records,
        body_bytes,
        compressed: compressed.is_some(),
        body: compressed.unwrap_or(frames),
    };
    let mut out = Vec::with_capacity(256 + head.body.len());
    seal_into(&mut out, Kind::Page, |out| write_value(out, "page", &head))?;
    Ok(out.into())
}

fn frames_of(items: &[Arc<Item>]) -> Result<Vec<u8>, Error> {
    let mut frames = Vec::with_capacity(items.iter().map(|item| item.weight() + FRAME_BYTES).sum());
    for item in items {
        let start = frames.len();
        frames.extend_from_slice(&[0; FRAME_BYTES]);
        write_value(&mut frames, "record", &**item)?;
        let record = start + FRAME_BYTES;
        let length = frames.len() - record;
        let limit = u32::MAX as usize;
        let length = u32::try_from(length).map_err(|_| Error::Oversized { what: "record", got: length, limit })?;
        let crc = crc32fast::hash(&frames[record..]);
        frames[start..start + 4].copy_from_slice(&length.to_le_bytes());
        frames[start + 4..record].copy_from_slice(&crc.to_le_bytes());
    }
    Ok(frames)
}

/// `limit` bounds the envelope's payload as well as what its body decompresses to.
pub fn decode_page(envelope: &[u8], limit: usize) -> Result<(Group, Page), Error> {
    let head: Head = read_value("page", open(envelope, Kind::Page, limit)?)?;
    let expected = head.body_bytes as usize;
    if expected > limit {
        return Err(Error::Oversized { what: "page body", got: expected, limit });
    }
    let frames = match head.compressed {
        true => zstd::bulk::decompress(&head.body, expected).map_err(Error::Compression)?,
        false => head.body,
    };
    if frames.len() != expected {
        return Err(Error::DecompressedSize { got: frames.len(), expected });
    }
    let items = items_of(&frames, head.from, head.records as usize)?;
    Ok((head.group, Page { log: head.log, site: head.site, from: head.from, items }))
}

fn items_of(mut frames: &[u8], from: u64, records: usize) -> Result<Vec<Arc<Item>>, Error> {
    // What the head claims is not believed further than the bytes that are there.
    let mut items = Vec::with_capacity(records.min(frames.len() / FRAME_BYTES));
    for index in 0..records {
        let missing = Error::RecordMissing { got: index, expected: records };
        let Some((head, rest)) = frames.split_at_checked(FRAME_BYTES) else { return Err(missing) };
        let length = u32::from_le_bytes(head[..4].try_into().expect("4 bytes")) as usize;
        let got = u32::from_le_bytes(head[4..].try_into().expect("4 bytes"));
        let Some((record, rest)) = rest.split_at_checked(length) else { return Err(missing) };
        let position = from.saturating_add(index as u64).saturating_add(1);
        let computed = crc32fast::hash(record);
        if got != computed {
            return Err(Error::RecordChecksum { index, position, got, computed });
        }
        let item: Item = read_value("record of a page", record)?;
        if item.position != position {
            return Err(Error::RecordPosition { index, got: item.position, expected: position });
        }
        items.push(Arc::new(item));
        frames = rest;
    }
    if !frames.is_empty() {
        return Err(Error::TrailingBytes { extra: frames.len() });
    }
    Ok(items)
}
