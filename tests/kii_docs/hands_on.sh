# The hands-on with curl and mosquitto_sub: its commands in their order, with host, ids and tokens replaced, and its two typing
# errors corrected: the key where the application's id belongs, and a `things/` that is missing.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
onboard_thing hands-on
ACCESS_TOKEN=$THING_TOKEN

# 1. Installing the thing
expect 201 curl -v -X POST \
-H "Authorization: Bearer $ACCESS_TOKEN" \
-H "X-Kii-AppID: $APP_ID" \
-H "X-Kii-AppKey: $APP_KEY" \
-H "Content-Type: application/vnd.kii.InstallationCreationRequest+json" \
"$SITE/api/apps/$APP_ID/installations" \
-d '{
"deviceType": "MQTT",
"development": true
}'
INSTALLATION_ID=$(field installationID)

expect 200 curl -v -X GET \
-H "Authorization: Bearer $ACCESS_TOKEN" \
-H "X-Kii-AppID: $APP_ID" \
-H "X-Kii-AppKey: $APP_KEY" \
"$SITE/api/apps/$APP_ID/installations/$INSTALLATION_ID"
body_has "\"installationID\" : \"$INSTALLATION_ID\"" '"development" : true' "\"thingID\" : \"$THING_ID\""

# 2. Subscribing to the bucket
expect 204 curl -v -X PUT \
-H "Authorization: Bearer $ACCESS_TOKEN" \
-H "X-Kii-AppID: $APP_ID" \
-H "X-Kii-AppKey: $APP_KEY" \
"$SITE/api/apps/$APP_ID/things/$THING_ID/buckets/test/filters/all/push/subscriptions/things/$THING_ID" \
-d ""

expect 204 curl -v -X GET \
-H "Authorization: Bearer $ACCESS_TOKEN" \
-H "X-Kii-AppID: $APP_ID" \
-H "X-Kii-AppKey: $APP_KEY" \
"$SITE/api/apps/$APP_ID/things/$THING_ID/buckets/test/filters/all/push/subscriptions/things/$THING_ID"

# 3. Getting the endpoint: 503 at first, and tried again
expect 503 curl -v -X GET \
-H "Authorization: Bearer $ACCESS_TOKEN" \
-H "X-Kii-AppID: $APP_ID" \
-H "X-Kii-AppKey: $APP_KEY" \
"$SITE/api/apps/$APP_ID/installations/$INSTALLATION_ID/mqtt-endpoint"
until_ready curl -v -X GET \
-H "Authorization: Bearer $ACCESS_TOKEN" \
-H "X-Kii-AppID: $APP_ID" \
-H "X-Kii-AppKey: $APP_KEY" \
"$SITE/api/apps/$APP_ID/installations/$INSTALLATION_ID/mqtt-endpoint"
endpoint_fields

# 4. Subscribing by MQTT
stdbuf -oL \
mosquitto_sub -d -h "$BROKER_HOST" -u "$USERNAME" -t "$MQTT_TOPIC" -P "$PASSWORD" -i "$MQTT_TOPIC" \
  >"$WORK/subscriber" 2>&1 &
subscribed

# 5. Receiving a push
expect 201 curl -v -X POST \
-H "Authorization: Bearer $ACCESS_TOKEN" \
-H "X-Kii-AppID: $APP_ID" \
-H "X-Kii-AppKey: $APP_KEY" \
-H "Content-Type: application/vnd.$APP_ID.mydata+json" \
"$SITE/api/apps/$APP_ID/things/$THING_ID/buckets/test/objects" \
-d '{"score": "1800", "name": "game1"}'
body_has "\"dataType\" : \"application/vnd.$APP_ID.mydata+json\""
OBJECT_ID=$(field objectID)
wait_for '"type":"DATA_OBJECT_CREATED"'
for PART in '"origin":"EVENT"' '"bucketID":"test"' "\"objectID\":\"$OBJECT_ID\"" "\"sender\":\"$THING_ID\"" \
    '"objectScopeType":"APP_AND_THING"' "\"objectScopeThingID\":\"$THING_ID\"" "\"appID\":\"$APP_ID\""; do
  wait_for "$PART"
done
