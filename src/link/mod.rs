//! The HTTP/2 connection between two sites (§4): dial, serve, handshake.
