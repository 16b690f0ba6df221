"""A web page's MQTT library: over WebSocket and TLS, at the path and with the sub-protocol that Paho and MQTT.js use.

    web_page.py CA HOST PORT_WSS USERNAME PASSWORD MQTT_TOPIC

Prints what happens, a line each, until its connection ends; it does not come back.
"""

import sys

import paho.mqtt.client as mqtt

ca, host, port, username, password, topic = sys.argv[1:]
# Since 2.0 the library wants to know for which of its versions the callbacks were written.
STYLE = {"callback_api_version": mqtt.CallbackAPIVersion.VERSION1} if hasattr(mqtt, "CallbackAPIVersion") else {}
client = mqtt.Client(**STYLE, client_id=topic, clean_session=True, transport="websockets")
client.ws_set_options(path="/mqtt")
client.tls_set(ca_certs=ca)
client.username_pw_set(username, password)


def say(text):
    print(text, flush=True)


def on_connect(_client, _userdata, _flags, code):
    say(f"CONNACK {code}")
    client.subscribe(topic, 0)


def on_disconnect(_client, _userdata, _code):
    say("Disconnected")
    sys.exit(0)


client.on_connect = on_connect
client.on_subscribe = lambda _client, _userdata, mid, granted: say(f"Subscribed (mid: {mid}): {granted[0]}")
client.on_message = lambda _client, _userdata, message: say(message.payload.decode())
client.on_disconnect = on_disconnect
client.connect(host, int(port), keepalive=60)
client.loop_forever()
