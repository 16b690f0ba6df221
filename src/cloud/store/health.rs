//! What a health check writes.

use super::{Sql, StoreError};

/// Counts a check. The row changes every time, so the commit needs room on the disk and a sync, as everybody's does.
pub(crate) fn count_check(sql: &mut dyn Sql) -> Result<(), StoreError> {
    sql.execute("UPDATE health_checks SET checks = checks + 1", &[]).map(drop)
}
