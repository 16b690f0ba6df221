"""Answers requests behind an ordinary broker: what a service does that is a client of that broker itself.

    responder.py HOST PORT

It subscribes to p/#, so it hears the requests of every client and its own answers; a first line with a status is not for
it. An onboarding is answered with this very broker as the assigned one; any other request with its own verb, path and body;
DELETE pushes its body to the thing's own topic before it is answered. Prints "ready" when it listens.
"""

import json
import sys

import paho.mqtt.client as mqtt

host, port = sys.argv[1], int(sys.argv[2])


def parse(payload):
    head, _, body = payload.decode().partition("\r\n\r\n")
    verb, *lines = head.split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return verb, headers, body


def on_message(client, _userdata, message):
    if message.payload[:1].isdigit():
        return
    verb, headers, body = parse(message.payload)
    _, client_id, path = message.topic.split("/", 2)
    if path.endswith("/onboardings"):
        answer = {
            "accessToken": "token-of-the-responder",
            "thingID": "th.0123456789ab-cdef",
            "mqttEndpoint": {
                "installationID": "installation",
                "username": "user",
                "password": "password",
                "mqttTopic": "device00000000000000001",
                "host": host,
                "portTCP": port,
                "ttl": 2147483647,
            },
        }
    else:
        answer = {"verb": verb, "path": path, "body": body, "authorization": headers.get("authorization")}
    if verb == "DELETE":
        client.publish(client_id, body)
    head = "200\r\nContent-Type:application/json\r\n"
    if "x-kii-requestid" in headers:
        head += f"X-Kii-RequestID:{headers['x-kii-requestid']}\r\n"
    client.publish(message.topic, f"{head}\r\n{json.dumps(answer)}")


# Since 2.0 the library wants to know for which of its versions the callbacks were written.
STYLE = {"callback_api_version": mqtt.CallbackAPIVersion.VERSION1} if hasattr(mqtt, "CallbackAPIVersion") else {}
client = mqtt.Client(**STYLE, client_id="responder", clean_session=True)
client.on_message = on_message
client.on_connect = lambda client, *_: client.subscribe("p/#")
client.on_subscribe = lambda *_: print("ready", flush=True)
client.connect(host, port)
client.loop_forever()
