//! `/thing-if/apps/{APP}/onboardings`. (`wire` §4)

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use http::StatusCode;
use serde_json::Value;

use crate::cloud::call::{Authorization, Body, Call};
use crate::cloud::failure::Failure;
use crate::cloud::identifiers::Identifiers;
use crate::cloud::store::installations::{self, Installation};
use crate::cloud::store::things::{self, Login, NewThing};
use crate::cloud::store::tokens::NewToken;
use crate::cloud::store::{Sql, StoreError, tokens};
use crate::cloud::throttle::Name;
use crate::cloud::{Cloud, answer, token};
use crate::ids::{AppId, FirmwareVersion, ThingId};
use crate::thing_if::{
    DataGroupingInterval, ErrorCode, LayoutPosition, OnboardingAnswer, OnboardingRequest, Principal, ThingIdentity,
    ThingOnboarding,
};

/// How often an onboarding begins anew because the thing was made or changed meanwhile.
const ATTEMPTS: usize = 4;

pub(super) fn routes() -> Router<Cloud> {
    Router::new().route("/thing-if/apps/{app}/onboardings", post(onboard))
}

async fn onboard(State(cloud): State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    let answer = match OnboardingRequest::from_body(body.content_type(), &body.bytes)? {
        OnboardingRequest::ByThing(thing) => {
            may_onboard_itself(&cloud, &call, &thing).await?;
            onboard_thing(&cloud, &call, thing, None).await?
        }
        OnboardingRequest::ByOwner { thing, owner } => {
            is_owner_itself(&cloud, &call, &owner).await?;
            onboard_thing(&cloud, &call, thing, Some(owner)).await?
        }
        OnboardingRequest::EndNode(_) => return Err(Failure::not_implemented("Onboarding of end nodes")),
    };
    Ok(answer::exposed(StatusCode::OK, answer.to_body_exposed()))
}

/// By thing: the CONNECT of the default broker or a header proved the application's key, or the thing's own token did.
async fn may_onboard_itself(cloud: &Cloud, call: &Call, thing: &ThingOnboarding) -> Result<(), Failure> {
    if call.knows_app_key {
        return Ok(());
    }
    let Authorization::Bearer(hash) = call.authorization else {
        let message = "Onboarding by thing needs the application's key or the thing's token";
        return Err(Failure::unauthorized(message));
    };
    let (app, identity, now) = (call.app.clone(), thing.thing.clone(), call.now);
    let check = move |sql: &mut dyn Sql| {
        let principal = tokens::principal(sql, &app, &hash, now)?.ok_or_else(Failure::wrong_token)?;
        match find(sql, &app, &identity)? {
            Some(login) if principal == Principal::Thing(login.thing_id.clone()) => Ok(()),
            _ => Err(Failure::not_permitted(&app, &principal)),
        }
    };
    cloud.store().read(check).await
}

/// By owner: the token is that of the owner who is named.
async fn is_owner_itself(cloud: &Cloud, call: &Call, owner: &Principal) -> Result<(), Failure> {
    if matches!(owner, Principal::Group(_)) {
        return Err(Failure::new(ErrorCode::OperationNotSupported, "Groups cannot own things here"));
    }
    let Authorization::Bearer(hash) = call.authorization else {
        return Err(Failure::unauthorized("Onboarding by owner needs the owner's token"));
    };
    let (app, now) = (call.app.clone(), call.now);
    let principal = cloud
        .store()
        .read(move |sql: &mut dyn Sql| tokens::principal(sql, &app, &hash, now)?.ok_or_else(Failure::wrong_token))
        .await?;
    if principal == *owner { Ok(()) } else { Err(Failure::not_permitted(&call.app, &principal)) }
}

/// Finds or makes the thing, and gives it a token. The password is checked outside of the transaction, because that
/// takes long; what it was checked against is compared again inside.
async fn onboard_thing(
    cloud: &Cloud,
    call: &Call,
    request: ThingOnboarding,
    owner: Option<Principal>,
) -> Result<OnboardingAnswer, Failure> {
    let mut waited = call.waited;
    for _ in 0..ATTEMPTS {
        let (app, identity) = (call.app.clone(), request.thing.clone());
        let known =
            cloud.store().read(move |sql: &mut dyn Sql| find(sql, &app, &identity).map_err(Failure::from)).await?;
        let new = match (&known, &request.thing) {
            (Some(login), _) => {
                let name = Name::thing(&call.app, &login.vendor_thing_id);
                let attempt = cloud.begin_login(call.remote, Some(name), waited).await;
                waited = waited.max(attempt.delay());
                if !cloud.passwords().verify(&request.password, Some(login.password_hash.clone())).await? {
                    attempt.failed(cloud.now());
                    return Err(Failure::wrong_password());
                }
                attempt.succeeded();
                None
            }
            (None, ThingIdentity::VendorThing(_)) => {
                new_thing(&request, cloud.passwords().hash(&request.password).await?)
            }
            (None, ThingIdentity::Thing(thing)) => {
                // Whoever tries ids waits like whoever tries passwords.
                let name = Name::thing_id(&call.app, thing);
                let attempt = cloud.begin_login(call.remote, Some(name), waited).await;
                attempt.failed(cloud.now());
                return Err(Failure::thing_not_found(&call.app, thing));
            }
        };
        let (access_token, hash) = token::generate();
        let job = Onboarding {
            app: call.app.clone(),
            identity: request.thing.clone(),
            known,
            new,
            firmware_version: request.profile.firmware_version.clone(),
            owner: owner.clone(),
            token: NewToken { hash, expires_at: None },
            now: call.now,
        };
        if let Some((thing_id, installation)) = cloud.store().write(move |sql: &mut dyn Sql| job.run(sql)).await? {
            return Ok(OnboardingAnswer {
                access_token,
                thing_id,
                endpoint: cloud.endpoint(&installation, call.local),
            });
        }
    }
    Err(Failure::overloaded())
}

fn find(sql: &mut dyn Sql, app: &AppId, identity: &ThingIdentity) -> Result<Option<Login>, StoreError> {
    match identity {
        ThingIdentity::VendorThing(id) => things::by_vendor_id(sql, app, id),
        ThingIdentity::Thing(id) => things::by_id(sql, app, id),
    }
}

fn new_thing(request: &ThingOnboarding, password_hash: String) -> Option<NewThing> {
    let ThingIdentity::VendorThing(vendor_thing_id) = &request.thing else { return None };
    let profile = &request.profile;
    Some(NewThing {
        thing_id: Identifiers::thing_id(),
        vendor_thing_id: vendor_thing_id.clone(),
        password_hash,
        thing_type: profile.thing_type.as_ref().map(ToString::to_string),
        firmware_version: profile.firmware_version.as_ref().map(ToString::to_string),
        layout_position: profile.layout_position.unwrap_or(LayoutPosition::Standalone).as_str().to_owned(),
        data_grouping_interval: profile
            .data_grouping_interval
            .as_ref()
            .map(|i| DataGroupingInterval::as_str(i).to_owned()),
        properties: Value::Object(profile.thing_properties.clone().unwrap_or_default()).to_string(),
    })
}

/// What an onboarding writes.
struct Onboarding {
    app: AppId,
    identity: ThingIdentity,
    /// The thing that the password was checked against.
    known: Option<Login>,
    /// The thing to be made when there was none.
    new: Option<NewThing>,
    firmware_version: Option<FirmwareVersion>,
    owner: Option<Principal>,
    token: NewToken,
    now: i64,
}

impl Onboarding {
    /// `None` when the thing is no longer what the password was checked against.
    fn run(self, sql: &mut dyn Sql) -> Result<Option<(ThingId, Installation)>, Failure> {
        let Self { app, now, .. } = &self;
        if find(sql, app, &self.identity)? != self.known {
            return Ok(None);
        }
        let thing_id = match (&self.known, &self.new) {
            // A repeated onboarding changes nothing but the firmware version, which only the thing knows.
            (Some(login), _) => {
                if let Some(version) = &self.firmware_version {
                    things::set_firmware_version(sql, app, &login.thing_id, version.as_str(), *now)?;
                }
                login.thing_id.clone()
            }
            (None, Some(new)) => {
                things::insert(sql, app, new, *now)?;
                new.thing_id.clone()
            }
            (None, None) => return Ok(None),
        };
        if let Some(owner) = &self.owner {
            things::add_owner(sql, app, &thing_id, owner, *now)?;
        }
        let principal = Principal::Thing(thing_id.clone());
        tokens::add(sql, app, &principal, &self.token, *now)?;
        let installation = match installations::of(sql, app, &principal)?.into_iter().next() {
            Some(first) => first,
            None => {
                let new = Installation::generate(app.clone());
                installations::insert(sql, &principal, &new, *now)?;
                new
            }
        };
        Ok(Some((thing_id, installation)))
    }
}
