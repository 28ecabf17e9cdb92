//! The follower side: receive, order by `after`, apply, compare.
