//! The one place where causes become problem+json (RFC 9457).
