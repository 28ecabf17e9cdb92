//! The source side: series, pages, wishes.
