# "Enabling the Kii Push Notification Feature (MQTT)" for JavaScript: what the SDK sends for a web app, preflights included,
# and what its page may read. The service prepares endpoints for as long as it does by default.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
ORIGIN=https://app.example
log_in web-app

# preflight METHOD PATH HEADERS: what a browser asks before a request with these headers.
preflight() {
  expect 200 curl -v -X OPTIONS \
    -H "Origin: $ORIGIN" \
    -H "Access-Control-Request-Method: $1" \
    -H "Access-Control-Request-Headers: $3" \
    "$SITE$2"
  header Access-Control-Allow-Origin '\*'
  header Access-Control-Allow-Methods ".*$1.*"
  for NAME in ${3//,/ }; do
    header Access-Control-Allow-Headers ".*$NAME.*"
  done
}

# KiiUser.getCurrentUser().pushInstallation().installMqtt(development)
preflight POST "/api/apps/$APP_ID/installations" authorization,content-type,x-kii-appid,x-kii-appkey,x-kii-sdk
expect 201 curl -v -X POST \
  -H "Origin: $ORIGIN" \
  -H "Authorization: Bearer $USER_TOKEN" \
  -H "X-Kii-AppID: $APP_ID" \
  -H "X-Kii-AppKey: $APP_KEY" \
  -H "x-kii-sdk: sn=js" \
  -H "Content-Type: application/vnd.kii.InstallationCreationRequest+json" \
  "$SITE/api/apps/$APP_ID/installations" \
  -d '{"deviceType": "MQTT", "development": false}'
header Access-Control-Allow-Origin '\*'
INSTALLATION_ID=$(field installationID) INSTALLATION_REGISTRATION_ID=$(field installationRegistrationID)

# pushInstallation().getMqttEndpoint(installationID): three tries, a second apart
preflight GET "/api/apps/$APP_ID/installations/$INSTALLATION_ID/mqtt-endpoint" authorization,x-kii-appid,x-kii-appkey
for TRY in 1 2 3; do
  curl -v -X GET \
    -H "Origin: $ORIGIN" \
    -H "Authorization: Bearer $USER_TOKEN" \
    -H "X-Kii-AppID: $APP_ID" \
    -H "X-Kii-AppKey: $APP_KEY" \
    "$SITE/api/apps/$APP_ID/installations/$INSTALLATION_ID/mqtt-endpoint" >"$BODY" 2>"$HEAD" || fail "curl ended with $?"
  [ "$(status)" = 503 ] || break
  sleep 1
done
[ "$(status)" = 200 ] || fail "the SDK gives up after try $TRY"
header Access-Control-Allow-Origin '\*'
header Access-Control-Expose-Headers '.*x-mqtt-ttl.*'
# The SDK takes the body for percent-encoded.
! grep -q % "$BODY" || fail "a percent sign in the endpoint"
PORT_WSS=$(field portWSS)
endpoint_fields
WEB_INSTALLATION_ID=$INSTALLATION_ID

# Establish an MQTT connection over WebSocket, at portWSS; a message to the user arrives.
LOG=$WORK/page
"$PYTHON" "$(dirname "${BASH_SOURCE[0]}")/web_page.py" "$CURL_CA_BUNDLE" "$BROKER_HOST" "$PORT_WSS" "$USERNAME" "$PASSWORD" \
  "$MQTT_TOPIC" >"$LOG" 2>&1 &
subscribed
expect 200 curl -v -X POST \
  -H "Authorization: Bearer $USER_TOKEN" \
  -H "Content-Type: application/vnd.kii.SendPushMessageRequest+json" \
  "$SITE/api/apps/$APP_ID/users/me/push/messages" \
  -d '{"data": {"text": "to the page"}, "mqtt": {"enabled": true}}'
wait_for '"text":"to the page"'

# "Kii Cloud only supports one MQTT connection per user": the second one ends the first.
PAGE=$SUBSCRIBER
LOG=$WORK/subscriber
stdbuf -oL mosquitto_sub -d -h "$BROKER_HOST" -u "$USERNAME" -P "$PASSWORD" -i "$MQTT_TOPIC" -t "$MQTT_TOPIC" \
  >"$WORK/subscriber" 2>&1 &
subscribed
wait "$PAGE" || fail "the page ended with $?"
grep -qx Disconnected "$WORK/page" || fail "the page was not told"
expect 200 curl -v -X POST \
  -H "Authorization: Bearer $USER_TOKEN" \
  -H "Content-Type: application/vnd.kii.SendPushMessageRequest+json" \
  "$SITE/api/apps/$APP_ID/users/me/push/messages" \
  -d '{"data": {"text": "to myself"}, "mqtt": {"enabled": true}}'
wait_for '"text":"to myself"'

# pushInstallation().uninstallByInstallationID(installationID)
preflight DELETE "/api/apps/$APP_ID/installations/$WEB_INSTALLATION_ID" authorization,x-kii-appid,x-kii-appkey
expect 204 curl -v -X DELETE \
  -H "Origin: $ORIGIN" \
  -H "Authorization: Bearer $USER_TOKEN" \
  "$SITE/api/apps/$APP_ID/installations/$WEB_INSTALLATION_ID"
header Access-Control-Allow-Origin '\*'
wait_for "Connection Refused: bad user name or password"

# pushInstallation().uninstall(installationRegistrationID, deviceType)
expect 404 curl -v -X DELETE \
  -H "Authorization: Bearer $USER_TOKEN" \
  "$SITE/api/apps/$APP_ID/installations/MQTT:$INSTALLATION_REGISTRATION_ID"
expect 201 curl -v -X POST \
  -H "Authorization: Bearer $USER_TOKEN" \
  -H "Content-Type: application/vnd.kii.InstallationCreationRequest+json" \
  "$SITE/api/apps/$APP_ID/installations" \
  -d '{"deviceType": "MQTT", "development": false}'
INSTALLATION_REGISTRATION_ID=$(field installationRegistrationID)
expect 204 curl -v -X DELETE \
  -H "Authorization: Bearer $USER_TOKEN" \
  "$SITE/api/apps/$APP_ID/installations/MQTT:$INSTALLATION_REGISTRATION_ID"
