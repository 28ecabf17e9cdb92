//! An operator's invitation for a box: what `holdfast identity invite` orders. The secret of the code was made where it
//! was typed, and never comes here.
use super::groups::Registry;
use crate::admin::{InviteMade, InviteQuery, OperateError};
use crate::config::Config;
use crate::identity::{now_s, unhex};
use crate::model::SiteName;

pub(super) async fn invite(
    registry: &Registry,
    config: &Config,
    asked: InviteQuery,
) -> Result<InviteMade, OperateError> {
    let rejected = |why: String| OperateError::Rejected(why);
    let (Some(joins), Some(credentials)) = (registry.lines.joins.get(), registry.lines.credentials.get()) else {
        let site = &config.site;
        return Err(rejected(format!("boxes do not join at {site}: it signs nothing, it has no [identity.renewals]")));
    };
    if config.link_listen.is_none() {
        return Err(rejected(format!(
            "boxes do not join at {}: it has no link.listen to which they come",
            config.site
        )));
    }
    let secret: [u8; 32] =
        unhex(&asked.secret).ok_or_else(|| rejected("secret must be a SHA-256 in hexadecimal".to_owned()))?;
    let trust = credentials.current().trust(&config.site).map_err(rejected)?;
    let (invites, site) = (joins.invites.clone(), SiteName::new(asked.site));
    let making = tokio::task::spawn_blocking(move || invites.invite(&site, &secret, asked.hours, now_s()));
    let made =
        making.await.map_err(|error| rejected(error.to_string()))?.map_err(|error| rejected(error.to_string()))?;
    tracing::info!(site = %made.site, until = %made.until, "a code was made by which a box can join");
    Ok(InviteMade { site: made.site, until: made.until, hub: config.site.clone(), trust: trust.to_hex() })
}
