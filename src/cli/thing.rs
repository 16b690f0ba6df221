//! `thingif thing`: what an owner does with things by hand.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::cli::exit::Failure;
use crate::cli::login_file::{LoginArgs, User};
use crate::cli::secret_input;
use crate::cli::thing_args::PASSWORD_VARIABLE;
use crate::cli::thing_send::Send;
use crate::cli::{output, table};
use crate::ids::{ThingId, ThingType, VendorThingId};
use crate::thing_if::media_type;

/// See and command things, as a user who owns them. `thingif user login` comes first.
///
/// A thing is named by its id (th.…) or by its vendor's.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thingif thing create lamp-1 --password-file pw
  thingif thing list
  thingif thing send lamp-1 '[{\"turnPower\":{\"power\":true}}]'
  thingif thing states lamp-1 --json | jq .power")]
pub(crate) struct Thing {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Create(Create),
    List(List),
    Send(Send),
    States(States),
    Delete(Delete),
}

impl Thing {
    pub(crate) async fn run(&self) -> Result<(), Failure> {
        match &self.verb {
            Verb::Create(verb) => verb.run().await,
            Verb::List(verb) => verb.run().await,
            Verb::Send(verb) => verb.run().await,
            Verb::States(verb) => verb.run().await,
            Verb::Delete(verb) => verb.run().await,
        }
    }
}

/// The thing that `named` means.
pub(crate) async fn find(user: &User, named: &str) -> Result<ThingId, Failure> {
    if named.starts_with("th.") {
        return ThingId::new(named).map_err(Failure::usage);
    }
    let vendor = VendorThingId::new(named).map_err(Failure::usage)?;
    let escaped = utf8_percent_encode(vendor.as_str(), NON_ALPHANUMERIC);
    let path = format!("/api/apps/{}/things/VENDOR_THING_ID:{escaped}", user.app);
    let found = user.call(Method::GET, &path, None).await;
    let found = found.map_err(|failure| failure.advise("`thingif thing list` shows the things that there are."))?;
    ThingId::new(found.text("_thingID")?).map_err(Failure::other)
}

/// Where a thing's states and commands are.
pub(crate) fn target(user: &User, thing: &ThingId) -> String {
    format!("/thing-if/apps/{}/targets/thing:{thing}", user.app)
}

/// Make a thing, or take possession of one that is there, and be its owner.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thingif thing create lamp-1 --password-file pw
  thingif thing create lamp-1 --password-file pw --type lamp --json")]
struct Create {
    /// The thing, as its maker names it.
    #[arg(value_name = "VENDOR_THING_ID")]
    thing: VendorThingId,
    /// The thing's password, from a file or from standard input (-). Default: from THINGIF_PASSWORD.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The thing's type, used when it is made.
    #[arg(long = "type", value_name = "TYPE")]
    thing_type: Option<ThingType>,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    login: LoginArgs,
}

impl Create {
    async fn run(&self) -> Result<(), Failure> {
        let user = self.login.load()?;
        let password = match &self.password_file {
            Some(file) => secret_input::read("password", file)?,
            None => secret_input::from_environment(PASSWORD_VARIABLE).ok_or_else(|| {
                Failure::usage("the thing's password is missing")
                    .advise(format_args!("Give --password-file FILE, or put it in {PASSWORD_VARIABLE}."))
            })?,
        };
        let mut body = json!({
            "vendorThingID": self.thing, "thingPassword": password.expose(), "owner": format!("user:{}", user.id),
        });
        if let Some(thing_type) = &self.thing_type {
            body["thingType"] = thing_type.as_str().into();
        }
        let path = format!("/thing-if/apps/{}/onboardings", user.app);
        let media_type = media_type::ONBOARDING_WITH_VENDOR_THING_ID_BY_OWNER;
        let answer = user.call(Method::POST, &path, Some((media_type, &body))).await.map_err(|failure| {
            failure.advise("A thing that is there already is taken with the password of its first onboarding.")
        })?;
        let id = answer.text("thingID")?;
        if self.json {
            return output::json_line(&json!({"thingID": id, "vendorThingID": self.thing}));
        }
        output::line(&format!("thing        {id}\nvendor id    {}", self.thing))
    }
}

/// List the things that are owned.
#[derive(Debug, Args)]
struct List {
    /// Print one line of JSON a thing.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    login: LoginArgs,
}

/// One page of a query.
#[derive(Deserialize)]
struct Page {
    results: Vec<Map<String, Value>>,
    #[serde(default, rename = "nextPaginationKey")]
    next: Option<String>,
}

impl List {
    async fn run(&self) -> Result<(), Failure> {
        let user = self.login.load()?;
        let path = format!("/api/apps/{}/things/query", user.app);
        let mut table = table::with_header(["THING", "VENDOR ID", "TYPE", "FIRMWARE"]);
        let mut next = None;
        loop {
            let mut query = json!({
                "thingQuery": {"clause": {"type": "contains", "field": "userOwners", "value": user.id}},
            });
            if let Some(key) = next {
                query["paginationKey"] = Value::String(key);
            }
            let query = ("application/vnd.kii.ThingQueryRequest+json", &query);
            let page: Page = user.call(Method::POST, &path, Some(query)).await?.read()?;
            for thing in &page.results {
                if self.json {
                    output::json_line(thing)?;
                } else {
                    let text = |field| thing.get(field).and_then(Value::as_str).unwrap_or_default();
                    table.add_row(["_thingID", "_vendorThingID", "_thingType", "_firmwareVersion"].map(text));
                }
            }
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        match (self.json, table.row_count()) {
            (true, _) => Ok(()),
            (false, 0) => {
                eprintln!("thingif: user {} owns no thing yet; `thingif thing create` makes one", user.id);
                Ok(())
            }
            (false, _) => output::line(&table.to_string()),
        }
    }
}

/// Show the states of a thing.
#[derive(Debug, Args)]
struct States {
    /// The thing.
    thing: String,
    /// Print them as one line of JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    login: LoginArgs,
}

impl States {
    async fn run(&self) -> Result<(), Failure> {
        let user = self.login.load()?;
        let thing = find(&user, &self.thing).await?;
        let path = format!("{}/states", target(&user, &thing));
        let answer = user.call(Method::GET, &path, None).await;
        let answer = answer.map_err(|failure| failure.advise("A thing has states once it has reported some."))?;
        let states: Map<String, Value> = answer.read()?;
        if self.json {
            return output::json_line(&states);
        }
        let mut table = table::with_header(["STATE", "VALUE"]);
        for (name, value) in &states {
            table.add_row([name.clone(), value.to_string()]);
        }
        output::line(&table.to_string())
    }
}

/// Delete a thing, with its states, commands and credentials. Its connection ends.
#[derive(Debug, Args)]
struct Delete {
    /// The thing.
    thing: String,
    #[command(flatten)]
    login: LoginArgs,
}

impl Delete {
    async fn run(&self) -> Result<(), Failure> {
        let user = self.login.load()?;
        let thing = find(&user, &self.thing).await?;
        user.call(Method::DELETE, &format!("/api/apps/{}/things/{thing}", user.app), None).await?;
        eprintln!("thingif: thing {thing} is deleted");
        Ok(())
    }
}
