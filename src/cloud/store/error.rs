//! What can go wrong below the jobs.

/// Whose fault it is, and whether it may have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoreErrorKind {
    /// The queue is full; nothing was queued.
    Overloaded,
    /// The store is closed or closing; nothing was queued.
    Closed,
    /// A statement met a row that must be unique; the job was rolled back.
    Conflict,
    /// Another job of the batch made the database give up the transaction; nothing happened, and trying again may work.
    RolledBack,
    /// The database failed before the commit; the job was rolled back.
    Failed,
    /// The commit itself failed, or nobody knows: it may have happened.
    Unknown,
}

/// An error of the store. Its text is for the log; it names statements and tables, never values.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{detail}")]
pub(crate) struct StoreError {
    kind: StoreErrorKind,
    detail: String,
}

impl StoreError {
    pub(crate) fn new(kind: StoreErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }

    pub(crate) fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    pub(super) fn closed() -> Self {
        Self::new(StoreErrorKind::Closed, "the store is closed")
    }

    pub(super) fn lost() -> Self {
        Self::new(StoreErrorKind::Unknown, "the store gave no answer: a job panicked or its thread ended")
    }

    /// A column that does not hold what the schema says.
    pub(crate) fn column(index: usize, expected: &str) -> Self {
        Self::new(StoreErrorKind::Failed, format!("column {index} is not {expected}"))
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let kind = match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::ConstraintViolation) => StoreErrorKind::Conflict,
            _ => StoreErrorKind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}
