//! The stable codes.
use http::StatusCode;

/// Who is at fault, as far as a client can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    Appliance,
    Upstream,
    Peer,
}

macro_rules! codes {
    ($($variant:ident, $name:literal, $status:ident, $source:ident, $title:literal;)*) => {
        /// One for each page in `docs/errors/`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code { $($variant,)* }

        impl Code {
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];
            /// As in `code` and in the name of the page.
            pub fn name(self) -> &'static str {
                match self { $(Code::$variant => $name,)* }
            }
            /// The usual status; a cause may say otherwise.
            pub fn status(self) -> StatusCode {
                match self { $(Code::$variant => StatusCode::$status,)* }
            }
            pub fn source(self) -> Source {
                match self { $(Code::$variant => Source::$source,)* }
            }
            pub fn title(self) -> &'static str {
                match self { $(Code::$variant => $title,)* }
            }
            /// The whole page: for who cannot reach the address in `type`, as at a site whose line is cut.
            pub fn page(self) -> &'static str {
                match self { $(Code::$variant => include_str!(concat!("../../docs/errors/", $name, ".md")),)* }
            }
        }
    };
}

codes! {
    KeyReused, "key-reused", UNPROCESSABLE_ENTITY, Appliance, "The key was used with another request";
    KeyOfAnother, "key-of-another", CONFLICT, Appliance, "The key is another client's";
    KeyInFlight, "key-in-flight", CONFLICT, Appliance, "The first copy of this request is still in flight";
    ReplayUnavailable, "replay-unavailable", CONFLICT, Appliance,
        "The request was carried out, but its answer is not kept";
    OriginUnreachable, "origin-unreachable", CONFLICT, Peer, "Another site holds this key and cannot be reached";
    LaneBusy, "lane-busy", SERVICE_UNAVAILABLE, Appliance, "Other writes took all of the time";
    NoReplica, "no-replica", SERVICE_UNAVAILABLE, Upstream, "No replica can be asked";
    Overloaded, "overloaded", SERVICE_UNAVAILABLE, Appliance, "A limit is reached";
    Stale, "stale", SERVICE_UNAVAILABLE, Appliance, "The replica has not caught up with what the client has seen";
    OutcomeUnknown, "outcome-unknown", GATEWAY_TIMEOUT, Upstream, "It is not known whether the request was carried out";
    OutcomePending, "outcome-pending", GATEWAY_TIMEOUT, Peer, "Another site may still carry out the request";
    DiskReserve, "disk-reserve", INSUFFICIENT_STORAGE, Appliance, "The disk is down to its reserve";
    StoreDown, "store-down", SERVICE_UNAVAILABLE, Appliance, "The journal takes no writes";
    JournalHeld, "journal-held", SERVICE_UNAVAILABLE, Appliance, "Another program keeps the journal from writing";
    Draining, "draining", SERVICE_UNAVAILABLE, Appliance, "The appliance is about to stop";
    NoRoute, "no-route", NOT_FOUND, Appliance, "No service takes this request";
    BadRequest, "bad-request", BAD_REQUEST, Appliance, "The request is not well-formed HTTP";
    KeyMalformed, "key-malformed", BAD_REQUEST, Appliance, "The idempotency key is malformed";
    KeyRequired, "key-required", BAD_REQUEST, Appliance, "This service requires an idempotency key";
    SeenMalformed, "seen-malformed", BAD_REQUEST, Appliance, "Holdfast-Seen is malformed";
    StoreMissing, "store-missing", BAD_REQUEST, Appliance, "The request does not say which store it is for";
    StoreForeign, "store-foreign", BAD_REQUEST, Appliance, "The request is for a store that is not served here";
    BodyTooLarge, "body-too-large", PAYLOAD_TOO_LARGE, Appliance, "The body is over the limit";
    HeadersTooLarge, "headers-too-large", REQUEST_HEADER_FIELDS_TOO_LARGE, Appliance, "The headers are over the limit";
    RequestTimeout, "request-timeout", REQUEST_TIMEOUT, Appliance, "The body did not arrive in time";
    ExpectationFailed, "expectation-failed", EXPECTATION_FAILED, Appliance, "The expectation cannot be met";
    UpgradeUnsupported, "upgrade-unsupported", NOT_IMPLEMENTED, Appliance, "Upgrades are not supported";
    MethodUnsupported, "method-unsupported", NOT_IMPLEMENTED, Appliance, "The method is not supported";
    UnknownToken, "unknown-token", NOT_FOUND, Appliance, "No write has this status address";
    UpstreamUnreachable, "upstream-unreachable", SERVICE_UNAVAILABLE, Upstream, "No endpoint could be reached";
    UpstreamBroken, "upstream-broken", BAD_GATEWAY, Upstream, "The service broke off";
    UpstreamTimeout, "upstream-timeout", GATEWAY_TIMEOUT, Upstream, "The service did not answer in time";
    PeerUnreachable, "peer-unreachable", BAD_GATEWAY, Peer, "The site that answers cannot be reached";
    LoopDetected, "loop-detected", LOOP_DETECTED, Appliance, "The request came back to where it had been";
    Unauthorized, "unauthorized", UNAUTHORIZED, Appliance, "The admin token is missing or wrong";
    UnknownWrite, "unknown-write", NOT_FOUND, Appliance, "No write has this id or key";
    UnknownService, "unknown-service", NOT_FOUND, Appliance, "No service has this name";
    OperationRejected, "operation-rejected", CONFLICT, Appliance, "The order cannot be carried out";
    NotFound, "not-found", NOT_FOUND, Appliance, "There is nothing at this address";
    MethodNotAllowed, "method-not-allowed", METHOD_NOT_ALLOWED, Appliance, "The address takes other methods";
    Internal, "internal", INTERNAL_SERVER_ERROR, Appliance, "The appliance failed";
}
