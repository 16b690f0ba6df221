//! Every route, what it asks for, and what each stranger is told there.

#[path = "rows_not_built.rs"]
mod not_built;
#[path = "rows_push.rs"]
mod push;
#[path = "rows_things.rs"]
mod things;
#[path = "rows_users.rs"]
mod users;

/// Who asks for something of the home application. In this order the expectations of a row stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stranger {
    /// Nothing says who it is.
    Nobody,
    /// A token that nobody has.
    Nonsense,
    /// `Authorization: Basic` of the other application.
    ForeignKey,
    /// `X-Kii-AppID` and `X-Kii-AppKey` of the other application.
    ForeignHeaders,
    /// Who owns the thing of the same id in the other application.
    ForeignOwner,
    /// Who owns another thing there.
    ForeignNeighbour,
    /// The thing of the same ids in the other application.
    ForeignThing,
    /// The administrator of the other application.
    ForeignAdmin,
    /// Anybody who knows the key of the other application, by a token.
    ForeignAnybody,
    /// The owner in the other application, with the id and the key of this one beside the token.
    ForeignOwnerWithKey,
    /// Who owns another thing in this application.
    Neighbour,
    /// Another thing in this application.
    NeighbourThing,
}

pub(crate) const STRANGERS: [Stranger; 12] = [
    Stranger::Nobody,
    Stranger::Nonsense,
    Stranger::ForeignKey,
    Stranger::ForeignHeaders,
    Stranger::ForeignOwner,
    Stranger::ForeignNeighbour,
    Stranger::ForeignThing,
    Stranger::ForeignAdmin,
    Stranger::ForeignAnybody,
    Stranger::ForeignOwnerWithKey,
    Stranger::Neighbour,
    Stranger::NeighbourThing,
];

/// Who may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rightful {
    /// Whoever has the application's key.
    Key,
    /// The thing's owner.
    Owner,
    /// The thing itself.
    Thing,
    /// The administrator of the application.
    Admin,
}

/// One route and method, or one way to use it. In `path` and `body`, names in braces are filled in: `{app} {thing} {vendor}
/// {command} {trigger} {installation} {registration} {owner} {login} {user_password} {thing_password} {node} {node_vendor}
/// {node_password} {object}`.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) method: &'static str,
    /// As the router has it.
    pub(crate) route: &'static str,
    pub(crate) path: &'static str,
    pub(crate) media_type: &'static str,
    pub(crate) body: &'static str,
    /// Who may, and the status that it gets.
    pub(crate) rightful: (Rightful, u16),
    /// What each of [`STRANGERS`] is told.
    pub(crate) strangers: [&'static str; STRANGERS.len()],
    /// What is said to someone rightful in the other application that names something of this one there. The same, to the
    /// letter, as of what exists nowhere.
    pub(crate) elsewhere: &'static str,
}

const UNAUTHORIZED: &str = "401 UNAUTHORIZED";
const WRONG_TOKEN: &str = "403 WRONG_TOKEN";
const INVALID_GRANT: &str = "400 invalid_grant";

/// What needs a token: none is 401, one of another application is as unknown as nonsense, one of this application that
/// does not reach so far is 401.
const BY_TOKEN: [&str; 12] = [
    UNAUTHORIZED, // Nobody
    WRONG_TOKEN,  // Nonsense
    UNAUTHORIZED, // ForeignKey
    UNAUTHORIZED, // ForeignHeaders
    WRONG_TOKEN,  // ForeignOwner
    WRONG_TOKEN,  // ForeignNeighbour
    WRONG_TOKEN,  // ForeignThing
    WRONG_TOKEN,  // ForeignAdmin
    WRONG_TOKEN,  // ForeignAnybody
    WRONG_TOKEN,  // ForeignOwnerWithKey
    UNAUTHORIZED, // Neighbour
    UNAUTHORIZED, // NeighbourThing
];

/// What needs the application's key: a token, whoever's, is none.
const BY_KEY: [&str; 12] = [UNAUTHORIZED; 12];

/// Logging in needs no key, but a key that is sent must be that of the application in the path. The bodies have the
/// password of the other application.
const BY_PASSWORD: [&str; 12] = [
    INVALID_GRANT, // Nobody
    INVALID_GRANT, // Nonsense
    UNAUTHORIZED,  // ForeignKey
    UNAUTHORIZED,  // ForeignHeaders
    INVALID_GRANT, // ForeignOwner
    INVALID_GRANT, // ForeignNeighbour
    INVALID_GRANT, // ForeignThing
    INVALID_GRANT, // ForeignAdmin
    INVALID_GRANT, // ForeignAnybody
    INVALID_GRANT, // ForeignOwnerWithKey
    INVALID_GRANT, // Neighbour
    INVALID_GRANT, // NeighbourThing
];

/// Where the key says which application is meant. Those who send one send the password of the other application.
const BY_KEY_AND_PASSWORD: [&str; 12] = [
    UNAUTHORIZED,  // Nobody
    UNAUTHORIZED,  // Nonsense
    INVALID_GRANT, // ForeignKey
    INVALID_GRANT, // ForeignHeaders
    UNAUTHORIZED,  // ForeignOwner
    UNAUTHORIZED,  // ForeignNeighbour
    UNAUTHORIZED,  // ForeignThing
    UNAUTHORIZED,  // ForeignAdmin
    UNAUTHORIZED,  // ForeignAnybody
    INVALID_GRANT, // ForeignOwnerWithKey
    UNAUTHORIZED,  // Neighbour
    UNAUTHORIZED,  // NeighbourThing
];

const STATES: &str = "/thing-if/apps/{app}/targets/{target}/states";
const STATES_OF_ALIAS: &str = "/thing-if/apps/{app}/targets/{target}/states/aliases/{alias}";
const COMMANDS: &str = "/thing-if/apps/{app}/targets/{target}/commands";
const COMMAND: &str = "/thing-if/apps/{app}/targets/{target}/commands/{command}";
const RESULTS: &str = "/thing-if/apps/{app}/targets/{target}/commands/{command}/action-results";
const TRIGGERS: &str = "/thing-if/apps/{app}/targets/{target}/triggers";
const TRIGGER: &str = "/thing-if/apps/{app}/targets/{target}/triggers/{trigger}";
const TRIGGER_RESULTS: &str = "/thing-if/apps/{app}/targets/{target}/triggers/{trigger}/results/server-code";
const ENABLE: &str = "/thing-if/apps/{app}/targets/{target}/triggers/{trigger}/enable";
const DISABLE: &str = "/thing-if/apps/{app}/targets/{target}/triggers/{trigger}/disable";
const ONBOARDINGS: &str = "/thing-if/apps/{app}/onboardings";
const TOKEN: &str = "/api/apps/{app}/oauth2/token";
const INSTALLATIONS: &str = "/api/apps/{app}/installations";
const INSTALLATION: &str = "/api/apps/{app}/installations/{installation}";
const THING: &str = "/api/apps/{app}/things/{thing}";

const JSON: &str = "application/json";

/// In place of what a stranger is told, who is none at this row: it may.
pub(crate) const MAY: &str = "may";

/// Every row, in the order in which it is also tried by who may.
pub(crate) const ROWS: &[Row] = &concat::<{ len(PARTS) }>(PARTS);

const PARTS: &[&[Row]] =
    &[things::ROWS, push::APP, push::USER, push::THING, push::OTHERS, not_built::ROWS, GENERAL, users::ROWS];

const fn len(parts: &[&[Row]]) -> usize {
    let (mut len, mut part) = (0, 0);
    while part < parts.len() {
        len += parts[part].len();
        part += 1;
    }
    len
}

const fn concat<const N: usize>(parts: &[&[Row]]) -> [Row; N] {
    let (mut all, mut at, mut part) = ([parts[0][0]; N], 0, 0);
    while part < parts.len() {
        let mut row = 0;
        while row < parts[part].len() {
            all[at] = parts[part][row];
            (at, row) = (at + 1, row + 1);
        }
        part += 1;
    }
    all
}

/// What deletes comes last.
const GENERAL: &[Row] = &[
    Row {
        method: "PUT",
        route: STATES,
        path: "/thing-if/apps/{app}/targets/thing:{thing}/states",
        media_type: "application/vnd.kii.MultipleTraitState+json",
        body: r#"{"Lamp":{"power":"stolen"}}"#,
        rightful: (Rightful::Thing, 204),
        strangers: BY_TOKEN,
        elsewhere: "404 TARGET_NOT_FOUND",
    },
    Row {
        method: "PATCH",
        route: STATES,
        path: "/thing-if/apps/{app}/targets/thing:{thing}/states",
        media_type: "application/vnd.kii.MultipleTraitStatePatch+json",
        body: r#"{"Lamp":{"power":"stolen"}}"#,
        rightful: (Rightful::Thing, 204),
        strangers: BY_TOKEN,
        elsewhere: "404 TARGET_NOT_FOUND",
    },
    Row {
        method: "POST",
        route: "/thing-if/apps/{app}/targets/{target}/states-bulk",
        path: "/thing-if/apps/{app}/targets/thing:{thing}/states-bulk",
        media_type: "application/vnd.kii.StatePatchBulkUploadRequest+json",
        body: r#"{"states":[{"generatedAt":1,"payload":{"Lamp":{"power":"late"}}}]}"#,
        rightful: (Rightful::Thing, 204),
        strangers: BY_TOKEN,
        elsewhere: "404 TARGET_NOT_FOUND",
    },
    Row {
        method: "PUT",
        route: STATES_OF_ALIAS,
        path: "/thing-if/apps/{app}/targets/thing:{thing}/states/aliases/Lamp",
        media_type: "application/vnd.kii.TraitState+json",
        body: r#"{"power":"stolen"}"#,
        rightful: (Rightful::Thing, 204),
        strangers: BY_TOKEN,
        elsewhere: "404 TARGET_NOT_FOUND",
    },
    Row {
        method: "GET",
        route: STATES_OF_ALIAS,
        path: "/thing-if/apps/{app}/targets/thing:{thing}/states/aliases/Lamp",
        media_type: "",
        body: "",
        rightful: (Rightful::Owner, 200),
        strangers: BY_TOKEN,
        elsewhere: "404 TARGET_NOT_FOUND",
    },
    Row {
        method: "POST",
        route: "/thing-if/apps/{app}/targets/{target}/states/aliases/{alias}/query",
        path: "/thing-if/apps/{app}/targets/thing:{thing}/states/aliases/Lamp/query",
        media_type: "application/vnd.kii.TraitStateQueryRequest+json",
        body: r#"{"query":{"clause":{"type":"all"}}}"#,
        rightful: (Rightful::Owner, 200),
        strangers: BY_TOKEN,
        elsewhere: "404 TARGET_NOT_FOUND",
    },
    Row {
        method: "GET",
        route: STATES,
        path: "/thing-if/apps/{app}/targets/THING:{thing}/states",
        media_type: "",
        body: "",
        rightful: (Rightful::Owner, 200),
        strangers: BY_TOKEN,
        elsewhere: "404 TARGET_NOT_FOUND",
    },
    Row {
        method: "POST",
        route: COMMANDS,
        path: "/thing-if/apps/{app}/targets/thing:{thing}/commands",
        media_type: JSON,
        body: r#"{"issuer":"user:{owner}","schema":"S","schemaVersion":1,"actions":[{"unlock":{}}]}"#,
        rightful: (Rightful::Owner, 201),
        strangers: BY_TOKEN,
        elsewhere: "404 TARGET_NOT_FOUND",
    },
    Row {
        method: "GET",
        route: COMMANDS,
        path: "/thing-if/apps/{app}/targets/thing:{thing}/commands?bestEffortLimit=5",
        media_type: "",
        body: "",
        rightful: (Rightful::Thing, 200),
        strangers: BY_TOKEN,
        elsewhere: "404 TARGET_NOT_FOUND",
    },
    Row {
        method: "GET",
        route: COMMAND,
        path: "/thing-if/apps/{app}/targets/thing:{thing}/commands/{command}",
        media_type: "",
        body: "",
        rightful: (Rightful::Owner, 200),
        strangers: BY_TOKEN,
        elsewhere: "404 TARGET_NOT_FOUND",
    },
    Row {
        method: "PUT",
        route: RESULTS,
        path: "/thing-if/apps/{app}/targets/thing:{thing}/commands/{command}/action-results",
        media_type: JSON,
        body: r#"{"actionResults":[{"on":{"succeeded":true}}]}"#,
        rightful: (Rightful::Thing, 204),
        strangers: BY_TOKEN,
        elsewhere: "404 TARGET_NOT_FOUND",
    },
    Row {
        method: "POST",
        route: TRIGGERS,
        path: "/thing-if/apps/{app}/targets/thing:{thing}/triggers",
        media_type: JSON,
        body: r#"{"triggersWhat":"COMMAND","command":{"issuer":"user:{owner}","schema":"S","schemaVersion":1,"actions":[{"unlock":{}}]},"predicate":{"eventSource":"SCHEDULE","schedule":"* * * * *"}}"#,
        rightful: (Rightful::Owner, 201),
        strangers: BY_TOKEN,
        elsewhere: "404 TARGET_NOT_FOUND",
    },
    Row {
        method: "GET",
        route: TRIGGERS,
        path: "/thing-if/apps/{app}/targets/thing:{thing}/triggers?bestEffortLimit=5",
        media_type: "",
        body: "",
        rightful: (Rightful::Thing, 200),
        strangers: BY_TOKEN,
        elsewhere: "404 TARGET_NOT_FOUND",
    },
    Row {
        method: "GET",
        route: TRIGGER,
        path: "/thing-if/apps/{app}/targets/thing:{thing}/triggers/{trigger}",
        media_type: "",
        body: "",
        rightful: (Rightful::Owner, 200),
        strangers: BY_TOKEN,
        elsewhere: "404 TARGET_NOT_FOUND",
    },
    Row {
        method: "PATCH",
        route: TRIGGER,
        path: "/thing-if/apps/{app}/targets/thing:{thing}/triggers/{trigger}",
        media_type: JSON,
        body: r#"{"title":"stolen","command":{"issuer":"user:{owner}","schema":"S","schemaVersion":1,"actions":[{"unlock":{}}]}}"#,
        rightful: (Rightful::Owner, 204),
        strangers: BY_TOKEN,
        elsewhere: "404 TARGET_NOT_FOUND",
    },
    Row {
        method: "PUT",
        route: DISABLE,
        path: "/thing-if/apps/{app}/targets/thing:{thing}/triggers/{trigger}/disable",
        media_type: "",
        body: "",
        rightful: (Rightful::Thing, 204),
        strangers: BY_TOKEN,
        elsewhere: "404 TARGET_NOT_FOUND",
    },
    Row {
        method: "PUT",
        route: ENABLE,
        path: "/thing-if/apps/{app}/targets/thing:{thing}/triggers/{trigger}/enable",
        media_type: "",
        body: "",
        rightful: (Rightful::Owner, 204),
        strangers: BY_TOKEN,
        elsewhere: "404 TARGET_NOT_FOUND",
    },
    Row {
        method: "GET",
        route: TRIGGER_RESULTS,
        path: "/thing-if/apps/{app}/targets/thing:{thing}/triggers/{trigger}/results/server-code",
        media_type: "",
        body: "",
        rightful: (Rightful::Thing, 200),
        strangers: BY_TOKEN,
        elsewhere: "404 TARGET_NOT_FOUND",
    },
    Row {
        method: "POST",
        route: ONBOARDINGS,
        path: ONBOARDINGS,
        media_type: "application/vnd.kii.OnboardingWithVendorThingIDByThing+json",
        body: r#"{"vendorThingID":"{vendor}","thingPassword":"{thing_password}"}"#,
        rightful: (Rightful::Key, 200),
        strangers: BY_TOKEN,
        // The maker's id is the thing of this application that has it.
        elsewhere: "401 WRONG_PASSWORD",
    },
    Row {
        method: "POST",
        route: ONBOARDINGS,
        path: ONBOARDINGS,
        media_type: "application/vnd.kii.OnboardingWithVendorThingIDByOwner+json",
        body: r#"{"vendorThingID":"{vendor}","thingPassword":"{thing_password}","owner":"USER:{owner}"}"#,
        rightful: (Rightful::Owner, 200),
        strangers: BY_TOKEN,
        elsewhere: UNAUTHORIZED,
    },
    Row {
        method: "POST",
        route: ONBOARDINGS,
        path: ONBOARDINGS,
        media_type: "application/vnd.kii.OnboardingWithThingIDByThing+json",
        body: r#"{"thingID":"{thing}","thingPassword":"{thing_password}"}"#,
        rightful: (Rightful::Key, 200),
        strangers: BY_TOKEN,
        elsewhere: "404 THING_NOT_FOUND",
    },
    Row {
        method: "POST",
        route: ONBOARDINGS,
        path: ONBOARDINGS,
        media_type: "application/vnd.kii.OnboardingWithThingIDByOwner+json",
        body: r#"{"thingID":"{thing}","thingPassword":"{thing_password}","owner":"USER:{owner}"}"#,
        rightful: (Rightful::Owner, 200),
        strangers: BY_TOKEN,
        elsewhere: UNAUTHORIZED,
    },
    Row {
        method: "POST",
        route: "/api/apps/{app}/users",
        path: "/api/apps/{app}/users",
        media_type: JSON,
        body: r#"{"loginName":"new-{login}","password":"long enough"}"#,
        rightful: (Rightful::Key, 201),
        strangers: BY_KEY,
        // That the name is taken in one application is not to be seen in another.
        elsewhere: "201",
    },
    Row {
        method: "POST",
        route: TOKEN,
        path: TOKEN,
        media_type: JSON,
        body: r#"{"username":"{login}","password":"{user_password}"}"#,
        rightful: (Rightful::Key, 200),
        strangers: BY_PASSWORD,
        elsewhere: INVALID_GRANT,
    },
    Row {
        method: "POST",
        route: TOKEN,
        path: TOKEN,
        media_type: JSON,
        body: r#"{"username":"VENDOR_THING_ID:{vendor}","password":"{thing_password}","grant_type":"password"}"#,
        rightful: (Rightful::Key, 200),
        strangers: BY_PASSWORD,
        elsewhere: INVALID_GRANT,
    },
    Row {
        method: "POST",
        route: TOKEN,
        path: TOKEN,
        media_type: JSON,
        body: r#"{"username":"THING_ID:{thing}","password":"{thing_password}","grant_type":"password"}"#,
        rightful: (Rightful::Key, 200),
        strangers: BY_PASSWORD,
        elsewhere: INVALID_GRANT,
    },
    Row {
        method: "POST",
        route: "/api/oauth2/token",
        path: "/api/oauth2/token",
        media_type: JSON,
        body: r#"{"username":"{login}","password":"{user_password}"}"#,
        rightful: (Rightful::Key, 200),
        strangers: BY_KEY_AND_PASSWORD,
        elsewhere: INVALID_GRANT,
    },
    Row {
        method: "POST",
        route: INSTALLATIONS,
        path: INSTALLATIONS,
        media_type: "application/vnd.kii.InstallationCreationRequest+json",
        body: r#"{"deviceType":"MQTT","development":true,"thingID":"{thing}"}"#,
        rightful: (Rightful::Owner, 201),
        strangers: BY_TOKEN,
        elsewhere: "404 THING_NOT_FOUND",
    },
    Row {
        method: "POST",
        route: INSTALLATIONS,
        path: INSTALLATIONS,
        media_type: JSON,
        body: r#"{"deviceType":"MQTT","userID":"{owner}"}"#,
        rightful: (Rightful::Owner, 201),
        strangers: BY_TOKEN,
        elsewhere: "404 USER_NOT_FOUND",
    },
    Row {
        method: "GET",
        route: INSTALLATIONS,
        path: "/api/apps/{app}/installations?thingID={thing}",
        media_type: "",
        body: "",
        rightful: (Rightful::Owner, 200),
        strangers: BY_TOKEN,
        elsewhere: "404 THING_NOT_FOUND",
    },
    Row {
        method: "GET",
        route: INSTALLATION,
        path: "/api/apps/{app}/installations/{installation}",
        media_type: "",
        body: "",
        rightful: (Rightful::Thing, 200),
        strangers: BY_TOKEN,
        elsewhere: "404 INSTALLATION_NOT_FOUND",
    },
    Row {
        method: "GET",
        route: "/api/apps/{app}/installations/{installation}/mqtt-endpoint",
        path: "/api/apps/{app}/installations/{installation}/mqtt-endpoint",
        media_type: "",
        body: "",
        rightful: (Rightful::Owner, 200),
        strangers: BY_TOKEN,
        elsewhere: "404 MQTT_ENDPOINT_NOT_FOUND",
    },
    Row {
        method: "DELETE",
        route: TRIGGER,
        path: "/thing-if/apps/{app}/targets/thing:{thing}/triggers/{trigger}",
        media_type: "",
        body: "",
        rightful: (Rightful::Owner, 204),
        strangers: BY_TOKEN,
        elsewhere: "404 TARGET_NOT_FOUND",
    },
    Row {
        method: "DELETE",
        route: INSTALLATION,
        path: "/api/apps/{app}/installations/{installation}",
        media_type: "",
        body: "",
        rightful: (Rightful::Owner, 204),
        strangers: BY_TOKEN,
        elsewhere: "404 INSTALLATION_NOT_FOUND",
    },
    Row {
        method: "DELETE",
        route: INSTALLATION,
        path: "/api/apps/{app}/installations/MQTT:{registration}",
        media_type: "",
        body: "",
        // The row before has deleted it.
        rightful: (Rightful::Owner, 404),
        strangers: BY_TOKEN,
        elsewhere: "404 INSTALLATION_NOT_FOUND",
    },
    Row {
        method: "DELETE",
        route: THING,
        path: "/api/apps/{app}/things/{thing}",
        media_type: "",
        body: "",
        rightful: (Rightful::Owner, 204),
        strangers: BY_TOKEN,
        elsewhere: "404 THING_NOT_FOUND",
    },
    Row {
        method: "DELETE",
        route: THING,
        path: "/api/apps/{app}/things/VENDOR_THING_ID:{vendor}",
        media_type: "",
        body: "",
        // The row before has deleted it.
        rightful: (Rightful::Owner, 404),
        strangers: BY_TOKEN,
        elsewhere: "404 THING_NOT_FOUND",
    },
];
