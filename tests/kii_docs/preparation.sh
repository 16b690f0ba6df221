# "Preparation", the push notifications of things by REST: every command of the document, with host, ids and tokens replaced.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
onboard_thing preparation
admin_token
# Onboarding has made one already.
expect 200 curl -v -X GET -H "Authorization: Bearer $THING_TOKEN" "$SITE/api/apps/$APP_ID/installations"
FIRST_ID=$(sed -n 's/.*"installationID" : "\([^"]*\)".*/\1/p' "$BODY")

# Installing a thing: with the thing's access token,
ACCESS_TOKEN=$THING_TOKEN
expect 201 curl -v -X POST \
  -H "Authorization: Bearer $ACCESS_TOKEN" \
  -H "Content-Type: application/vnd.kii.InstallationCreationRequest+json" \
  "$SITE/api/apps/$APP_ID/installations" \
  -d '{
        "deviceType": "MQTT",
        "development": true
      }'
header Content-Type 'application/vnd.kii.InstallationCreationResponse+json'
INSTALLATION_ID=$(field installationID) INSTALLATION_REGISTRATION_ID=$(field installationRegistrationID)
header Location ".*/apps/$APP_ID/installations/$INSTALLATION_ID"

# Its endpoint is being prepared.
expect 503 curl -v -X GET \
  -H "Authorization: Bearer $ACCESS_TOKEN" \
  "$SITE/api/apps/$APP_ID/installations/$INSTALLATION_ID/mqtt-endpoint"
header Content-Type 'application/vnd.kii.MQTTEndpointNotReadyException+json'
header Retry-After 10
body_has '"errorCode" : "MQTT_ENDPOINT_NOT_READY"' \
    "\"message\" : \"MQTT endpoint for  $INSTALLATION_ID is not ready. Please try again later.\"" \
    "\"installationID\" : \"$INSTALLATION_ID\"" "\"appID\" : \"$APP_ID\""

# and with the app admin token.
ACCESS_TOKEN=$ADMIN_TOKEN
expect 201 curl -v -X POST \
  -H "Authorization: Bearer $ACCESS_TOKEN" \
  -H "Content-Type: application/vnd.kii.InstallationCreationRequest+json" \
  "$SITE/api/apps/$APP_ID/installations" \
  -d '{
        "thingID": "'"$THING_ID"'",
        "deviceType": "MQTT",
        "development": true
      }'
SECOND_ID=$(field installationID) SECOND_REGISTRATION_ID=$(field installationRegistrationID)

# Getting an installation
for ACCESS_TOKEN in "$THING_TOKEN" "$ADMIN_TOKEN"; do
  expect 200 curl -v -X GET \
    -H "Authorization: Bearer $ACCESS_TOKEN" \
    "$SITE/api/apps/$APP_ID/installations/$INSTALLATION_ID"
  header Content-Type 'application/vnd.kii.InstallationRetrievalResponse+json'
  body_has "\"installationID\" : \"$INSTALLATION_ID\"" \
      "\"installationRegistrationID\" : \"$INSTALLATION_REGISTRATION_ID\"" \
      '"development" : true' "\"thingID\" : \"$THING_ID\"" '"deviceType" : "MQTT"'
done

# Getting a list of installations
expect 200 curl -v -X GET \
  -H "Authorization: Bearer $ACCESS_TOKEN" \
  "$SITE/api/apps/$APP_ID/installations?thingID=$THING_ID"
header Content-Type 'application/vnd.kii.InstallationsRetrievalResponse+json'
body_has "$FIRST_ID" "$INSTALLATION_ID" "$INSTALLATION_REGISTRATION_ID" "$SECOND_ID" "$SECOND_REGISTRATION_ID"

# Retrieving an MQTT endpoint
ACCESS_TOKEN=$THING_TOKEN
until_ready curl -v -X GET \
  -H "Authorization: Bearer $ACCESS_TOKEN" \
  "$SITE/api/apps/$APP_ID/installations/$INSTALLATION_ID/mqtt-endpoint"
header Content-Type 'application/vnd.kii.MQTTEndpointResponse+json'
header X-MQTT-TTL 2147483647
for NAME in portTCP portSSL portWS portWSS X-MQTT-TTL; do
  [ "$(field "$NAME")" -gt 0 ] || fail "no $NAME"
done
endpoint_fields

# Establishing an MQTT connection
stdbuf -oL mosquitto_sub -d -h "$BROKER_HOST" -u "$USERNAME" -P "$PASSWORD" -i "$MQTT_TOPIC" -t "$MQTT_TOPIC" \
  >"$WORK/subscriber" 2>&1 &
subscribed

# Deleting an installation
expect 204 curl -v -X DELETE \
  -H "Authorization: Bearer $ACCESS_TOKEN" \
  "$SITE/api/apps/$APP_ID/installations/$INSTALLATION_ID"
ACCESS_TOKEN=$ADMIN_TOKEN
expect 204 curl -v -X DELETE \
  -H "Authorization: Bearer $ACCESS_TOKEN" \
  "$SITE/api/apps/$APP_ID/installations/MQTT:$SECOND_REGISTRATION_ID"
expect 200 curl -v -X GET \
  -H "Authorization: Bearer $ACCESS_TOKEN" \
  "$SITE/api/apps/$APP_ID/installations?thingID=$THING_ID"
body_has "$FIRST_ID"
! grep -q "$INSTALLATION_ID\|$SECOND_ID" "$BODY" || fail "they are still listed"
expect 404 curl -v -X GET \
  -H "Authorization: Bearer $ACCESS_TOKEN" \
  "$SITE/api/apps/$APP_ID/installations/$INSTALLATION_ID/mqtt-endpoint"
body_has '"errorCode" : "MQTT_ENDPOINT_NOT_FOUND"'
# The connection ends, and mosquitto_sub, which tries again, is refused.
wait_for "Connection Refused: bad user name or password"
