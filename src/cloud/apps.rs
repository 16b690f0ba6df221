//! Applications: those that the configuration names, and those that were made by hand.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use super::identifiers::Identifiers;
use super::store::{Sql, StoreError, apps};
use super::token::{self, TokenHash};
use super::{Cloud, OpenError, Options, Store};
use crate::ids::AppId;
use crate::secret::Secret;

/// A client that administers an application: it logs in with `grant_type` `client_credentials`. (`wire` §5)
#[derive(Debug, Clone)]
pub struct AdminClient {
    /// The application.
    pub app: AppId,
    /// `client_id`
    pub client_id: String,
    /// `client_secret`: at least 16 characters, better 32 random ones. It is kept as a hash that is fast to compute.
    pub client_secret: Secret<String>,
}

/// An application as it was made.
#[derive(Debug, Clone)]
pub struct CreatedApp {
    /// Its key, which every device is given.
    pub app_key: Secret<String>,
    /// Who administers it. The secret is shown now and never again.
    pub admin: AdminClient,
}

/// An application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its id.
    pub id: AppId,
    /// What it was called when it was made.
    pub name: Option<String>,
    /// When it was made, in milliseconds since 1970; `None` for one that the configuration names.
    pub created_at: Option<i64>,
}

/// Why an application was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the application was not made: {0}")]
pub struct CreateAppError(String);

/// All applications, by id.
pub(super) struct Apps {
    known: RwLock<HashMap<AppId, Known>>,
    admins: HashMap<(AppId, String), TokenHash>,
}

struct Known {
    key: Secret<String>,
    app: App,
}

/// The shortest secret that a configured client may have.
const MIN_SECRET: usize = 16;

impl Apps {
    /// Those of `options`, and those in `store`, which must not have the same ids.
    pub(super) fn load(options: &Options, store: &dyn Store) -> Result<Self, OpenError> {
        let wrong = |name, problem| OpenError::Option { name, problem };
        let mut known = HashMap::new();
        let stored = store.read_blocking(apps::all).map_err(|error| OpenError::Database(error.to_string()))?;
        for (id, key) in &options.apps {
            let app = App { id: id.clone(), name: None, created_at: None };
            known.insert(id.clone(), Known { key: key.clone(), app });
        }
        for apps::App { app_id, app_key, name, created_at } in stored {
            let app = App { id: app_id.clone(), name, created_at: Some(created_at) };
            if known.insert(app_id.clone(), Known { key: app_key, app }).is_some() {
                return Err(wrong("apps", format!("names {app_id}, which the data directory has as well")));
            }
        }
        let mut admins = HashMap::new();
        for AdminClient { app, client_id, client_secret } in &options.admins {
            if !known.contains_key(app) {
                return Err(wrong("admins", format!("names application {app}, which there is not")));
            }
            if client_secret.expose().len() < MIN_SECRET {
                return Err(wrong("admins", format!("has a secret shorter than {MIN_SECRET} characters")));
            }
            if client_id.is_empty() || client_id == app.as_str() {
                return Err(wrong("admins", format!("has a client of {app} without an id of its own")));
            }
            admins.insert((app.clone(), client_id.clone()), TokenHash::of(client_secret.expose().as_bytes()));
        }
        Ok(Self { known: RwLock::new(known), admins })
    }

    fn known(&self) -> std::sync::RwLockReadGuard<'_, HashMap<AppId, Known>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn contains(&self, app: &AppId) -> bool {
        self.known().contains_key(app)
    }

    pub(super) fn key(&self, app: &AppId) -> Option<Secret<String>> {
        self.known().get(app).map(|known| known.key.clone())
    }

    pub(super) fn ids(&self) -> Vec<AppId> {
        self.known().keys().cloned().collect()
    }
}

impl Cloud {
    /// Makes an application with an id, a key, and a client that administers it. It is there at once, and, unless the store is in
    /// memory, at every later start.
    ///
    /// # Errors
    /// [`CreateAppError`] when it could not be stored.
    pub async fn create_app(&self, name: Option<String>) -> Result<CreatedApp, CreateAppError> {
        let (app_id, app_key) = (Identifiers::app_id(), Secret::new(Identifiers::app_key()));
        let client_id = Identifiers::client_id();
        let (client_secret, secret_hash) = token::generate();
        let new = apps::NewApp {
            app_id: app_id.clone(),
            app_key: app_key.clone(),
            name: name.clone(),
            client_id: client_id.clone(),
            secret_hash,
        };
        let now = self.now();
        let insert = move |sql: &mut dyn Sql| apps::insert(sql, &new, now);
        self.store().write(insert).await.map_err(|error: StoreError| CreateAppError(error.to_string()))?;
        let app = App { id: app_id.clone(), name, created_at: Some(now) };
        let known = Known { key: app_key.clone(), app };
        self.0.apps.known.write().unwrap_or_else(PoisonError::into_inner).insert(app_id.clone(), known);
        let client_secret = Secret::from(client_secret.expose().as_str());
        Ok(CreatedApp { app_key, admin: AdminClient { app: app_id, client_id, client_secret } })
    }

    /// Every application: those of the configuration first, then the others, oldest first.
    pub fn apps(&self) -> Vec<App> {
        let mut apps: Vec<App> = self.0.apps.known().values().map(|known| known.app.clone()).collect();
        apps.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        apps
    }

    /// Whether `client_id` administers `app` and this is its secret.
    pub(super) async fn is_admin(
        &self,
        app: &AppId,
        client_id: &str,
        secret: &Secret<String>,
    ) -> Result<bool, StoreError> {
        use subtle::ConstantTimeEq as _;

        let given = TokenHash::of(secret.expose().as_bytes());
        let right = match self.0.apps.admins.get(&(app.clone(), client_id.to_owned())) {
            Some(hash) => Some(hash.as_bytes().to_vec()),
            None => {
                let (app, client_id) = (app.clone(), client_id.to_owned());
                self.store().read(move |sql: &mut dyn Sql| apps::admin_secret(sql, &app, &client_id)).await?
            }
        };
        Ok(right.is_some_and(|right| given.as_bytes().ct_eq(&right).into()))
    }
}
