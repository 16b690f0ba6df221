"""A device on Python's paho, which nobody here wrote, that keeps the contract of `thingif conformance client`.

    device.py [--fault constant-ids] [--fault no-timeout]

Without a fault it passes every scenario; with one it fails those that say so: `constant-ids` sends the same X-Kii-RequestID
with every call, `no-timeout` waits for answers for ever.
"""

import argparse
import json
import os
import queue
import random
import sys
import threading
import time

import paho.mqtt.client as mqtt

arguments = argparse.ArgumentParser()
arguments.add_argument("--fault", action="append", default=[], choices=["constant-ids", "no-timeout"])
FAULTS = set(arguments.parse_args().fault)

HOST, PORT = os.environ["THINGIF_BROKER"].removeprefix("mqtt://").rsplit(":", 1)
APP, KEY = os.environ["THINGIF_APP_ID"], os.environ["THINGIF_APP_KEY"]
THING, PASSWORD = os.environ["THINGIF_THING"], os.environ["THINGIF_PASSWORD"]
PATIENCE = float(os.environ.get("THINGIF_CALL_TIMEOUT", "10"))
KEEP_ALIVE = max(1, int(float(os.environ.get("THINGIF_DEAD_PEER", "90")) / 2))
BY_THING = "application/vnd.kii.OnboardingWithVendorThingIDByThing+json"
# Since 2.0 the library wants to know for which of its versions the callbacks were written.
STYLE = {"callback_api_version": mqtt.CallbackAPIVersion.VERSION1} if hasattr(mqtt, "CallbackAPIVersion") else {}

# Everything that happens, in one queue: the library's threads and standard input put it there, the main thread judges.
events = queue.Queue()


class Refused(Exception):
    """Asking again does not help."""


class Leave(Exception):
    """Standard input was closed."""


def say(line):
    print(line, flush=True)


def read_frame(payload):
    """Status, headers with names in lower case, body; None if it is no answer."""
    head, lines, rest = [], payload, b""
    while lines:
        line, _, lines = lines.partition(b"\n")
        line = line.rstrip(b"\r")
        if not line:
            rest = lines
            break
        head.append(line.decode("utf-8", "replace"))
    if not head or not head[0][:3].isdigit() or len(head[0]) > 3 and head[0][3] != " " or len(head[0]) < 3:
        return None
    headers = {}
    for line in head[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            return None
        headers[name.lower()] = value.strip()
    return int(head[0][:3]), headers, rest.decode("utf-8", "replace")


class Connection:
    """One connection; what happens on it is put into `events` with it."""

    def __init__(self, host, port, client_id, username, password):
        self.client = mqtt.Client(**STYLE, client_id=client_id, clean_session=True, protocol=mqtt.MQTTv311)
        self.client.username_pw_set(username, password)
        self.client.on_connect = lambda _c, _u, _f, code: events.put((self, "connack", code))
        self.client.on_message = lambda _c, _u, message: events.put((self, "message", message))
        self.client.on_disconnect = lambda *_: events.put((self, "lost", None))
        # The library's own reconnection would hide what this program is to do by itself.
        self.client.reconnect_delay_set(3600, 3600)
        self.client.connect(host, int(port), keepalive=KEEP_ALIVE)
        self.client.loop_start()

    def close(self):
        self.client.on_disconnect = None
        self.client.disconnect()
        self.client.loop_stop()


class Device:
    def __init__(self):
        self.pending = []  # [name, topic, id, deadline], in the order they were sent
        self.abandoned = []  # topics of calls that were given up
        self.waiting = []  # [name, verb, path, body, deadline], made without a connection
        self.sent = 0
        self.failures = 0
        self.endpoint = None
        self.session = None

    # Time and events

    def next_event(self, until=None):
        """The next event, or None when it is `until`. Calls are looked after meanwhile."""
        while True:
            now = time.monotonic()
            deadlines = [call[-1] for call in self.pending + self.waiting if call[-1]]
            wake = min(deadlines + ([until] if until else []), default=now + 3600)
            try:
                source, kind, what = events.get(timeout=max(0, wake - now))
            except queue.Empty:
                self.expire(time.monotonic())
                if until and time.monotonic() >= until:
                    return None
                continue
            if kind == "call":
                self.waiting.append([*what, None if "no-timeout" in FAULTS else time.monotonic() + PATIENCE])
                self.send_waiting()
            elif kind == "leave":
                raise Leave
            else:
                return source, kind, what

    def expire(self, now):
        for call in [call for call in self.pending if call[-1] and call[-1] <= now]:
            self.pending.remove(call)
            self.abandoned.append(call[1])
            say(f'result {call[0]} {json.dumps({"error": "timed-out"})}')
        for call in [call for call in self.waiting if call[-1] and call[-1] <= now]:
            self.waiting.remove(call)
            say(f'result {call[0]} {json.dumps({"error": "not-sent"})}')

    def wait_for(self, connection, kind, seconds):
        until = time.monotonic() + seconds if seconds else None
        while True:
            event = self.next_event(until)
            if event is None:
                return "timeout", None
            if event[0] is connection and event[1] in (kind, "lost"):
                return event[1], event[2]

    def pause(self, at_least=0.0):
        """Back-off with jitter, from one second doubling to eight."""
        self.failures += 1
        longest = min(8.0, 2.0 ** (self.failures - 1))
        until = time.monotonic() + max(at_least, random.uniform(0.5, 1.0) * longest)
        while self.next_event(until) is not None:
            pass

    # Onboarding

    def onboard(self):
        while self.endpoint is None:
            try:
                rest = self.ask()
            except OSError:
                rest = 0
            if rest is not None:
                self.pause(rest)

    def ask(self):
        """One attempt; None when it succeeded, else how long to rest at least."""
        connection = Connection(
            HOST, PORT, "anonymous", f"type=oauth2&client_id={APP}", f"client_secret={KEY}"
        )
        try:
            kind, code = self.wait_for(connection, "connack", PATIENCE)
            if kind != "connack" or code == 3:
                return 0
            if code != 0:
                raise Refused(f"CONNACK {code}")
            topic = f"p/anonymous/thing-if/apps/{APP}/onboardings"
            body = json.dumps({"vendorThingID": THING, "thingPassword": PASSWORD})
            connection.client.publish(topic, f"POST\r\nContent-Type: {BY_THING}\r\n\r\n{body}")
            while True:
                kind, message = self.wait_for(connection, "message", None if "no-timeout" in FAULTS else PATIENCE)
                if kind != "message":
                    return 0
                if message.topic == topic:
                    break
            frame = read_frame(message.payload)
            if frame is None:
                return 0
            status, headers, body = frame
            if status in (400, 401, 403, 404, 409):
                raise Refused(f"status {status}")
            if status != 200:
                return float(headers.get("retry-after", 0))
            answer = json.loads(body)
            endpoint = answer["mqttEndpoint"]
            for member in ("host", "portTCP", "mqttTopic", "username", "password"):
                endpoint[member]
            self.endpoint, self.token, self.thing = endpoint, answer["accessToken"], answer["thingID"]
            self.failures = 0
            return None
        except (ValueError, KeyError, TypeError):
            return 0
        finally:
            connection.close()

    # The assigned broker

    def live(self):
        refused_in_a_row = 0
        while True:
            self.onboard()
            began = time.monotonic()
            try:
                code = self.stay()
            except OSError:
                code = -1
            refused_in_a_row = refused_in_a_row + 1 if code == -1 else 0
            if code in (4, 5) or refused_in_a_row >= 2:
                self.endpoint, refused_in_a_row = None, 0
            if time.monotonic() - began > 5:
                self.failures = 0
            self.pause()

    def stay(self):
        """Until the connection ends: the CONNACK code, -1 if there was none."""
        endpoint = self.endpoint
        self.topic = endpoint["mqttTopic"]
        connection = Connection(
            endpoint["host"], endpoint["portTCP"], self.topic, endpoint["username"], endpoint["password"]
        )
        try:
            kind, code = self.wait_for(connection, "connack", PATIENCE)
            if kind != "connack":
                return -1
            if code != 0:
                return code
            connection.client.subscribe(self.topic, 0)
            self.session = connection
            self.send_waiting()
            while True:
                source, kind, what = self.next_event()
                if source is not connection:
                    continue
                if kind == "lost":
                    return 0
                if kind == "message":
                    self.take(what)
        finally:
            self.session = None
            for name, *_ in self.pending:
                say(f'result {name} {json.dumps({"error": "disconnected"})}')
            self.pending.clear()
            connection.close()

    def send_waiting(self):
        while self.session and self.waiting:
            name, verb, path, body, deadline = self.waiting.pop(0)
            self.sent += 1
            request_id = "device" if "constant-ids" in FAULTS else f"{os.getpid()}-{self.sent}"
            topic = f"p/{self.topic}/thing-if/apps/{APP}/{path.replace('{thing}', self.thing)}"
            head = [verb, f"Authorization: Bearer {self.token}", f"X-Kii-RequestID: {request_id}"]
            head += ["Content-Type: application/json"] if body else []
            self.pending.append([name, topic, request_id, deadline])
            self.session.client.publish(topic, "\r\n".join([*head, "", body]).encode())

    def take(self, message):
        if message.topic == self.topic:
            say(f'push {json.dumps({"payload": message.payload.decode("utf-8", "replace")})}')
            return
        frame = read_frame(message.payload)
        if frame is None:
            return
        status, headers, body = frame
        request_id = headers.get("x-kii-requestid")
        here = [call for call in self.pending if call[1] == message.topic]
        if request_id is not None:
            here = [call for call in here if call[2] == request_id]
        elif len(here) != 1 or message.topic in self.abandoned:
            return
        if here:
            self.pending.remove(here[0])
            say(f'result {here[0][0]} {json.dumps({"status": status, "body": body})}')


def read_calls():
    for line in sys.stdin:
        word, name, verb, path, *body = line.rstrip("\n").split(" ", 4)
        if word == "call":
            events.put((None, "call", (name, verb, path, body[0] if body else "")))
    events.put((None, "leave", None))


threading.Thread(target=read_calls, daemon=True).start()
try:
    Device().live()
except Leave:
    pass
except Refused as refusal:
    print(refusal, file=sys.stderr)
    sys.exit(1)
