"""Onboards with Python's paho, which nobody here wrote, as a client that never subscribes.

    onboard.py HOST PORT APP KEY VENDOR_THING_ID PASSWORD v31|v311 crlf|lf QOS [CLIENTS]

Prints one JSON object a client: {"vendorThingID", "topic", "payload", "acknowledged"}.
"""

import json
import sys
import threading

import paho.mqtt.client as mqtt

host, port, app, key, vendor, password, version, line_end, qos = sys.argv[1:10]
clients = int(sys.argv[10]) if len(sys.argv) > 10 else 1
# Since 2.0 the library wants to know for which of its versions the callbacks were written.
STYLE = {"callback_api_version": mqtt.CallbackAPIVersion.VERSION1} if hasattr(mqtt, "CallbackAPIVersion") else {}
end = {"crlf": "\r\n", "lf": "\n"}[line_end]
topic = f"p/anonymous/thing-if/apps/{app}/onboardings"
# All are connected before the first one asks, so that they are there side by side.
everybody = threading.Barrier(clients, timeout=60)
output = threading.Lock()
failures = []


def onboard(vendor_thing_id):
    connected, answered, acknowledged = threading.Event(), threading.Event(), threading.Event()
    answers, codes = [], []
    client = mqtt.Client(
        **STYLE,
        client_id="anonymous",
        clean_session=True,
        protocol={"v31": mqtt.MQTTv31, "v311": mqtt.MQTTv311}[version],
    )
    client.username_pw_set(f"type=oauth2&client_id={app}", f"client_secret={key}")

    def on_connect(_client, _userdata, _flags, code):
        codes.append(code)
        connected.set()

    def on_message(_client, _userdata, message):
        answers.append(message)
        answered.set()

    client.on_connect = on_connect
    client.on_message = on_message
    client.on_publish = lambda *_: acknowledged.set()
    client.connect(host, int(port), keepalive=60)
    client.loop_start()
    if not connected.wait(60) or codes[0] != 0:
        failures.append(f"{vendor_thing_id}: CONNACK {codes}")
        everybody.abort()
        return
    everybody.wait()
    body = json.dumps({"vendorThingID": vendor_thing_id, "thingPassword": password})
    content_type = "Content-type: application/vnd.kii.OnboardingWithVendorThingIDByThing+json"
    client.publish(topic, end.join(["POST", content_type, "", body]), qos=int(qos))
    if not answered.wait(60) or not acknowledged.wait(60):
        failures.append(f"{vendor_thing_id}: no answer or no acknowledgement")
        return
    everybody.wait()
    client.disconnect()
    client.loop_stop()
    if len(answers) != 1:
        failures.append(f"{vendor_thing_id}: {len(answers)} answers")
    with output:
        record = {
            "vendorThingID": vendor_thing_id,
            "topic": answers[0].topic,
            "qos": answers[0].qos,
            "retain": bool(answers[0].retain),
            "payload": answers[0].payload.decode(),
            "acknowledged": acknowledged.is_set(),
        }
        print(json.dumps(record), flush=True)


names = [vendor] if clients == 1 else [f"{vendor}-{n}" for n in range(clients)]
threads = [threading.Thread(target=onboard, args=(name,)) for name in names]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for failure in failures:
    print(failure, file=sys.stderr)
sys.exit(1 if failures else 0)
