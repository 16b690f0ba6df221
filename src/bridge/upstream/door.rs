//! Who may connect to the bridge.

use std::sync::Arc;
use std::time::Duration;

use super::clients::is_same;
use super::{Clients, Endpoints, LoginHook};
use crate::edge::{Admission, Directory, Login, Role};
use crate::ids::AppId;
use crate::mqtt::{Credentials, RefusedReason};
use crate::secret::Secret;

/// The application of clients for which none is named.
pub(super) const DEFAULT_APP: &str = "default";

/// How long a login that was refused waits for its CONNACK, so that guessing is slow.
const DELAY: Duration = Duration::from_secs(1);

/// The bridge's [`Directory`]. A CONNECT is judged by the first of these that knows its client identifier, and by that alone:
///
/// 1. `anonymous`: the applications and their keys, for the default broker (`wire` §1.1); without any, the hook;
/// 2. the file of [`Clients`];
/// 3. the [`Endpoints`] that were learnt;
/// 4. the [`LoginHook`].
///
/// Whom none knows is refused with CONNACK 4. Every refusal but the hook's comes a second late.
#[derive(Debug, Default)]
pub struct Door {
    /// Applications and their keys.
    pub apps: Vec<(AppId, Secret<String>)>,
    /// Clients that are known by a file.
    pub clients: Option<Arc<Clients>>,
    /// Logins that were learnt: those of [`Upstream::endpoints`](super::Upstream::endpoints).
    pub endpoints: Arc<Endpoints>,
    /// Whom to ask about all others.
    pub hook: Option<LoginHook>,
}

impl Door {
    /// What is known here, without asking.
    async fn known(&self, credentials: &Credentials) -> Option<Result<Admission, RefusedReason>> {
        if credentials.client_id.is_anonymous() {
            let is_for_hook = self.apps.is_empty() && self.hook.is_some();
            return (!is_for_hook).then(|| self.admit_anonymous(credentials));
        }
        let of_file = match &self.clients {
            Some(clients) => clients.judge(credentials).await,
            None => None,
        };
        let judged = of_file.or_else(|| self.endpoints.judge(credentials))?;
        Some(match judged {
            Some(app_id) => Ok(Admission { role: Role::Assigned, app_id }),
            None => Err(RefusedReason::BadUserNameOrPassword),
        })
    }

    /// As Thing-IF's default broker does: 5 for an application that there is not, 4 for a wrong key. (`wire` §1.1, §8)
    fn admit_anonymous(&self, credentials: &Credentials) -> Result<Admission, RefusedReason> {
        let bad = RefusedReason::BadUserNameOrPassword;
        let app = credentials.username.strip_prefix("type=oauth2&client_id=").ok_or(bad)?;
        let key = credentials.password.expose().strip_prefix("client_secret=").ok_or(bad)?;
        let known = self.apps.iter().find(|(app_id, _)| app_id.as_str() == app);
        let (app_id, right) = known.ok_or(RefusedReason::NotAuthorised)?;
        if !is_same(right, &Secret::from(key)) {
            return Err(bad);
        }
        Ok(Admission { role: Role::Onboarding, app_id: app_id.clone() })
    }
}

impl Directory for Door {
    async fn admit(&self, login: &Login) -> Result<Admission, RefusedReason> {
        let refused = match (self.known(&login.credentials).await, &self.hook) {
            (Some(Ok(admission)), _) => return Ok(admission),
            (Some(Err(reason)), _) => reason,
            (None, Some(hook)) => {
                let role = match login.credentials.client_id.is_anonymous() {
                    true => Role::Onboarding,
                    false => Role::Assigned,
                };
                return hook.judge(login).await.map(|app_id| Admission { role, app_id });
            }
            (None, None) => RefusedReason::BadUserNameOrPassword,
        };
        tracing::info!(remote = %login.remote, client = %login.credentials.client_id, ?refused, "login refused");
        tokio::time::sleep(DELAY).await;
        Err(refused)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ids::ClientId;
    use crate::thing_if::MqttEndpoint;

    fn door() -> Door {
        let app = AppId::new("app1").expect("valid");
        let endpoints = Endpoints::default();
        let body = json!({ "username": "u", "password": "p", "mqttTopic": "device", "host": "h" });
        endpoints.learn(&app, &MqttEndpoint::try_from(body).expect("complete")).expect("room");
        Door { apps: vec![(app, "key".into())], endpoints: Arc::new(endpoints), ..Door::default() }
    }

    async fn known(door: &Door, client: &str, username: &str, password: &str) -> Option<Result<Role, RefusedReason>> {
        let client_id = ClientId::new(client).expect("valid");
        let credentials = Credentials { client_id, username: username.to_owned(), password: password.into() };
        door.known(&credentials).await.map(|judged| judged.map(|admission| admission.role))
    }

    #[tokio::test]
    async fn the_default_broker_is_for_applications_and_their_keys() {
        let door = door();
        let anonymous = |username: &'static str, password: &'static str| known(&door, "anonymous", username, password);
        let (bad, unknown) = (RefusedReason::BadUserNameOrPassword, RefusedReason::NotAuthorised);
        let user = "type=oauth2&client_id=app1";
        assert_eq!(anonymous(user, "client_secret=key").await, Some(Ok(Role::Onboarding)));
        assert_eq!(anonymous(user, "client_secret=other").await, Some(Err(bad)));
        assert_eq!(anonymous(user, "key").await, Some(Err(bad)));
        assert_eq!(anonymous("type=oauth2&client_id=app2", "client_secret=key").await, Some(Err(unknown)));
        assert_eq!(anonymous("app1", "client_secret=key").await, Some(Err(bad)));
    }

    #[tokio::test]
    async fn the_assigned_broker_is_for_logins_that_were_learnt() {
        let door = door();
        assert_eq!(known(&door, "device", "u", "p").await, Some(Ok(Role::Assigned)));
        assert_eq!(known(&door, "device", "u", "q").await, Some(Err(RefusedReason::BadUserNameOrPassword)));
        assert_eq!(known(&door, "stranger", "u", "p").await, None);
    }
}
