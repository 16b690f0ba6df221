//! `/thing-if/apps/{APP}/onboardings`. (`wire` §4)

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;

use super::end_nodes::put_behind;
use super::ownership::add_owner;
use super::thing_fields::check_printed;
use crate::cloud::call::{Authorization, Body, Call, authenticate};
use crate::cloud::caller::Caller;
use crate::cloud::failure::Failure;
use crate::cloud::identifiers::Identifiers;
use crate::cloud::store::installations::{self, Installation};
use crate::cloud::store::things::{self, Login, NewThing};
use crate::cloud::store::tokens::NewToken;
use crate::cloud::store::{Sql, StoreError, tokens, users};
use crate::cloud::throttle::Name;
use crate::cloud::{Cloud, answer, token};
use crate::ids::{AccessToken, AppId, FirmwareVersion, ThingId};
use crate::secret::Secret;
use crate::thing_if::{
    DataGroupingInterval, EndNodeOnboarding, EndNodeOnboardingAnswer, ErrorCode, LayoutPosition, OnboardingAnswer,
    OnboardingRequest, Principal, ThingIdentity, ThingOnboarding, ThingProfile,
};

/// How often an onboarding begins anew because the thing was made or changed meanwhile.
const ATTEMPTS: usize = 4;

pub(super) fn routes() -> Router<Cloud> {
    Router::new().route("/thing-if/apps/{app}/onboardings", post(onboard))
}

async fn onboard(State(cloud): State<Cloud>, call: Call, body: Body) -> Result<Response, Failure> {
    let (thing, owner, gateway) = match OnboardingRequest::from_body(body.content_type(), &body.bytes)? {
        OnboardingRequest::ByThing(thing) => {
            may_onboard_itself(&cloud, &call, &thing).await?;
            (thing, None, None)
        }
        OnboardingRequest::ByOwner { thing, owner } => {
            is_owner_itself(&cloud, &call, &owner).await?;
            (thing, Some(owner), None)
        }
        OnboardingRequest::EndNode(end_node) => {
            is_owner_itself(&cloud, &call, &end_node.owner).await?;
            let gateway = gateway(&cloud, &call, &end_node).await?;
            (as_thing(&end_node), Some(end_node.owner), Some(gateway))
        }
    };
    thing.profile.thing_properties.as_ref().map_or(Ok(()), check_printed)?;
    let onboarded = onboard_thing(&cloud, &call, thing, owner, gateway).await?;
    Ok(answer::exposed(StatusCode::OK, onboarded.answer(&cloud, &call)))
}

/// What onboarding says of an end node, as it is said of a thing.
fn as_thing(end_node: &EndNodeOnboarding) -> ThingOnboarding {
    ThingOnboarding {
        thing: ThingIdentity::VendorThing(end_node.vendor_thing_id.clone()),
        password: end_node.password.clone(),
        profile: ThingProfile {
            thing_type: end_node.thing_type.clone(),
            firmware_version: end_node.firmware_version.clone(),
            layout_position: Some(LayoutPosition::EndNode),
            thing_properties: end_node.thing_properties.clone(),
            data_grouping_interval: None,
        },
    }
}

/// The gateway that an end node is to be behind: it must be its owner's too.
async fn gateway(cloud: &Cloud, call: &Call, end_node: &EndNodeOnboarding) -> Result<ThingId, Failure> {
    let (app, identity, owner) = (call.app.clone(), end_node.gateway.clone(), end_node.owner.clone());
    let check = move |sql: &mut dyn Sql| {
        let gateway = find(sql, &app, &identity)?.ok_or_else(|| not_found(&app, &identity))?.thing_id;
        if things::is_owner(sql, &app, &gateway, &owner)? {
            Ok(gateway)
        } else {
            Err(Failure::not_permitted(&app, &owner.into()))
        }
    };
    cloud.store().read(check).await
}

fn not_found(app: &AppId, identity: &ThingIdentity) -> Failure {
    match identity {
        ThingIdentity::VendorThing(id) => Failure::no_such_thing(app, "vendorThingID", id.as_str()),
        ThingIdentity::Thing(id) => Failure::thing_not_found(app, id),
    }
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
        let caller = authenticate(sql, &app, &hash, now)?;
        if matches!(caller, Caller::Anonymous | Caller::Admin) {
            return Ok(());
        }
        match find(sql, &app, &identity)? {
            Some(login) if caller.may_act_as(&Principal::Thing(login.thing_id.clone())) => Ok(()),
            _ => Err(Failure::not_permitted(&app, &caller)),
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
    let (app, owner, now) = (call.app.clone(), owner.clone(), call.now);
    let check = move |sql: &mut dyn Sql| {
        let caller = authenticate(sql, &app, &hash, now)?;
        if !caller.may_act_as(&owner) {
            return Err(Failure::not_permitted(&app, &caller));
        }
        // An administrator may name whoever there is.
        match &owner {
            Principal::User(user) if !users::exists(sql, &app, user)? => {
                Err(Failure::user_not_found(&app, user.as_str()))
            }
            _ => Ok(()),
        }
    };
    cloud.store().read(check).await
}

/// Finds or makes the thing, and gives it a token. The password is checked outside of the transaction, because that
/// takes long; what it was checked against is compared again inside.
async fn onboard_thing(
    cloud: &Cloud,
    call: &Call,
    request: ThingOnboarding,
    owner: Option<Principal>,
    gateway: Option<ThingId>,
) -> Result<Onboarded, Failure> {
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
                if login.disabled {
                    return Err(Failure::thing_disabled(&call.app, login.thing_id.as_str()));
                }
                None
            }
            (None, ThingIdentity::VendorThing(_)) => {
                new_thing(&request, cloud.passwords().hash(&request.password).await?)
            }
            (None, identity @ ThingIdentity::Thing(thing)) => {
                // Whoever tries ids waits like whoever tries passwords.
                let name = Name::thing_id(&call.app, thing);
                let attempt = cloud.begin_login(call.remote, Some(name), waited).await;
                attempt.failed(cloud.now());
                return Err(not_found(&call.app, identity));
            }
        };
        let (access_token, hash) = token::generate();
        let job = Onboarding {
            app: call.app.clone(),
            identity: request.thing.clone(),
            known,
            new,
            firmware_version: request.profile.firmware_version.clone(),
            layout_position: request.profile.layout_position,
            owner: owner.clone(),
            gateway: gateway.clone(),
            token: NewToken { hash, expires_at: None, refresh: None, gateway: gateway.clone() },
            now: call.now,
        };
        if let Some((thing_id, installation)) = cloud.store().write(move |sql: &mut dyn Sql| job.run(sql)).await? {
            return Ok(Onboarded { access_token, thing_id, installation });
        }
    }
    Err(Failure::overloaded())
}

/// A thing, its new token and, unless it is behind a gateway, its installation.
struct Onboarded {
    access_token: Secret<AccessToken>,
    thing_id: ThingId,
    installation: Option<Installation>,
}

impl Onboarded {
    fn answer(self, cloud: &Cloud, call: &Call) -> Bytes {
        let Self { access_token, thing_id, installation } = self;
        match installation {
            Some(installation) => {
                let endpoint = cloud.endpoint(&installation, call.local);
                OnboardingAnswer { access_token, thing_id, endpoint }.to_body_exposed()
            }
            None => EndNodeOnboardingAnswer { access_token, end_node_thing_id: thing_id }.to_body_exposed(),
        }
    }
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
    layout_position: Option<LayoutPosition>,
    owner: Option<Principal>,
    gateway: Option<ThingId>,
    token: NewToken,
    now: i64,
}

impl Onboarding {
    /// `None` when the thing is no longer what the password was checked against.
    fn run(self, sql: &mut dyn Sql) -> Result<Option<(ThingId, Option<Installation>)>, Failure> {
        let Self { app, now, .. } = &self;
        if find(sql, app, &self.identity)? != self.known {
            return Ok(None);
        }
        let thing_id = match (&self.known, &self.new) {
            // A repeated onboarding changes nothing but what it knows best: what the thing runs and where it stands.
            (Some(login), _) => {
                if let Some(version) = &self.firmware_version {
                    things::set_firmware_version(sql, app, &login.thing_id, version.as_str(), *now)?;
                }
                if let Some(position) = self.layout_position {
                    things::set_layout_position(sql, app, &login.thing_id, position.as_str(), *now)?;
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
            // To check the password took long: the owner may be gone since.
            if let Principal::User(user) = owner
                && !users::exists(sql, app, user)?
            {
                return Err(Failure::user_not_found(app, user.as_str()));
            }
            add_owner(sql, app, &thing_id, owner, *now)?;
        }
        let principal = Principal::Thing(thing_id.clone());
        tokens::add(sql, app, &principal.clone().into(), &self.token, *now)?;
        if let Some(gateway) = &self.gateway {
            // It was there, and the owner's, before the password was checked. An error leaves nothing of all this.
            if let Some(owner) = &self.owner
                && !things::is_owner(sql, app, gateway, owner)?
            {
                return Err(Failure::not_permitted(app, &owner.clone().into()));
            }
            put_behind(sql, app, gateway, &thing_id, *now)?;
            return Ok(Some((thing_id, None)));
        }
        let installation = match installations::of(sql, app, &principal)?.into_iter().next() {
            Some(first) => first,
            None => {
                let new = Installation::generate(app.clone());
                installations::insert(sql, &principal, &new, *now)?;
                new
            }
        };
        Ok(Some((thing_id, Some(installation))))
    }
}
