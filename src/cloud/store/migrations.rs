//! The schema, as the steps that lead to it. A step that was ever released is never edited; a new one is appended.

/// Each entry raises the schema by one version; the first makes version 1.
pub(super) const MIGRATIONS: &[&str] = &[V1, V2, V3, V4, V5, V6, V7, V8, V9, V10, V11];

const V1: &str = "
CREATE TABLE users (
    app_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    login_name TEXT,
    email_address TEXT,
    phone_number TEXT,
    fields TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    modified_at BIGINT NOT NULL,
    PRIMARY KEY (app_id, user_id),
    UNIQUE (app_id, login_name),
    UNIQUE (app_id, email_address),
    UNIQUE (app_id, phone_number)
);

CREATE TABLE things (
    app_id TEXT NOT NULL,
    thing_id TEXT NOT NULL,
    vendor_thing_id TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    thing_type TEXT,
    firmware_version TEXT,
    layout_position TEXT NOT NULL,
    data_grouping_interval TEXT,
    properties TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    modified_at BIGINT NOT NULL,
    PRIMARY KEY (app_id, thing_id),
    UNIQUE (app_id, vendor_thing_id)
);

CREATE TABLE thing_owners (
    app_id TEXT NOT NULL,
    thing_id TEXT NOT NULL,
    owner TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (app_id, thing_id, owner)
);

CREATE TABLE access_tokens (
    token_hash BYTEA NOT NULL,
    app_id TEXT NOT NULL,
    principal TEXT NOT NULL,
    seq BIGINT NOT NULL,
    expires_at BIGINT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (token_hash),
    UNIQUE (app_id, principal, seq)
);

CREATE TABLE installations (
    app_id TEXT NOT NULL,
    installation_id TEXT NOT NULL,
    registration_id TEXT NOT NULL,
    principal TEXT NOT NULL,
    seq BIGINT NOT NULL,
    mqtt_topic TEXT NOT NULL,
    username TEXT NOT NULL,
    generation BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (app_id, installation_id),
    UNIQUE (app_id, principal, seq),
    UNIQUE (username),
    UNIQUE (mqtt_topic)
);

CREATE TABLE thing_states (
    app_id TEXT NOT NULL,
    thing_id TEXT NOT NULL,
    state TEXT NOT NULL,
    modified_at BIGINT NOT NULL,
    PRIMARY KEY (app_id, thing_id)
);

CREATE TABLE commands (
    app_id TEXT NOT NULL,
    thing_id TEXT NOT NULL,
    seq BIGINT NOT NULL,
    command_id TEXT NOT NULL,
    command_state TEXT NOT NULL,
    issuer TEXT NOT NULL,
    actions TEXT NOT NULL,
    action_results TEXT,
    schema_name TEXT,
    schema_version BIGINT,
    title TEXT,
    description TEXT,
    metadata TEXT,
    fired_by_trigger_id TEXT,
    created_at BIGINT NOT NULL,
    modified_at BIGINT NOT NULL,
    PRIMARY KEY (app_id, thing_id, seq),
    UNIQUE (app_id, thing_id, command_id)
);

CREATE INDEX commands_being_sent ON commands (command_id) WHERE command_state = 'SENDING';
";

/// Applications that were made by hand, and who administers which.
const V2: &str = "
CREATE TABLE apps (
    app_id TEXT NOT NULL,
    app_key TEXT NOT NULL,
    name TEXT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (app_id)
);

CREATE TABLE admin_clients (
    app_id TEXT NOT NULL,
    client_id TEXT NOT NULL,
    secret_hash BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (app_id, client_id)
);
";

/// Installations by request: for which environment, and from when on their endpoint is told.
const V3: &str = "
ALTER TABLE installations ADD COLUMN development BIGINT NOT NULL DEFAULT 0;
ALTER TABLE installations ADD COLUMN ready_at BIGINT NOT NULL DEFAULT 0;
";

/// Commands are forgotten by their age.
const V4: &str = "
CREATE INDEX commands_by_age ON commands (created_at);
";

/// Gateways and what is behind them, refresh tokens, and the things of an owner.
const V5: &str = "
CREATE TABLE end_nodes (
    app_id TEXT NOT NULL,
    end_node_id TEXT NOT NULL,
    gateway_id TEXT NOT NULL,
    online BIGINT,
    online_modified_at BIGINT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (app_id, end_node_id)
);

CREATE INDEX end_nodes_by_gateway ON end_nodes (app_id, gateway_id, end_node_id);

CREATE INDEX thing_owners_by_owner ON thing_owners (app_id, owner, thing_id);

ALTER TABLE access_tokens ADD COLUMN refresh_hash BYTEA;

CREATE UNIQUE INDEX access_tokens_by_refresh ON access_tokens (refresh_hash);
";

/// States with traits, and their history.
const V6: &str = "
CREATE TABLE alias_states (
    app_id TEXT NOT NULL,
    thing_id TEXT NOT NULL,
    alias TEXT NOT NULL,
    state TEXT NOT NULL,
    generated_at BIGINT NOT NULL,
    PRIMARY KEY (app_id, thing_id, alias)
);

CREATE TABLE state_history (
    app_id TEXT NOT NULL,
    thing_id TEXT NOT NULL,
    seq BIGINT NOT NULL,
    alias TEXT NOT NULL,
    generated_at BIGINT NOT NULL,
    firmware_version TEXT,
    state TEXT NOT NULL,
    PRIMARY KEY (app_id, thing_id, seq)
);

CREATE INDEX state_history_by_time ON state_history (app_id, thing_id, alias, generated_at, seq);
";

/// Buckets with objects, topics, and who is told of them. A scope is `app` or a principal.
const V7: &str = "
CREATE TABLE buckets (
    app_id TEXT NOT NULL,
    scope TEXT NOT NULL,
    bucket_id TEXT NOT NULL,
    owner TEXT NOT NULL,
    last_version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (app_id, scope, bucket_id)
);

CREATE TABLE objects (
    app_id TEXT NOT NULL,
    scope TEXT NOT NULL,
    bucket_id TEXT NOT NULL,
    object_id TEXT NOT NULL,
    seq BIGINT NOT NULL,
    version BIGINT NOT NULL,
    owner TEXT NOT NULL,
    data_type TEXT NOT NULL,
    fields TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    modified_at BIGINT NOT NULL,
    PRIMARY KEY (app_id, scope, bucket_id, object_id),
    UNIQUE (app_id, scope, bucket_id, seq)
);

CREATE TABLE topics (
    app_id TEXT NOT NULL,
    scope TEXT NOT NULL,
    topic_id TEXT NOT NULL,
    owner TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (app_id, scope, topic_id)
);

CREATE TABLE push_subscriptions (
    app_id TEXT NOT NULL,
    scope TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    subscriber TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (app_id, scope, kind, name, subscriber)
);

CREATE INDEX push_subscriptions_of_a_subscriber ON push_subscriptions (app_id, subscriber);
";

/// Triggers, and what became of their server codes.
const V8: &str = "
CREATE TABLE triggers (
    app_id TEXT NOT NULL,
    thing_id TEXT NOT NULL,
    seq BIGINT NOT NULL,
    trigger_id TEXT NOT NULL,
    owner TEXT NOT NULL,
    event_source TEXT NOT NULL,
    predicate TEXT NOT NULL,
    command TEXT,
    server_code TEXT,
    title TEXT,
    description TEXT,
    metadata TEXT,
    disabled BIGINT NOT NULL,
    disabled_reason TEXT,
    due_at BIGINT,
    counted_since BIGINT NOT NULL,
    counted BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    modified_at BIGINT NOT NULL,
    PRIMARY KEY (app_id, thing_id, seq),
    UNIQUE (app_id, thing_id, trigger_id)
);

CREATE INDEX triggers_due ON triggers (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE trigger_results (
    app_id TEXT NOT NULL,
    thing_id TEXT NOT NULL,
    trigger_id TEXT NOT NULL,
    seq BIGINT NOT NULL,
    result TEXT NOT NULL,
    PRIMARY KEY (app_id, thing_id, trigger_id, seq)
);
";

/// What health checks write to: one row.
const V9: &str = "
CREATE TABLE health_checks (
    id BIGINT NOT NULL,
    checks BIGINT NOT NULL,
    PRIMARY KEY (id)
);

INSERT INTO health_checks (id, checks) VALUES (1, 0);
";

/// Things that are disabled, and their tokens with them.
const V10: &str = "
ALTER TABLE things ADD COLUMN disabled BIGINT NOT NULL DEFAULT 0;
ALTER TABLE access_tokens ADD COLUMN disabled BIGINT NOT NULL DEFAULT 0;
";

/// Tokens of end nodes that were given for a gateway, which end when it is theirs no more.
const V11: &str = "
ALTER TABLE access_tokens ADD COLUMN gateway_id TEXT;

CREATE INDEX access_tokens_by_gateway ON access_tokens (app_id, gateway_id, principal) WHERE gateway_id IS NOT NULL;
";
