//! Pushes about buckets: an object was made, changed or deleted. (`wire` §6)

use serde::{Deserialize, Serialize};

use super::open_text;

open_text! {
    /// `type` of a bucket event.
    BucketEventType {
        ObjectCreated = "DATA_OBJECT_CREATED",
        ObjectDeleted = "DATA_OBJECT_DELETED",
        ObjectUpdated = "DATA_OBJECT_UPDATED",
        ObjectBodyUpdated = "DATA_OBJECT_BODY_UPDATED",
        ObjectBodyDeleted = "DATA_OBJECT_BODY_DELETED",
        ObjectAclModified = "DATA_OBJECT_ACL_MODIFIED",
        BucketDeleted = "BUCKET_DELETED",
    }
}

/// A push about a bucket. Any field may be absent: the service leaves some out by scope and by the sender's choice.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BucketEvent {
    /// The application.
    #[serde(rename = "appID", skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
    /// User or thing whose write caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// When, in milliseconds since 1970, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<i64>,
    /// `EVENT`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// What happened.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<BucketEventType>,
    /// Application of the bucket.
    #[serde(rename = "objectScopeAppID", skip_serializing_if = "Option::is_none")]
    pub object_scope_app_id: Option<String>,
    /// User of the bucket, in user scope.
    #[serde(rename = "objectScopeUserID", skip_serializing_if = "Option::is_none")]
    pub object_scope_user_id: Option<String>,
    /// Group of the bucket, in group scope.
    #[serde(rename = "objectScopeGroupID", skip_serializing_if = "Option::is_none")]
    pub object_scope_group_id: Option<String>,
    /// Thing of the bucket, in thing scope; inferred from the others, in no document.
    #[serde(rename = "objectScopeThingID", skip_serializing_if = "Option::is_none")]
    pub object_scope_thing_id: Option<String>,
    /// `APP`, `APP_AND_USER`, `APP_AND_GROUP`, `APP_AND_THING`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_scope_type: Option<String>,
    /// The bucket.
    #[serde(rename = "bucketID", skip_serializing_if = "Option::is_none")]
    pub bucket_id: Option<String>,
    /// Kind of the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket_type: Option<String>,
    /// The object.
    #[serde(rename = "objectID", skip_serializing_if = "Option::is_none")]
    pub object_id: Option<String>,
    /// When the object was last changed, in milliseconds since 1970, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modified_at: Option<i64>,
    /// Where the object can be read; one reader uses it.
    #[serde(rename = "sourceURI", skip_serializing_if = "Option::is_none")]
    pub source_uri: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_documented_fields_survive_the_wire() {
        let given = json!({ "appID": "a1", "sender": "u1", "when": 1, "origin": "EVENT", "type": "DATA_OBJECT_CREATED",
            "objectScopeAppID": "a1", "objectScopeUserID": "u1", "objectScopeType": "APP_AND_USER",
            "bucketID": "b", "bucketType": "rw", "objectID": "o", "modifiedAt": 2 });
        let event: BucketEvent = serde_json::from_value(given.clone()).expect("valid");
        assert_eq!(event.event_type, Some(BucketEventType::ObjectCreated));
        assert_eq!(serde_json::to_value(&event).expect("plain"), given);
    }
}
