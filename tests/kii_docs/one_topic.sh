# "Using Push Notification via MQTT": events of buckets and messages of topics, of several of each, arrive on the one MQTT
# topic of their subscriber, at QoS 0, with their source in the payload.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
admin_token

# 1. Get connection information: here from onboarding
onboard_thing one-topic
OUT=$(sed -n '/"mqttEndpoint"/,/}/s/^  //p' "$BODY")
printf '%s\n' "$OUT" >"$BODY"
endpoint_fields

# 2., 3. Connect, subscribe to the MQTT topic, and wait
stdbuf -oL mosquitto_sub -d -h "$BROKER_HOST" -u "$USERNAME" -P "$PASSWORD" -i "$MQTT_TOPIC" -t "$MQTT_TOPIC" -F '%t %q %r %p' \
  >"$WORK/subscriber" 2>&1 &
subscribed

# Subscribe to buckets and topics of Kii Cloud
for BUCKET in buckets/shared "things/$THING_ID/buckets/own"; do
  expect 204 curl -v -X POST -H "Authorization: Bearer $THING_TOKEN" \
    "$SITE/api/apps/$APP_ID/$BUCKET/filters/all/push/subscriptions/things"
done
expect 204 curl -v -X PUT -H "Authorization: Bearer $ADMIN_TOKEN" "$SITE/api/apps/$APP_ID/topics/news"
expect 204 curl -v -X PUT -H "Authorization: Bearer $THING_TOKEN" "$SITE/api/apps/$APP_ID/things/$THING_ID/topics/alarms"
for TOPIC in topics/news "things/$THING_ID/topics/alarms"; do
  expect 204 curl -v -X PUT -H "Authorization: Bearer $THING_TOKEN" \
    "$SITE/api/apps/$APP_ID/$TOPIC/push/subscriptions/things/$THING_ID"
done

# A subscribed bucket is updated, a message arrives to a subscribed topic
log_in one-topic
expect 201 curl -v -X POST -H "Authorization: Bearer $USER_TOKEN" -H "Content-Type: application/json" \
  "$SITE/api/apps/$APP_ID/buckets/shared/objects" -d '{"score": 1}'
OBJECT_ID=$(field objectID)
wait_for "$MQTT_TOPIC 0 0 {"
wait_for "\"bucketID\":\"shared\",\"bucketType\":\"rw\",\"objectID\":\"$OBJECT_ID\""
expect 200 curl -v -X PATCH -H "Authorization: Bearer $USER_TOKEN" -H "Content-Type: application/json" \
  "$SITE/api/apps/$APP_ID/buckets/shared/objects/$OBJECT_ID" -d '{"score": 2}'
wait_for '"type":"DATA_OBJECT_UPDATED"'
expect 201 curl -v -X PUT -H "Authorization: Bearer $THING_TOKEN" -H "Content-Type: application/json" \
  "$SITE/api/apps/$APP_ID/things/$THING_ID/buckets/own/objects/first" -d '{}'
wait_for '"objectID":"first"'
expect 200 curl -v -X POST -H "Authorization: Bearer $ADMIN_TOKEN" \
  -H "Content-Type: application/vnd.kii.SendPushMessageRequest+json" \
  "$SITE/api/apps/$APP_ID/topics/news/push/messages" -d '{"data": {"headline": "hello"}, "mqtt": {"enabled": true}}'
wait_for '"headline":"hello","objectScopeAppID":'
wait_for '"topic":"news"'
expect 200 curl -v -X POST -H "Authorization: Bearer $THING_TOKEN" \
  -H "Content-Type: application/vnd.kii.SendPushMessageRequest+json" \
  "$SITE/api/apps/$APP_ID/things/$THING_ID/topics/alarms/push/messages" \
  -d '{"data": {"level": 3}, "mqtt": {"enabled": true}, "sendWhen": true, "sendOrigin": true}'
wait_for '"topic":"alarms"'
wait_for '"origin":"EXPLICIT"'
expect 204 curl -v -X DELETE -H "Authorization: Bearer $ADMIN_TOKEN" "$SITE/api/apps/$APP_ID/buckets/shared"
wait_for '"type":"BUCKET_DELETED"'
# Every one of them on the one topic, at QoS 0, not retained.
[ "$(grep -c "^$MQTT_TOPIC 0 0 {" "$WORK/subscriber")" = 6 ] || fail "not six pushes"
