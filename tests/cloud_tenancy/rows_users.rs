//! Users.

use super::{BY_TOKEN, Rightful, Row, UNAUTHORIZED, WRONG_TOKEN};

const USER: &str = "/api/apps/{app}/users/{user}";
const PASSWORD: &str = "/api/apps/{app}/users/{user}/password";

/// Others in the application see by what name a user is known.
const BY_MEMBERS: [&str; 12] = [
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
    "200",        // Neighbour
    "200",        // NeighbourThing
];

/// After everything else: each ends what the rows before need.
pub(super) const ROWS: &[Row] = &[
    Row {
        method: "GET",
        route: USER,
        path: "/api/apps/{app}/users/{owner}",
        media_type: "",
        body: "",
        rightful: (Rightful::Owner, 200),
        strangers: BY_MEMBERS,
        elsewhere: "404 USER_NOT_FOUND",
    },
    Row {
        method: "PATCH",
        route: USER,
        path: "/api/apps/{app}/users/{owner}",
        media_type: "application/vnd.kii.UserUpdateRequest+json",
        body: r#"{"displayName":"Ann"}"#,
        rightful: (Rightful::Owner, 200),
        strangers: BY_TOKEN,
        elsewhere: "404 USER_NOT_FOUND",
    },
    Row {
        method: "POST",
        route: USER,
        path: "/api/apps/{app}/users/{owner}",
        media_type: "application/vnd.kii.UserUpdateRequest+json",
        body: r#"{"country":"JP"}"#,
        rightful: (Rightful::Owner, 200),
        strangers: BY_TOKEN,
        elsewhere: "404 USER_NOT_FOUND",
    },
    Row {
        method: "PUT",
        route: PASSWORD,
        path: "/api/apps/{app}/users/{owner}/password",
        media_type: "application/vnd.kii.ChangePasswordRequest+json",
        body: r#"{"oldPassword":"{user_password}","newPassword":"another one"}"#,
        rightful: (Rightful::Owner, 204),
        strangers: BY_TOKEN,
        elsewhere: "404 USER_NOT_FOUND",
    },
    Row {
        method: "DELETE",
        route: USER,
        path: "/api/apps/{app}/users/{owner}",
        media_type: "",
        body: "",
        rightful: (Rightful::Admin, 204),
        strangers: BY_TOKEN,
        elsewhere: "404 USER_NOT_FOUND",
    },
];
