//! HTTP in and out: listen, route, admit, balance, forward, answer.
