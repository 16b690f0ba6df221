//! Users, and every way to a token.

use super::*;

const OAUTH: &str = "application/vnd.kii.OauthTokenRequest+json";
const FORM: &str = "application/x-www-form-urlencoded";
const UPDATE: &str = "application/vnd.kii.UserUpdateRequest+json";
const PASSWORD: &str = "application/vnd.kii.ChangePasswordRequest+json";
const REGISTRATION: &str = "application/vnd.kii.RegistrationRequest+json";
const ANN: &str = "GET /api/apps/{APP}/users/{ann}";
const ME: &str = "GET /api/apps/{APP}/users/me";
const TOKEN: &str = "POST /api/apps/{APP}/oauth2/token";
const WHOLE: &str = r#"{"userID":"{ann}","loginName":"ann","_hasPassword":true,"_disabled":false,"createdAt":1000000,"modifiedAt":1000000}"#;
const CHANGED: &str = r#"{"userID":"{ann}","loginName":"ann","displayName":"Ann","emailAddress":"ann@example.org","phoneNumber":"+819012345678","free":[1],"emailAddressVerified":true,"phoneNumberVerified":true,"_hasPassword":true,"_disabled":false,"createdAt":1000000,"modifiedAt":1000000}"#;
const RENAMED: &str = r#"{"userID":"{ann}","loginName":"anna","displayName":"Ann","emailAddress":"ann@example.org","phoneNumber":"+819012345678","free":[1],"emailAddressVerified":true,"phoneNumberVerified":true,"_hasPassword":true,"_disabled":false,"createdAt":1000000,"modifiedAt":1000000}"#;
const PUBLIC: &str = r#"{"userID":"{ann}","loginName":"ann","displayName":"Ann"}"#;
const FOR_EVER: &str = r#"{"id":"{ann}","access_token":"*","expires_in":2147483646,"token_type":"bearer"}"#;
const SOME_TOKEN: &str = r#"{"id":"*","access_token":"*","expires_in":2147483646,"token_type":"bearer"}"#;

#[rustfmt::skip]
pub(crate) const SIGN_UP: &[Case] = &[
    ("POST /api/apps/{APP}/users", "-", J, r#"{"loginName":"carl","password":"secret"}"#, 401, "UNAUTHORIZED"),
    ("POST /api/apps/{APP}/users", "$wrongkey", J, r#"{"loginName":"carl","password":"secret"}"#, 401, "UNAUTHORIZED"),
    ("POST /api/apps/{APP}/users", "$otherkey", J, r#"{"loginName":"carl","password":"secret"}"#, 401, "UNAUTHORIZED"),
    ("POST /api/apps/{APP}/users", "$key", J, "{", 400, "INVALID_JSON"),
    ("POST /api/apps/{APP}/users", "$key", J, r#"{"loginName":"carl"}"#, 400, "INVALID_INPUT_DATA"),
    ("POST /api/apps/{APP}/users", "$key", J, r#"{"loginName":"carl","password":"abc"}"#, 400, "PASSWORD_TOO_SHORT"),
    ("POST /api/apps/{APP}/users", "$key", J, r#"{"password":"secret"}"#, 400, "INVALID_INPUT_DATA"),
    ("POST /api/apps/{APP}/users", "$key", J, r#"{"loginName":"a b","password":"secret"}"#, 400, "INVALID_INPUT_DATA"),
    ("POST /api/apps/{APP}/users", "$key", J, r#"{"emailAddress":"nobody","password":"secret"}"#, 400, "INVALID_INPUT_DATA"),
    ("POST /api/apps/{APP}/users", "$key", J, r#"{"loginName":"ann","password":"secret"}"#, 409, "USER_ALREADY_EXISTS"),
    ("POST /api/apps/{APP}/users", "$key", J, r#"{"loginName":"carl","emailAddress":"c@example.org","password":"secret","followers":5}"#, 201, r#"{"userID":"*"}"#),
    ("POST /api/apps/{APP}/users", "$key", J, r#"{"emailAddress":"c@example.org","password":"secret"}"#, 409, "USER_ALREADY_EXISTS"),
    ("GET /api/apps/{APP}/users", "$key", "-", "", 405, "METHOD_NOT_ALLOWED"),
    ("POST /api/apps/nosuchapp/users", "-", J, "{}", 404, "APP_NOT_FOUND"),
    ("POST /api/apps/{APP}/oauth2/token", "$key", J, r#"{"username":"carl","password":"secret"}"#, 200, SOME_TOKEN),
    ("POST /api/apps/{APP}/oauth2/token?disable_cache=1", "-", J, r#"{"username":"carl","password":"secret"}"#, 200, SOME_TOKEN),
    ("POST /api/apps/{APP}/oauth2/token", "-", J, r#"{"username":"c@example.org","password":"secret"}"#, 200, SOME_TOKEN),
    ("POST /api/apps/{APP}/oauth2/token", "-", J, r#"{"username":"EMAIL:c@example.org","password":"secret"}"#, 200, SOME_TOKEN),
    ("POST /api/apps/{APP}/oauth2/token", "-", J, r#"{"username":"carl","password":"wrong"}"#, 400, "invalid_grant"),
    ("POST /api/apps/{APP}/oauth2/token", "-", J, r#"{"username":"nobody","password":"secret"}"#, 400, "invalid_grant"),
    ("POST /api/apps/{OTHER}/oauth2/token", "-", J, r#"{"username":"carl","password":"secret"}"#, 400, "invalid_grant"),
    ("POST /api/apps/{APP}/oauth2/token", "$wrongkey", J, r#"{"username":"carl","password":"secret"}"#, 401, "UNAUTHORIZED"),
    ("POST /api/apps/{APP}/oauth2/token", "-", J, r#"{"username":"VENDOR_THING_ID:lamp","password":"secret of lamp"}"#, 200, SOME_TOKEN),
    ("POST /api/apps/{APP}/oauth2/token", "-", J, r#"{"username":"VENDOR_THING_ID:lamp","password":"wrong"}"#, 400, "invalid_grant"),
    ("POST /api/apps/{APP}/oauth2/token", "-", J, r#"{"username":"THING_ID:{TH}","password":"secret of lamp","grant_type":"password"}"#, 200, SOME_TOKEN),
    ("POST /api/apps/{APP}/oauth2/token", "-", "application/x-www-form-urlencoded", "grant_type=password&username=VENDOR_THING_ID%3Alamp&password=secret+of+lamp", 200, SOME_TOKEN),
    ("POST /api/apps/{APP}/oauth2/token", "-", J, r#"{"password":"secret"}"#, 400, "INVALID_INPUT_DATA"),
    ("POST /api/apps/{APP}/oauth2/token", "-", J, r#"{"username":"carl"}"#, 400, "INVALID_INPUT_DATA"),
    ("POST /api/apps/{APP}/oauth2/token", "-", J, r#"{"grant_type":"wish","username":"carl","password":"secret"}"#, 400, "INVALID_INPUT_DATA"),
    ("POST /api/oauth2/token", "$key", J, r#"{"username":"carl","password":"secret"}"#, 200, SOME_TOKEN),
    ("POST /api/oauth2/token", "-", J, r#"{"username":"carl","password":"secret"}"#, 401, "UNAUTHORIZED"),
];

#[rustfmt::skip]
pub(crate) const USERS: &[Case] = &[
    // Tokens.
    (TOKEN, "-", OAUTH, r#"{"username":"ann","password":"secret of ann","grant_type":"password"}"#, 200, FOR_EVER),
    (TOKEN, "-", "application/VND.KII.oauthtokenrequest+json; charset=UTF-8", r#"{"username":"ann","password":"secret of ann"}"#, 200, FOR_EVER),
    (TOKEN, "basic-is-no-scheme", J, r#"{"username":"ann","password":"secret of ann"}"#, 401, "UNAUTHORIZED"),
    (TOKEN, "$wrongkey", J, r#"{"username":"ann","password":"secret of ann"}"#, 401, "UNAUTHORIZED"),
    (TOKEN, "$key", "-", r#"{"username":"ann","password":"secret of ann","grant_type":""}"#, 200, FOR_EVER),
    ("POST /api/apps/{APP}/oauth2/token?disable_cache=1700000000000&x", "-", J, r#"{"username":"ann","password":"secret of ann"}"#, 200, FOR_EVER),
    ("POST /api/oauth2/token?disable_cache=1700000000000", "$key", OAUTH, r#"{"username":"ann","password":"secret of ann"}"#, 200, FOR_EVER),
    ("POST /api/oauth2/token", "-", OAUTH, r#"{"username":"ann","password":"secret of ann"}"#, 401, "UNAUTHORIZED"),
    (TOKEN, "-", FORM, "grant_type=password&username=ann&password=secret%20of+ann", 200, FOR_EVER),
    (TOKEN, "-", FORM, "username=ann&password=wrong", 400, "invalid_grant"),
    (TOKEN, "-", FORM, "", 400, "INVALID_INPUT_DATA"),
    (TOKEN, "-", "text/plain", r#"{"username":"ann","password":"secret of ann"}"#, 400, "INVALID_INPUT_DATA"),
    (TOKEN, "-", J, "", 400, "INVALID_JSON"),
    (TOKEN, "-", J, "[]", 400, "INVALID_INPUT_DATA"),
    (TOKEN, "-", J, "{}", 400, "INVALID_INPUT_DATA"),
    (TOKEN, "-", J, r#"{"username":"ann"}"#, 400, "INVALID_INPUT_DATA"),
    (TOKEN, "-", J, r#"{"username":["ann"],"password":"p"}"#, 400, "INVALID_INPUT_DATA"),
    (TOKEN, "-", J, r#"{"username":"ann","password":"secret of ann","expiresAt":"soon"}"#, 400, "INVALID_INPUT_DATA"),
    (TOKEN, "-", J, r#"{"username":"ann","password":"secret of ann","expiresAt":1000000}"#, 400, "INVALID_INPUT_DATA"),
    (TOKEN, "-", J, r#"{"username":"ann","password":"secret of ann","expiresAt":-9223372036854775808}"#, 400, "INVALID_INPUT_DATA"),
    (TOKEN, "-", J, r#"{"username":"ann","password":"secret of ann","grant_type":"wish"}"#, 400, "INVALID_INPUT_DATA"),
    (TOKEN, "-", J, r#"{"grant_type":"authorization_code","code":"c"}"#, 501, "OPERATION_NOT_IMPLEMENTED"),
    (TOKEN, "-", J, r#"{"username":"ann","password":"secret of ann","expiresAt":1060000}"#, 200, r#"{"id":"{ann}","access_token":"*","expires_in":60,"token_type":"bearer","refresh_token":"*"}"#),
    (TOKEN, "-", J, r#"{"username":"VENDOR_THING_ID:lamp","password":"secret of lamp"}"#, 200, r#"{"id":"{TH}","access_token":"*","expires_in":2147483646,"token_type":"bearer"}"#),
    (TOKEN, "-", J, r#"{"username":"vendor_thing_id:lamp","password":"secret of lamp","grant_type":"password"}"#, 200, r#"{"id":"{TH}","access_token":"*","expires_in":2147483646,"token_type":"bearer"}"#),
    (TOKEN, "-", J, r#"{"username":"THING_ID:{TH}","password":"secret of lamp"}"#, 200, r#"{"id":"{TH}","access_token":"*","expires_in":2147483646,"token_type":"bearer"}"#),
    (TOKEN, "-", J, r#"{"username":"THING_ID:th.nosuch","password":"secret of lamp"}"#, 400, "invalid_grant"),
    (TOKEN, "-", J, r#"{"username":"VENDOR_THING_ID:","password":"secret of lamp"}"#, 400, "invalid_grant"),
    (TOKEN, "-", J, r#"{"grant_type":"client_credentials","client_id":"administrator","client_secret":"a secret of 32 random characters"}"#, 200, r#"{"id":"ADMIN","access_token":"*","expires_in":2147483646,"token_type":"bearer"}"#),
    (TOKEN, "-", J, r#"{"grant_type":"client_credentials","client_id":"administrator","client_secret":"a secret of 32 random characters","expiresAt":1060000}"#, 200, r#"{"id":"ADMIN","access_token":"*","expires_in":60,"token_type":"bearer"}"#),
    // One SDK leaves out what kind of grant it wants.
    (TOKEN, "-", J, r#"{"client_id":"administrator","client_secret":"a secret of 32 random characters"}"#, 200, r#"{"id":"ADMIN","access_token":"*","expires_in":2147483646,"token_type":"bearer"}"#),
    (TOKEN, "-", J, r#"{"client_id":"administrator","client_secret":"wrong"}"#, 400, "invalid_grant"),
    (TOKEN, "-", J, r#"{"grant_type":"client_credentials","client_id":"c1k9abcdef12","client_secret":"0123456789abcdef0123456789abcdef"}"#, 200, r#"{"id":"ANONYMOUS","access_token":"*","expires_in":2147483646,"token_type":"bearer"}"#),
    (TOKEN, "-", J, r#"{"grant_type":"client_credentials","client_id":"c1k9abcdef12","client_secret":"dummy"}"#, 400, "invalid_grant"),
    (TOKEN, "-", J, r#"{"grant_type":"refresh_token"}"#, 400, "INVALID_INPUT_DATA"),
    (TOKEN, "-", J, r#"{"grant_type":"refresh_token","refresh_token":"nonsense"}"#, 403, "WRONG_REFRESH_TOKEN"),
    ("GET /api/apps/{APP}/oauth2/token", "-", "-", "", 405, "METHOD_NOT_ALLOWED"),
    // Sign-up.
    ("POST /api/apps/{APP}/users", "$key", REGISTRATION, r#"{"loginName":"carl","password":"abc"}"#, 400, "PASSWORD_TOO_SHORT"),
    ("POST /api/apps/{APP}/users", "$key", REGISTRATION, r#"{"loginName":"carl","password":"abcd"}"#, 201, r#"{"userID":"*"}"#),
    // Reading.
    (ANN, "-", "-", "", 401, "UNAUTHORIZED"),
    (ANN, "$key", "-", "", 401, "UNAUTHORIZED"),
    (ANN, "Bearer nonsense", "-", "", 403, "WRONG_TOKEN"),
    (ANN, "Bearer $stranger", "-", "", 403, "WRONG_TOKEN"),
    (ANN, "Bearer $anybody", "-", "", 401, "UNAUTHORIZED"),
    (ANN, "Bearer $ann", "-", "", 200, WHOLE),
    (ME, "bearer $ann", "-", "", 200, WHOLE),
    ("GET /api/apps/{APP}/users/ME", "Bearer $ann", "-", "", 200, WHOLE),
    (ME, "Bearer $lamp", "-", "", 401, "UNAUTHORIZED"),
    (ME, "Bearer $admin", "-", "", 401, "UNAUTHORIZED"),
    (ANN, "Bearer $admin", "-", "", 200, WHOLE),
    (ANN, "Bearer $bob", "-", "", 200, r#"{"userID":"{ann}","loginName":"ann"}"#),
    ("GET /api/apps/{APP}/users/nobody", "Bearer $ann", "-", "", 404, "USER_NOT_FOUND"),
    ("GET /api/apps/{APP}/users/a%20b", "Bearer $ann", "-", "", 404, "USER_NOT_FOUND"),
    ("GET /api/apps/{APP}/users/LOGIN_NAME:ann", "Bearer $bob", "-", "", 200, r#"{"userID":"{ann}","loginName":"ann"}"#),
    ("GET /api/apps/{APP}/users/LOGIN_NAME:nobody", "Bearer $bob", "-", "", 404, "USER_NOT_FOUND"),
    ("GET /api/apps/{APP}/users/EMAIL:ann@example.org", "Bearer $bob", "-", "", 404, "USER_NOT_FOUND"),
    // Changing.
    ("PATCH /api/apps/{APP}/users/me", "-", UPDATE, "{}", 401, "UNAUTHORIZED"),
    ("PATCH /api/apps/{APP}/users/{ann}", "Bearer $bob", UPDATE, "{}", 401, "UNAUTHORIZED"),
    ("PATCH /api/apps/{APP}/users/me", "Bearer $ann", UPDATE, "", 400, "INVALID_JSON"),
    ("PATCH /api/apps/{APP}/users/me", "Bearer $ann", "text/plain", "{}", 400, "INVALID_INPUT_DATA"),
    ("PATCH /api/apps/{APP}/users/me", "Bearer $ann", UPDATE, r#"{"emailAddress":"nobody"}"#, 400, "INVALID_INPUT_DATA"),
    ("PATCH /api/apps/{APP}/users/me", "Bearer $ann", UPDATE, r#"{"loginName":null}"#, 400, "INVALID_INPUT_DATA"),
    ("PATCH /api/apps/{APP}/users/me", "Bearer $ann", UPDATE, r#"{"loginName":"bob"}"#, 409, "USER_ALREADY_EXISTS"),
    ("POST /api/apps/{APP}/users/{ann}", "Bearer $bob", UPDATE, "{}", 401, "UNAUTHORIZED"),
    ("PATCH /api/apps/{APP}/users/nobody", "Bearer $ann", UPDATE, "{}", 404, "USER_NOT_FOUND"),
    ("PATCH /api/apps/{APP}/users/me", "Bearer $ann", UPDATE, r#"{"displayName":"Ann","emailAddress":"ann@example.org","gone":1,"unnamed":2}"#, 200, r#"{"modifiedAt":1000000}"#),
    ("POST /api/apps/{APP}/users/{ann}", "Bearer $ann", UPDATE, r#"{"phoneNumber":"+819012345678","gone":null,"free":[1],"password":"x","userID":"x","_hasPassword":false,"createdAt":1,"modifiedAt":1,"emailAddressVerified":false}"#, 200, r#"{"modifiedAt":1000000}"#),
    (ANN, "Bearer $ann", "-", "", 200, CHANGED),
    (ANN, "Bearer $lamp", "-", "", 200, PUBLIC),
    ("GET /api/apps/{APP}/users/email:ann@example.org", "Bearer $bob", "-", "", 200, PUBLIC),
    ("GET /api/apps/{APP}/users/PHONE:%2B819012345678", "Bearer $bob", "-", "", 200, PUBLIC),
    (TOKEN, "-", J, r#"{"username":"EMAIL:ann@example.org","password":"secret of ann"}"#, 200, FOR_EVER),
    (TOKEN, "-", J, r#"{"username":"+819012345678","password":"secret of ann"}"#, 200, FOR_EVER),
    ("PATCH /api/apps/{APP}/users/{ann}", "Bearer $admin", UPDATE, r#"{"loginName":"anna"}"#, 200, r#"{"modifiedAt":1000000}"#),
    (ANN, "Bearer $ann", "-", "", 200, RENAMED),
    (TOKEN, "-", J, r#"{"username":"ann","password":"secret of ann"}"#, 400, "invalid_grant"),
    (TOKEN, "-", J, r#"{"username":"anna","password":"secret of ann"}"#, 200, FOR_EVER),
    // Passwords.
    ("PUT /api/apps/{APP}/users/me/password", "-", PASSWORD, r#"{"oldPassword":"secret of ann","newPassword":"another"}"#, 401, "UNAUTHORIZED"),
    ("PUT /api/apps/{APP}/users/{ann}/password", "Bearer $bob", PASSWORD, r#"{"oldPassword":"secret of ann","newPassword":"another"}"#, 401, "UNAUTHORIZED"),
    ("PUT /api/apps/{APP}/users/me/password", "Bearer $ann", PASSWORD, r#"{"oldPassword":"wrong","newPassword":"another"}"#, 401, "WRONG_PASSWORD"),
    ("PUT /api/apps/{APP}/users/me/password", "Bearer $ann", PASSWORD, r#"{"newPassword":"another"}"#, 401, "WRONG_PASSWORD"),
    ("PUT /api/apps/{APP}/users/me/password", "Bearer $ann", PASSWORD, r#"{"oldPassword":"secret of ann"}"#, 400, "INVALID_INPUT_DATA"),
    ("PUT /api/apps/{APP}/users/me/password", "Bearer $ann", PASSWORD, r#"{"oldPassword":"secret of ann","newPassword":"abc"}"#, 400, "PASSWORD_TOO_SHORT"),
    ("PUT /api/apps/{APP}/users/nobody/password", "Bearer $admin", PASSWORD, r#"{"newPassword":"another"}"#, 404, "USER_NOT_FOUND"),
    ("PUT /api/apps/{APP}/users/me/password", "Bearer $ann", PASSWORD, r#"{"oldPassword":"secret of ann","newPassword":"another"}"#, 204, ""),
    (ME, "Bearer $ann", "-", "", 403, "WRONG_TOKEN"),
    (TOKEN, "-", J, r#"{"username":"anna","password":"secret of ann"}"#, 400, "invalid_grant"),
    (TOKEN, "-", J, r#"{"username":"anna","password":"another"}"#, 200, FOR_EVER),
    ("PUT /api/apps/{APP}/users/{ann}/password", "Bearer $admin", PASSWORD, r#"{"newPassword":"a third"}"#, 204, ""),
    (TOKEN, "-", J, r#"{"username":"anna","password":"a third"}"#, 200, FOR_EVER),
    // The end.
    ("DELETE /api/apps/{APP}/users/{bob}", "-", "-", "", 401, "UNAUTHORIZED"),
    ("DELETE /api/apps/{APP}/users/{bob}", "Bearer $lamp", "-", "", 401, "UNAUTHORIZED"),
    ("DELETE /api/apps/{APP}/users/nobody", "Bearer $bob", "-", "", 404, "USER_NOT_FOUND"),
    ("DELETE /api/apps/{APP}/users/me", "Bearer $bob", "-", "", 204, ""),
    ("DELETE /api/apps/{APP}/users/{bob}", "Bearer $bob", "-", "", 403, "WRONG_TOKEN"),
    ("GET /api/apps/{APP}/users/{bob}", "Bearer $admin", "-", "", 404, "USER_NOT_FOUND"),
    (TOKEN, "-", J, r#"{"username":"bob","password":"secret of bob"}"#, 400, "invalid_grant"),
];
