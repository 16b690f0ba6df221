//! Who may connect by MQTT. (`wire` §1.1, §1.2, §8)

use std::time::Duration;

use super::Cloud;
use super::store::{Sql, StoreError, StoreErrorKind, installations};
use super::throttle::Name;
use crate::edge::{Admission, Directory, Login, Role};
use crate::ids::AppId;
use crate::mqtt::RefusedReason;
use crate::secret::Secret;

impl Directory for Cloud {
    /// Client id `anonymous` with the application's id and key: the default broker. Otherwise the user name and password
    /// of an installation's endpoint, with its `mqttTopic` as client id: the assigned broker.
    async fn admit(&self, login: &Login) -> Result<Admission, RefusedReason> {
        let remote = Some(login.remote.ip());
        if login.credentials.client_id.is_anonymous() {
            let attempt = self.begin_login(remote, None, Duration::ZERO).await;
            let admitted = self.admit_anonymous(&login.credentials.username, &login.credentials.password);
            if admitted.is_err() {
                attempt.failed(self.now());
            }
            return admitted;
        }
        let username = login.credentials.username.clone();
        let attempt = self.begin_login(remote, Some(Name::endpoint(&username)), Duration::ZERO).await;
        let found = self
            .store()
            .read(move |sql: &mut dyn Sql| {
                let found = installations::by_username(sql, &username)?;
                let disabled = found.is_some() && installations::is_disabled(sql, &username)?;
                Ok::<_, StoreError>(found.map(|installation| (installation, disabled)))
            })
            .await
            .map_err(unavailable)?;
        match found {
            Some((installation, disabled))
                if installation.mqtt_topic == login.credentials.client_id
                    && self.endpoint_key().accepts(&installation, &login.credentials.password) =>
            {
                attempt.succeeded();
                if self.has_app(&installation.app_id) && !disabled {
                    Ok(Admission { role: Role::Assigned, app_id: installation.app_id })
                } else {
                    Err(RefusedReason::NotAuthorised)
                }
            }
            _ => {
                attempt.failed(self.now());
                Err(RefusedReason::BadUserNameOrPassword)
            }
        }
    }
}

impl Cloud {
    fn admit_anonymous(&self, username: &str, password: &Secret<String>) -> Result<Admission, RefusedReason> {
        let app = username.strip_prefix("type=oauth2&client_id=").ok_or(RefusedReason::BadUserNameOrPassword)?;
        let key = password.expose().strip_prefix("client_secret=").ok_or(RefusedReason::BadUserNameOrPassword)?;
        let app_id = AppId::new(app).map_err(|_| RefusedReason::NotAuthorised)?;
        if !self.has_app(&app_id) {
            return Err(RefusedReason::NotAuthorised);
        }
        if !self.accepts_app_key(&app_id, &Secret::from(key)) {
            return Err(RefusedReason::BadUserNameOrPassword);
        }
        Ok(Admission { role: Role::Onboarding, app_id })
    }
}

fn unavailable(error: StoreError) -> RefusedReason {
    if error.kind() != StoreErrorKind::Overloaded {
        tracing::error!(%error, "a login could not be judged");
    }
    RefusedReason::ServerUnavailable
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::net::SocketAddr;
    use std::pin::Pin;
    use std::sync::Arc;

    use bytes::Bytes;
    use tokio::time::Instant;

    use super::*;
    use crate::cloud::Options;
    use crate::edge::{PushOutcome, Pusher};
    use crate::ids::ClientId;
    use crate::mqtt::packet::Protocol;
    use crate::mqtt::{Credentials, Scheme};

    struct Nobody;

    impl Pusher for Nobody {
        fn push<'a>(&'a self, _: &'a ClientId, _: Bytes) -> Pin<Box<dyn Future<Output = PushOutcome> + Send + 'a>> {
            Box::pin(async { PushOutcome::NotConnected })
        }

        fn claim<'a>(&'a self, _: &'a ClientId, _: u64) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
            Box::pin(async {})
        }

        fn disconnect<'a>(&'a self, _: &'a ClientId) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
            Box::pin(async {})
        }
    }

    fn login(key: &str, remote: [u8; 4]) -> Login {
        let app = AppId::new("app").expect("valid");
        Login {
            protocol: Protocol::V311,
            credentials: Credentials::anonymous(&app, &key.into()),
            scheme: Scheme::Mqtt,
            remote: SocketAddr::from((remote, 4711)),
            local: SocketAddr::from(([127, 0, 0, 1], 1883)),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn wrong_keys_delay_their_address_and_nobody_else_who_is_anonymous() {
        let apps = vec![(AppId::new("app").expect("valid"), "right".into())];
        let cloud = Cloud::open(Options { apps, ..Options::default() }, Arc::new(Nobody)).expect("opens");
        let begin = Instant::now();
        for _ in 0..20 {
            let refused = cloud.admit(&login("wrong", [192, 0, 2, 1])).await;
            assert_eq!(refused.err(), Some(RefusedReason::BadUserNameOrPassword));
        }
        assert_eq!(begin.elapsed().as_millis(), 0, "so many may be somebody's mistake");
        for _ in 0..10 {
            let _ = cloud.admit(&login("wrong", [192, 0, 2, 1])).await;
        }
        let begin = Instant::now();
        cloud.admit(&login("right", [192, 0, 2, 2])).await.expect("admitted");
        assert_eq!(begin.elapsed().as_millis(), 0);
        cloud.admit(&login("right", [192, 0, 2, 1])).await.expect("delayed, never refused");
        assert_eq!(begin.elapsed().as_secs(), 4, "the longest delay there is");
    }
}
