//! `thingif app`: the applications of a service.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, Subcommand};
use http::{HeaderValue, Method, Request, StatusCode, header};
use httpdate::fmt_http_date;
use tokio::net::TcpStream;

use crate::admin::control::{APPS, CreatedApp, ListedApp, NewApp};
use crate::cli::admin_file::AdminFile;
use crate::cli::exit::{Exit, Failure};
use crate::cli::{http1, output, table};
use crate::client::causes::with_causes;
use crate::cloud::{self, Cloud, Location, OpenError};
use crate::edge::Registry;
use crate::secret::Secret;

/// The largest answer taken, in bytes.
const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// For an answer: making an application is one write.
const PATIENCE: Duration = Duration::from_secs(10);

/// Make and list the applications that a data directory has.
///
/// Works on the directory itself or, while `thingif serve` uses it, through the service's admin listener (serve --admin). Run it
/// as the user that the service runs as.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thingif app create --data /var/lib/thingif --name 'Lamps of the north wing'
  thingif app list --data /var/lib/thingif")]
pub(crate) struct App {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Create(Create),
    List(List),
}

#[derive(Debug, Args)]
struct DataArgs {
    /// The data directory of `thingif serve`.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Print JSON, one line a result.
    #[arg(long)]
    json: bool,
}

/// Make an application: an id, a key for its devices, and a client that administers it.
///
/// The client's secret is shown now and never again.
#[derive(Debug, Args)]
struct Create {
    /// What the application is called, for people.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    data: DataArgs,
}

/// List the applications.
///
/// Those that are given to `thingif serve` itself are among them only while it runs.
#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    data: DataArgs,
}

impl App {
    pub(crate) async fn run(&self) -> Result<(), Failure> {
        match &self.verb {
            Verb::Create(verb) => verb.run().await,
            Verb::List(verb) => verb.run().await,
        }
    }
}

impl Create {
    async fn run(&self) -> Result<(), Failure> {
        let made = match Road::find(&self.data.data).await? {
            Road::Here(cloud) => {
                let made = cloud.create_app(self.name.clone()).await;
                cloud.close().await;
                CreatedApp::from(made.map_err(Failure::other)?)
            }
            Road::Service(service) => {
                let new = serde_json::to_vec(&NewApp { name: self.name.clone() }).map_err(Failure::other)?;
                service.ask(Method::POST, new.into()).await?
            }
        };
        if self.data.json {
            return output::json_line(&made);
        }
        output::line(&format!(
            "app            {}\nkey            {}\nclient id      {}\nclient secret  {}",
            made.app_id, made.app_key, made.client_id, made.client_secret
        ))?;
        eprintln!("thingif: the client secret is not stored and will not be shown again");
        Ok(())
    }
}

impl List {
    async fn run(&self) -> Result<(), Failure> {
        let apps: Vec<ListedApp> = match Road::find(&self.data.data).await? {
            Road::Here(cloud) => {
                let apps = cloud.apps();
                cloud.close().await;
                apps.into_iter().map(ListedApp::from).collect()
            }
            Road::Service(service) => service.ask(Method::GET, Bytes::new()).await?,
        };
        if self.data.json {
            return apps.iter().try_for_each(output::json_line);
        }
        if apps.is_empty() {
            eprintln!("thingif: there is no application; `thingif app create` makes one");
            return Ok(());
        }
        let mut table = table::with_header(["APP", "NAME", "MADE"]);
        for app in &apps {
            let made = app.created_at.and_then(|millis| u64::try_from(millis).ok()).map_or_else(
                || String::from("by serve"),
                |millis| fmt_http_date(std::time::UNIX_EPOCH + Duration::from_millis(millis)),
            );
            table.add_row([app.app_id.to_string(), app.name.clone().unwrap_or_default(), made]);
        }
        output::line(&table.to_string())
    }
}

/// Who has the applications now.
enum Road {
    /// Nobody uses the directory: this process, meanwhile.
    Here(Cloud),
    /// A service that uses the directory.
    Service(Service),
}

struct Service {
    address: SocketAddr,
    token: Secret<String>,
}

impl Road {
    async fn find(data: &std::path::Path) -> Result<Self, Failure> {
        if !data.is_dir() {
            return Err(Failure::usage(format_args!("there is no directory {}", data.display()))
                .advise("--data is the directory that `thingif serve --data` was given; start it once, or make it."));
        }
        let options = cloud::Options { store: Location::Dir(data.to_owned()), ..cloud::Options::default() };
        let opened = tokio::task::spawn_blocking(move || Cloud::open(options, Arc::new(Registry::new()))).await;
        match opened.map_err(Failure::other)? {
            Ok(cloud) => Ok(Self::Here(cloud)),
            Err(OpenError::Locked { .. }) => {
                let (address, token) = AdminFile::read(data)?;
                Ok(Self::Service(Service { address, token }))
            }
            Err(error) => Err(Failure::other(with_causes(&error))),
        }
    }
}

impl Service {
    async fn ask<T: serde::de::DeserializeOwned>(&self, method: Method, body: Bytes) -> Result<T, Failure> {
        let asked = format!("{method} http://{}{APPS}", self.address);
        let unreachable = |why: &dyn std::fmt::Display| {
            Failure::new(Exit::CannotConnect, format_args!("{asked}: {why}"))
                .advise("The service that uses the data directory has not answered on its admin listener.")
        };
        let mut token = HeaderValue::try_from(format!("Bearer {}", self.token.expose())).map_err(Failure::other)?;
        token.set_sensitive(true);
        let request = Request::builder()
            .method(method)
            .uri(APPS)
            .header(header::AUTHORIZATION, token)
            .header(header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(Failure::other)?;
        let exchange = async {
            let stream = TcpStream::connect(self.address).await.map_err(|error| unreachable(&error))?;
            let answer = http1::send(stream, &self.address.to_string(), request, MAX_ANSWER).await;
            answer.map_err(|error| unreachable(&error))
        };
        let answer =
            tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| unreachable(&"no answer in time"))??;
        if !matches!(answer.status(), StatusCode::OK | StatusCode::CREATED) {
            let said = crate::secret::Redacted::new(answer.body()).to_string();
            return Err(Failure::other(format_args!("{asked} was answered {}: {}", answer.status(), said.trim())));
        }
        serde_json::from_slice(answer.body()).map_err(|_| unreachable(&"the answer is not what was asked for"))
    }
}
