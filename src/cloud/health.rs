//! Whether the cloud can do its work.

use std::time::Duration;

use super::Cloud;
use super::store::{Sql, health};

/// A store that takes longer is of no use to devices, which give a call 10 s.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a cloud is of no use now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unhealthy(String);

impl Cloud {
    /// Whether requests can be answered now: the store makes a change durable and reads, both within 5 s, and the cloud is not
    /// closing. Costs a commit, which it shares with those who write at the same time.
    ///
    /// # Errors
    /// [`Unhealthy`] says what is wrong.
    pub async fn check_health(&self) -> Result<(), Unhealthy> {
        let check = async {
            // Through the same queues as everybody's jobs. A write that changes nothing would succeed on a full disk.
            self.store().write(health::count_check).await?;
            self.store().read(|sql: &mut dyn Sql| sql.query_one("SELECT 1", &[]).map(drop)).await
        };
        match tokio::time::timeout(PATIENCE, check).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Unhealthy(format!("the store: {error}"))),
            Err(_) => Err(Unhealthy(format!("the store did not answer within {} s", PATIENCE.as_secs()))),
        }
    }
}
