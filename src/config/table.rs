//! The table of keys: the only place where a key, its unit, its default and its reason are written down.
use super::keys::{ANY_MS, Key, Kind, Section};

pub(super) static ROOT: Section = Section {
    doc: "The site and what concerns all of its services.",
    keys: &[
        Key::must("site", Kind::Name, "Name of this site; one of `realm.sites`."),
        Key::must(
            "data_dir",
            Kind::Text,
            "Folder of the journal. One process at a time; relative to the file's folder.",
        ),
        Key::or(
            "drain",
            ANY_MS,
            "\"30s\"",
            "How long a stop waits for requests in flight. A second signal ends at once.",
        ),
        Key::or(
            "start_within",
            ANY_MS,
            "\"30s\"",
            "For so long a start tries again what another moment may give: an address that the machine does not have \
            yet, \
             a port that is taken, a `data_dir` that is not mounted or in use. Then it ends with 75.",
        ),
        Key::or("threads", Kind::Int { min: 0, max: 1024 }, "0", "Worker threads; 0: one for each core."),
        Key::must("realm", Kind::Table(&REALM), "The fleet that replicates together."),
        Key::must("gateway", Kind::Table(&GATEWAY), "Where clients come in."),
        Key::may("link", Kind::Table(&LINK), "At a hub: where other sites dial in. How often a line at rest is tried."),
        Key::may("control", Kind::Table(&CONTROL), "The control plane: hints only, may be lost at any time."),
        Key::may(
            "identity",
            Kind::Table(&IDENTITY),
            "Certificates for links and control; without it both are plain TCP.",
        ),
        Key::may("peer", Kind::Tables(&PEER), "Sites that this site dials."),
        Key::may("store", Kind::Table(&STORE), "The journal."),
        Key::may("admin", Kind::Table(&ADMIN), "The admin listener: health, metrics, the API."),
        Key::may("log", Kind::Table(&LOG), "What is logged, and how."),
        Key::may("privacy", Kind::Table(&PRIVACY), "What people are not shown of requests and answers."),
        Key::must("service", Kind::Tables(&SERVICE), "The applications behind this site."),
    ],
    later: &["solver", "egress", "discovery", "events", "jwt"],
};

static REALM: Section = Section {
    doc: "The same at all sites: compared when two sites connect.",
    keys: &[
        Key::must("name", Kind::Name, "Name of the fleet."),
        Key::must(
            "sites",
            Kind::List(&Kind::Name),
            "All sites. A name that is not listed is refused, never given a stream.",
        ),
        Key::may(
            "hubs",
            Kind::List(&Kind::Name),
            "Sites that others dial. Absent: this site where it has `[link]`, and every peer with a `link` address.",
        ),
    ],
    later: &[],
};

static GATEWAY: Section = Section {
    doc: "HTTP/1.1 and HTTP/2 (h2c, or by ALPN with TLS) on every address.",
    keys: &[
        Key::must("listen", Kind::OneOrMany(&Kind::Listen), "Addresses to listen at."),
        Key::may("tls", Kind::Table(&TLS), "Serve TLS instead of plain HTTP."),
        Key::or("max_body", Kind::Size { min: 0, max: 256 << 20 }, "\"8MiB\"", "Longest body of a write; longer: 413."),
        Key::may("limits", Kind::Table(&GATEWAY_LIMITS), "What one listener takes (G6)."),
    ],
    later: &["jwt", "api_keys", "rate_limit", "quota", "trusted_proxies", "acl"],
};

static TLS: Section = Section {
    doc: "Certificates of the listener. Paths are relative to the file's folder.",
    keys: &[
        Key::must("cert", Kind::Text, "Certificate chain, PEM."),
        Key::must("key", Kind::Text, "Private key, PEM."),
    ],
    later: &["client_ca"],
};

static GATEWAY_LIMITS: Section = Section {
    doc: "At a limit new work is refused, nothing that was accepted is dropped.",
    keys: &[
        Key::or(
            "connections",
            Kind::Int { min: 1, max: 1_000_000 },
            "2000",
            "Open connections; more wait to be accepted.",
        ),
        Key::or(
            "client_connections",
            Kind::Int { min: 1, max: 1_000_000 },
            "1000",
            "Of them, of one client address (IPv6: of one /64); more: 503 and closed.",
        ),
        Key::or(
            "client_requests",
            Kind::Int { min: 1, max: 1_000_000 },
            "256",
            "Requests of one client address that are under way, to the last byte of their answers; more: 503.",
        ),
        Key::or(
            "bodies",
            Kind::Size { min: 1 << 20, max: 64 << 30 },
            "\"64MiB\"",
            "Bodies of writes in memory, together, and as much again of answers to them that are not taken yet; one \
             client address may have half. Beyond it a body waits a second, then: 503.",
        ),
        Key::or("headers", Kind::Int { min: 16, max: 1_000 }, "100", "Header lines of one request; more: 431."),
        Key::or(
            "head",
            Kind::Size { min: 8 << 10, max: 1 << 20 },
            "\"32KiB\"",
            "Request line and headers together; more: 431.",
        ),
        Key::or(
            "head_timeout",
            ANY_MS,
            "\"10s\"",
            "From the first byte of a request, empty lines too, to the end of its headers; later: 408.",
        ),
        Key::or("body_timeout", ANY_MS, "\"30s\"", "Longest pause while a body arrives; longer: 408."),
        Key::or(
            "idle_timeout",
            ANY_MS,
            "\"75s\"",
            "A connection without a request is closed after this; longest silence in an answer, of its service or its \
             client.",
        ),
    ],
    later: &[],
};

static LINK: Section = Section {
    doc: "A hub listens; an edge behind NAT only dials. TLS with client certificates where there is an `[identity]`.",
    keys: &[
        Key::may("listen", Kind::Listen, "At a hub: address for links, usually port 7443. An edge has none."),
        Key::or(
            "keepalive",
            Kind::Duration { min: 5_000, max: 600_000 },
            "\"25s\"",
            "Over a line at rest the side that dialled says so often that it lives, and wants an answer. Shorter than \
             what NAT and firewalls on the way forget idle connections after; longer costs a metered line less.",
        ),
    ],
    later: &[],
};

static CONTROL: Section = Section {
    doc: "A hub runs the zenoh router inside; an edge dials the hubs.",
    keys: &[
        Key::or("enabled", Kind::Bool, "true", "`false`: no hints; everything still works, some of it later."),
        Key::may("listen", Kind::Listen, "At a hub: address of the router, usually port 7447."),
    ],
    later: &["lan"],
};

static IDENTITY: Section = Section {
    doc: "One certificate per site; its DNS name (SAN) is the site's. Paths are relative to the file's folder.",
    keys: &[
        Key::must("ca", Kind::Text, "Authorities that sign the sites' certificates, PEM."),
        Key::must("cert", Kind::Text, "This site's certificate chain, PEM."),
        Key::must("key", Kind::Text, "Its private key, PEM."),
        Key::or(
            "renew",
            Kind::Bool,
            "false",
            "When a third of its time is left, replace `cert`: signed with `renewals`, or by a site that this one \
            dials.",
        ),
        Key::may("renewals", Kind::Table(&RENEWALS), "At a hub: sign what linked sites show anew, and let boxes join."),
    ],
    later: &[],
};

static RENEWALS: Section = Section {
    doc: "An authority below the realm's own (`holdfast identity delegate`), for sites of `realm.sites` that dial \
        this one.",
    keys: &[
        Key::must("cert", Kind::Text, "Its certificate, PEM."),
        Key::must("key", Kind::Text, "Its private key, PEM."),
        Key::or("days", Kind::Int { min: 1, max: 3_650 }, "90", "How long what it signs lasts."),
    ],
    later: &[],
};

static PEER: Section = Section {
    doc: "Of a pair one side dials, both directions run over its connection.",
    keys: &[
        Key::must("site", Kind::Name, "Name of the other site; one of `realm.sites`."),
        Key::may(
            "link",
            Kind::Text,
            "`https://host:port`, or `http://` without `[identity]`. Absent: it dials this site.",
        ),
        Key::may("control", Kind::Text, "`tls/host:port` or `tcp/host:port`. Absent: the link's host, port 7447."),
    ],
    later: &[],
};

static STORE: Section = Section {
    doc: "Where writes are kept.",
    keys: &[
        Key::or("url", Kind::Text, "\"sqlite\"", "`sqlite`: `data_dir/holdfast.db`."),
        Key::or(
            "durability",
            Kind::OneOf { valid: &["power-loss", "process-crash"], later: &[] },
            "\"power-loss\"",
            "What a write that was answered survives. `power-loss` waits for the disk before each answer.",
        ),
        Key::or(
            "reserve",
            Kind::Size { min: 0, max: 1 << 50 },
            "\"512MiB\"",
            "Bytes that stay free; below it writes get 507.",
        ),
    ],
    later: &[],
};

static ADMIN: Section = Section {
    doc: "For operators and probes, not for clients.",
    keys: &[
        Key::or("listen", Kind::Listen, "\"127.0.0.1:9797\"", "Address of the admin listener."),
        Key::may("token", Kind::Text, "Sent as `Authorization: Bearer …`; required where `listen` is not loopback."),
    ],
    later: &["dashboard"],
};

static LOG: Section = Section {
    doc: "Logs go to standard error.",
    keys: &[
        Key::or("format", Kind::OneOf { valid: &["text", "json"], later: &["otlp"] }, "\"text\"", "Form of a line."),
        Key::or(
            "filter",
            Kind::Text,
            "\"info\"",
            "As in `RUST_LOG`, which comes first where it is set. `zenoh=error` is added where it says nothing of \
            zenoh.",
        ),
        Key::or(
            "access",
            Kind::OneOf { valid: &["off", "sampled", "all"], later: &[] },
            "\"off\"",
            "Requests of clients as JSON, one a line: every hundredth and those answered with 500 and above, or all.",
        ),
    ],
    later: &[],
};

static PRIVACY: Section = Section {
    doc: "Of what commands, the API and records show; nothing of what is kept or sent. Headers that hold credentials \
          (`Authorization`, `Cookie`, names with `token`, `secret`, `key`, `auth`, `session` and the like), and \
          parameters of addresses with such names in whatever header, are never shown.",
    keys: &[Key::may(
        "mask",
        Kind::OneOrMany(&Kind::Text),
        "Values shown as `***`: `json:/card/*` in bodies, where `*` is any one member or element and names are the \
         same in any case; `header:NAME`; `form:NAME`, a parameter of a query or a form. Where bodies are masked, one \
         that is not read as JSON (or as a form) is shown by size and hash alone.",
    )],
    later: &[],
};

static SERVICE: Section = Section {
    doc: "One upstream application. Without `replicas` it is a plain proxy: no journal, no keys.",
    keys: &[
        Key::must("name", Kind::Name, "Name of the service, the same at all sites."),
        Key::may(
            "match",
            Kind::Tables(&MATCH),
            "Which requests are meant; any element. Absent: every path. The longest path wins.",
        ),
        Key::may("endpoints", Kind::Tables(&ENDPOINT), "Instances that serve this site's replica."),
        Key::may(
            "replicas",
            Kind::List(&Kind::Name),
            "Sites that must get every write. `{store}`: the site named by `store_from`.",
        ),
        Key::may(
            "store_from",
            Kind::Text,
            "At a hub: `header:NAME`, `host` or `path:N` names the store. Missing or foreign: 400.",
        ),
        Key::may(
            "write_methods",
            Kind::List(&Kind::Text),
            "Methods that change state, any token. Absent: POST, PUT, PATCH, DELETE. A method that is neither here nor \
             a read (GET, HEAD, OPTIONS, QUERY, PROPFIND, REPORT) is refused on a service with replicas.",
        ),
        Key::may("answer", Kind::Table(&ANSWER), "Which site's replica answers."),
        Key::may(
            "lane",
            Kind::OneOrMany(&Kind::Text),
            "Writes of one lane are taken one at a time: `service`, `header:NAME`, `cookie:NAME`, `jwt:CLAIM`, `path`, \
             `path:N`, `json:/pointer`, `client-ip`; the first of a list that is found. \
             Absent: `[\"header:x-session-id\", \"jwt:sub\", \"path\"]`. `jwt:` reads the token without verifying it.",
        ),
        Key::or(
            "creates",
            Kind::Bool,
            "false",
            "A POST that only its `path` names makes something new: while nobody knows what became of one, others of \
             its path do not wait. `false`: so it is at paths whose POSTs were answered 201.",
        ),
        Key::or(
            "when_down",
            Kind::OneOf { valid: &["refuse", "queue"], later: &[] },
            "\"refuse\"",
            "No replica can be asked: `refuse` answers 503, `queue` keeps the write and answers 202.",
        ),
        Key::or(
            "longest_request",
            ANY_MS,
            "\"60s\"",
            "The longest time the service may work on a request: the fence of an unknown write.",
        ),
        Key::may(
            "health",
            Kind::Table(&HEALTH),
            "Active check of each endpoint. Absent: an endpoint is healthy until it refuses.",
        ),
        Key::may("balance", Kind::Table(&BALANCE), "How an endpoint is chosen."),
        Key::may("retry", Kind::Table(&RETRY), "Repeats of what was never sent."),
        Key::may("timeout", Kind::Table(&TIMEOUT), "How long things may take."),
        Key::may("idempotency", Kind::Table(&IDEMPOTENCY), "Keys of clients."),
        Key::may("outcome", Kind::Table(&OUTCOME), "What answers mean, and how an unknown outcome is found out."),
        Key::or(
            "replicate",
            Kind::OneOf { valid: &["success", "all"], later: &[] },
            "\"success\"",
            "What followers apply. `all`: refusals too, for services that number their records themselves.",
        ),
        Key::or(
            "on_concurrent",
            Kind::OneOf { valid: &["apply", "quarantine"], later: &[] },
            "\"apply\"",
            "Writes of one lane taken on both sides of a cut.",
        ),
        Key::or(
            "on_divergence",
            Kind::OneOfOrTable {
                valid: &["quarantine"],
                gone: &[("stop", "a write that differs stops nothing but itself")],
                table: &ON_DIVERGENCE,
                example: "{ stop = { share = 0.5, of = 50 } }",
            },
            "\"quarantine\"",
            "A write that this replica answers otherwise than its decider's: it stands in quarantine, and following \
             goes on.",
        ),
        Key::or(
            "on_unreachable",
            Kind::OneOf { valid: &["accept", "refuse"], later: &[] },
            "\"accept\"",
            "A key that another site holds, which cannot be reached.",
        ),
        Key::or(
            "stale",
            Kind::OneOf { valid: &["proceed", "refuse"], later: &[] },
            "\"proceed\"",
            "A replica that has not seen what the client has seen.",
        ),
        Key::may("ack", Kind::Table(&ACK), "Receipts an answer waits for."),
        Key::or("retain", ANY_MS, "\"7d\"", "How long a settled write is kept."),
        Key::may("max_body", Kind::Size { min: 0, max: 256 << 20 }, "Longest body of a write. Absent: the gateway's."),
        Key::or(
            "max_replay_body",
            Kind::Size { min: 0, max: 64 << 20 },
            "\"512KiB\"",
            "Longest answer kept for retries; longer: 409 `replay-unavailable`.",
        ),
        Key::or(
            "answer_max",
            Kind::Size { min: 0, max: 1 << 20 },
            "\"64KiB\"",
            "Longest answer that travels with a write to other sites.",
        ),
        Key::or(
            "compare",
            Kind::OneOf { valid: &["class", "body"], later: &[] },
            "\"class\"",
            "What must be equal between decider and follower.",
        ),
        Key::may("replay", Kind::Table(&REPLAY), "How this site's replica follows."),
        Key::may("dedup", Kind::Table(&DEDUP), "The circular buffer of fingerprints."),
        Key::may("limits", Kind::Table(&LIMITS), "Bounds of this service's queues (G6)."),
    ],
    later: &[
        "affinity",
        "api_keys",
        "audiences",
        "breaker",
        "bulkhead",
        "canary",
        "discovery",
        "ejection",
        "egress",
        "fallback",
        "fault",
        "jwt",
        "mirror",
        "on_missing_child",
        "endpoints_share_state",
        "priorities",
        "quota",
        "rate_limit",
        "respond",
        "restore",
        "scopes",
        "shadow",
        "snapshot",
        "time_file",
    ],
};

static MATCH: Section = Section {
    doc: "All keys of one element must fit.",
    keys: &[
        Key::or("path", Kind::Text, "\"/\"", "Prefix by whole segments: `/a` takes `/a` and `/a/b`, not `/ab`."),
        Key::may("host", Kind::Text, "Host without port; `*.example.com` takes every name below it. Absent: any."),
    ],
    later: &["methods", "headers", "claim", "query", "cookie"],
};

static ENDPOINT: Section = Section {
    doc: "One instance.",
    keys: &[
        Key::must("url", Kind::Text, "`http://host:port`, without a path."),
        Key::or(
            "http",
            Kind::OneOf { valid: &["1.1", "2"], later: &["3"] },
            "\"1.1\"",
            "Protocol to it; `2` is h2c with prior knowledge.",
        ),
    ],
    later: &["weight", "priority", "zone", "tls"],
};

static ANSWER: Section = Section {
    doc: "The first site whose replica is healthy and reachable decides.",
    keys: &[
        Key::may(
            "order",
            Kind::List(&Kind::Name),
            "Sites in order of preference; `local` is this one. Absent: `local`, then the other replicas.",
        ),
        Key::or("after", ANY_MS, "\"800ms\"", "No word from a site for this long: the next one is asked."),
        Key::may(
            "within",
            ANY_MS,
            "A try at the service that lasts longer: other replicas are preferred for other writes. Absent: \
             `timeout.try`.",
        ),
        Key::or("lag", ANY_MS, "\"1s\"", "A replica further behind decides only where no other can."),
    ],
    later: &[],
};

static HEALTH: Section = Section {
    doc: "GET; 2xx and 3xx are healthy.",
    keys: &[
        Key::must("path", Kind::Text, "Path to ask."),
        Key::or("interval", ANY_MS, "\"1s\"", "Pause between two checks."),
        Key::or("timeout", ANY_MS, "\"1s\"", "No answer within this counts as unhealthy."),
        Key::or("unhealthy", Kind::Int { min: 1, max: 100 }, "3", "So many failures in a row make it unhealthy."),
        Key::or("healthy", Kind::Int { min: 1, max: 100 }, "2", "So many successes in a row make it healthy again."),
    ],
    later: &["kind", "tcp", "statuses"],
};

static BALANCE: Section = Section {
    doc: "Among the healthy endpoints of this site.",
    keys: &[Key::or(
        "policy",
        Kind::OneOf {
            valid: &["round-robin"],
            later: &["weighted", "random", "least-request", "peak-ewma", "ring-hash", "maglev", "client-ip"],
        },
        "\"round-robin\"",
        "Rule of choice.",
    )],
    later: &["overprovisioning", "panic"],
};

static RETRY: Section = Section {
    doc: "Only what provably never reached a service is sent again.",
    keys: &[
        Key::or("tries", Kind::Int { min: 1, max: 10 }, "3", "Endpoints tried for one request, the first included."),
        Key::or("budget", Kind::Share, "0.2", "Retries as a share of requests; beyond it nothing is retried."),
        Key::or(
            "backoff",
            Kind::OneOf { valid: &["exponential"], later: &["linear", "fibonacci", "constant"] },
            "\"exponential\"",
            "Growth of the pause, with full jitter, when every endpoint was tried.",
        ),
    ],
    later: &["statuses"],
};

static TIMEOUT: Section = Section {
    doc: "A client never waits longer than `total`.",
    keys: &[
        Key::may("connect", ANY_MS, "To open a connection to an endpoint. Absent: 1s, at most `try`."),
        Key::may("try", ANY_MS, "One try, from the first byte sent to the answer's head. Absent: `total`."),
        Key::or("total", ANY_MS, "\"5s\"", "Everything a client waits for."),
        Key::or("idle", ANY_MS, "\"60s\"", "An unused connection to an endpoint is closed after this."),
    ],
    later: &[],
};

static IDEMPOTENCY: Section = Section {
    doc: "`Idempotency-Key`, as the IETF draft says.",
    keys: &[
        Key::or("ttl", ANY_MS, "\"24h\"", "How long after settling a key is remembered."),
        Key::or("require_key", Kind::Bool, "false", "A POST or PATCH without a key: 400."),
        Key::may(
            "scope",
            Kind::OneOrMany(&Kind::Text),
            "What a key is told apart by beside service and store: `host`, `header:NAME`. Absent: `host`, where \
             `match` names several hosts.",
        ),
        Key::or(
            "client",
            Kind::OneOrMany(&Kind::Text),
            "[\"header:authorization\"]",
            "What names the client that brings a key, the first that a request has: `header:NAME`, `cookie:NAME`. A \
             recorded answer is given to that client alone.",
        ),
        Key::or(
            "dialect",
            Kind::OneOf { valid: &["standard", "envoy"], later: &[] },
            "\"standard\"",
            "`envoy`: `x-request-id` is a key too, and answers carry `idempotency-status`.",
        ),
    ],
    later: &["manager"],
};

static OUTCOME: Section = Section {
    doc: "After a timeout or a reset nobody knows whether the service did it.",
    keys: &[
        Key::may(
            "probe",
            Kind::Text,
            "`GET /path/{key}`: 2xx means applied, 404 means not applied, anything else says nothing.",
        ),
        Key::or(
            "idempotent",
            Kind::Bool,
            "false",
            "The service honours `Idempotency-Key` itself: an unknown write is sent again.",
        ),
        Key::may(
            "unexecuted",
            Kind::List(&Kind::Int { min: 400, max: 599 }),
            "Statuses by which the service says that it did nothing.",
        ),
        Key::or("hold", ANY_MS, "\"30s\"", "How long a lane waits for an unknown write after `longest_request`."),
    ],
    later: &[],
};

static ACK: Section = Section {
    doc: "Closes the gap between this disk and the first peer's.",
    keys: &[Key::or("peers", Kind::Int { min: 0, max: 1 }, "0", "Receipts to wait for while a peer is connected.")],
    later: &[],
};

static ON_DIVERGENCE: Section = Section {
    doc: "Where many differences mean that the replicas themselves differ.",
    keys: &[Key::must("stop", Kind::Table(&STOP), "When following stops until a person looks.")],
    later: &[],
};

static STOP: Section = Section {
    doc: "A replica that has stopped decides only where no other site can, and then follows what the write must come \
          after.",
    keys: &[
        Key::must("share", Kind::Share, "It stops when this part of the last `of` compared outcomes differ."),
        Key::or("of", Kind::Int { min: 1, max: 10_000 }, "50", "So many outcomes are looked at."),
    ],
    later: &[],
};

static REPLAY: Section = Section {
    doc: "Applying at this replica what other sites decided.",
    keys: &[
        Key::or(
            "share",
            Kind::Share,
            "0.25",
            "Part of `parallel` that catching up may use while clients write here: less is kinder to them, and takes \
             longer.",
        ),
        Key::or(
            "alone",
            Kind::Share,
            "0.1",
            "Part of each minute that may go into trying again, alone, what the service refuses in vain. Beyond it: \
             one try.",
        ),
        Key::may("auth", Kind::Text, "`Authorization` for shadows instead of the client's, which may have expired."),
        Key::or("parallel", Kind::Int { min: 1, max: 256 }, "16", "Shadows at the service at the same time."),
    ],
    later: &["time_file"],
};

static DEDUP: Section = Section {
    doc: "Fed by local writes and by the control plane; the journal stands behind it.",
    keys: &[Key::or(
        "ring",
        Kind::Int { min: 1, max: 16_777_216 },
        "65536",
        "Fingerprints kept in memory, oldest out first.",
    )],
    later: &[],
};

static LIMITS: Section = Section {
    doc: "At a limit new work gets 503; what was accepted is never dropped.",
    keys: &[
        Key::or("open_writes", Kind::Int { min: 1, max: 1_000_000 }, "16384", "Writes that are not settled."),
        Key::or("open_bytes", Kind::Size { min: 1 << 20, max: 64 << 30 }, "\"64MiB\"", "Their requests in memory."),
        Key::or("waiters_per_key", Kind::Int { min: 1, max: 10_000 }, "32", "Copies that wait for the same key."),
        Key::or("page_items", Kind::Int { min: 1, max: 10_000 }, "256", "Writes in one page to a peer."),
        Key::or("page_bytes", Kind::Size { min: 64 << 10, max: 16 << 20 }, "\"1MiB\"", "Bytes of one page to a peer."),
        Key::or(
            "window",
            Kind::Int { min: 16, max: 1_000_000 },
            "1024",
            "Writes of one series read ahead to be applied.",
        ),
        Key::or(
            "lanes",
            Kind::Int { min: 16, max: 16_777_216 },
            "65536",
            "Lanes remembered to find concurrent writes.",
        ),
        Key::or("keys", Kind::Int { min: 1_000, max: 100_000_000 }, "4000000", "Keys whose hashes are kept in memory."),
    ],
    later: &[],
};
