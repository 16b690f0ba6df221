-- A data directory of schema version 1 as its own program left it: a user, her thing, its state, and a command that is done.
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE schema_migrations (version BIGINT PRIMARY KEY, applied_at BIGINT NOT NULL);
INSERT INTO schema_migrations VALUES(1,1795249625167);
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
INSERT INTO users VALUES('c1k9abcdef12','0e0778ef26dd-b4e8-83c1-04b0-73e3dec9','ann',NULL,NULL,'{"loginName":"ann"}','$argon2id$v=19$m=19456,t=2,p=1$6bgwBEzq3i6nbScahXXuGQ$8Difo/P8yhEC621s5cg0r221ZTrd7scxtviTxi6hmMM',1795249627101,1795249627101);
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
INSERT INTO things VALUES('c1k9abcdef12','th.9381d8ab1a50-7a0c-7f66-7532-b14e3954','lamp-1','$argon2id$v=19$m=19456,t=2,p=1$TToua/030L+4XLynf9pBzQ$dgWsgc/lCDChsf1dVqAs41Ty/iK0lX8LMvxbpzTQ+pY','lamp',NULL,'STANDALONE',NULL,'{"color":"red"}',1795249627873,1795249627873);
CREATE TABLE thing_owners (
    app_id TEXT NOT NULL,
    thing_id TEXT NOT NULL,
    owner TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (app_id, thing_id, owner)
);
INSERT INTO thing_owners VALUES('c1k9abcdef12','th.9381d8ab1a50-7a0c-7f66-7532-b14e3954','user:0e0778ef26dd-b4e8-83c1-04b0-73e3dec9',1795249627873);
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
INSERT INTO access_tokens VALUES(X'8505849dc25dbecefef2601291d36183c509d0975048a34857461b50d26b2d3f','c1k9abcdef12','user:0e0778ef26dd-b4e8-83c1-04b0-73e3dec9',1,NULL,1795249627196);
INSERT INTO access_tokens VALUES(X'e59762efa223c1c16fabf8441b8f40a6c38558465a840db7c17d47179bee4da0','c1k9abcdef12','thing:th.9381d8ab1a50-7a0c-7f66-7532-b14e3954',1,NULL,1795249627873);
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
INSERT INTO installations VALUES('c1k9abcdef12','w4pqkvsvy9cy47p4id2o1xcnv','80e89f00-d185-4124-bbf5-fd5a70276adb','thing:th.9381d8ab1a50-7a0c-7f66-7532-b14e3954',1,'W6vB9SIHGbyKbY33YffDsyv','c1k9abcdef12-TEQF1GuG3Jiewec1Z5qLTyS',1,1795249627873);
CREATE TABLE thing_states (
    app_id TEXT NOT NULL,
    thing_id TEXT NOT NULL,
    state TEXT NOT NULL,
    modified_at BIGINT NOT NULL,
    PRIMARY KEY (app_id, thing_id)
);
INSERT INTO thing_states VALUES('c1k9abcdef12','th.9381d8ab1a50-7a0c-7f66-7532-b14e3954','{"power":true,"brightness":12.5}',1795249628480);
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
INSERT INTO commands VALUES('c1k9abcdef12','th.9381d8ab1a50-7a0c-7f66-7532-b14e3954',1,'57675191-e585-11f1-8ffc-75f9b42df6d8','DONE','user:0e0778ef26dd-b4e8-83c1-04b0-73e3dec9','[{"turnPower":{"power":true}}]','[{"turnPower":{"succeeded":true}}]','Lamp',1,'on',NULL,NULL,NULL,1795249628499,1795249628868);
CREATE INDEX commands_being_sent ON commands (command_id) WHERE command_state = 'SENDING';
COMMIT;
