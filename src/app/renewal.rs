//! A new certificate long before this one ends: signed here, where this site signs for others, or asked of a hub.
use std::sync::Arc;
use std::time::Duration;

use crate::identity::{Credentials, Renewals};
use crate::link::Links;
use crate::model::SiteName;

/// How often it is looked whether a third of the time is left.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Between two attempts in vain: the first pause, and the longest.
const PAUSE_FIRST: Duration = Duration::from_secs(10);
const PAUSE_MAX: Duration = Duration::from_secs(3_600);

/// For ever. Any of the sites that this one dials will do, and none is needed by who signs himself; what is in the way
/// is said once.
pub(super) async fn keep_renewed(
    credentials: Arc<Credentials>,
    signs: Option<Arc<Renewals>>,
    links: Links,
    hubs: Vec<SiteName>,
) {
    let (mut pause, mut said) = (PAUSE_FIRST, String::new());
    loop {
        if !credentials.wants_renewal() {
            (pause, said) = (PAUSE_FIRST, String::new());
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        }
        let mut why = Vec::new();
        if let Some(signs) = &signs {
            match sign(&credentials, signs).await {
                Ok(()) => continue,
                Err(error) => why.push(format!("by this site itself: {error}")),
            }
        }
        let mut is_renewed = false;
        for hub in &hubs {
            let renewed = match links.renew(hub).await {
                Ok(pem) => take_up(&credentials, pem).await,
                Err(why) => Err(why),
            };
            match renewed {
                Ok(()) => {
                    is_renewed = true;
                    break;
                }
                Err(error) => why.push(format!("{hub}: {error}")),
            }
        }
        if is_renewed {
            continue;
        }
        let why = why.join("; ");
        if why != said {
            tracing::warn!("the certificate of this site cannot be renewed, trying on: {why}");
            said = why;
        }
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn sign(credentials: &Arc<Credentials>, signs: &Arc<Renewals>) -> Result<(), String> {
    let (credentials, signs) = (credentials.clone(), signs.clone());
    let signing = tokio::task::spawn_blocking(move || credentials.renew_with(&signs));
    signing.await.unwrap_or_else(|error| Err(error.to_string()))
}

async fn take_up(credentials: &Arc<Credentials>, pem: String) -> Result<(), String> {
    let credentials = credentials.clone();
    let replacing = tokio::task::spawn_blocking(move || credentials.replace(&pem));
    replacing.await.unwrap_or_else(|error| Err(error.to_string()))
}
