"""Judges the AMQP types of events with Qpid Proton, which tells symbol from string and timestamp from long.

Reads one event of each kind over plain AMQP, as bytes; checks their sections; then changes one type at a time, in a
copy of the bytes, and expects the same checks to fail. Runs under the system's Python, which has python3-qpid-proton.
"""
import base64
import hashlib
import hmac
import os
import sys
import time
import urllib.parse

from proton import Data, Message, int32, symbol, timestamp, ulong
from proton.handlers import MessagingHandler
from proton.reactor import Container, Selector

from report import check

DEVICE, PARTITION, START, COUNT = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
SYMBOL, STRING, BINARY, LONG, TIMESTAMP = "symbol", "string", "binary", "long", "timestamp"
NAMES = {0x70: "header", 0x71: "delivery-annotations", 0x72: "message-annotations", 0x73: "properties", 0x74: "application-properties", 0x75: "data"}
PROPERTIES = "message-id user-id to subject reply-to correlation-id content-type content-encoding".split()


class Reader(MessagingHandler):
    """Authorises itself as Event Hubs clients do, then reads COUNT messages after START and keeps their bytes."""

    def __init__(self, connection_string):
        super().__init__(auto_accept=False, prefetch=0)
        self.parts = dict(part.split("=", 1) for part in connection_string.split(";"))
        self.host = urllib.parse.urlsplit(self.parts["Endpoint"]).hostname
        self.raw, self.error = [], None

    def token(self, resource):
        expiry, encoded = str(int(time.time()) + 3600), urllib.parse.quote_plus(resource)
        key = self.parts["SharedAccessKey"].encode()
        signature = base64.b64encode(hmac.new(key, f"{encoded}\n{expiry}".encode(), hashlib.sha256).digest())
        return f"SharedAccessSignature sr={encoded}&sig={urllib.parse.quote_plus(signature)}&se={expiry}&skn={self.parts['SharedAccessKeyName']}"

    def on_start(self, event):
        connection = event.container.connect(f"amqp://{self.host}:5672", allowed_mechs="ANONYMOUS", reconnect=False)
        self.answers = event.container.create_receiver(connection, "$cbs", target="cbs-answers")
        self.answers.flow(1)
        self.requests = event.container.create_sender(connection, "$cbs")
        self.deadline = event.container.schedule(30, self)

    def on_timer_task(self, event):
        self.error = f"{len(self.raw)} of {COUNT} messages within 30 s"
        event.container.stop()

    def on_sendable(self, event):
        if event.sender == self.requests and self.parts:
            resource = f"sb://{self.host}/{self.parts['EntityPath']}"
            properties = {"operation": "put-token", "type": "servicebus.windows.net:sastoken", "name": resource}
            self.requests.send(Message(id="1", reply_to="cbs-answers", body=self.token(resource), properties=properties))
            self.hub, self.parts = self.parts["EntityPath"], None

    def on_delivery(self, event):
        delivery, link = event.delivery, event.link
        if not link.is_receiver or not delivery.readable or delivery.partial:
            return
        raw = link.recv(delivery.pending)
        link.advance()
        delivery.update(delivery.ACCEPTED)
        delivery.settle()
        if link == self.answers:
            answer = Message()
            answer.decode(raw)
            status = answer.properties["status-code"]
            assert status == 200 and type(status) is int32, f"put-token: {type(status).__name__} {status}"
            start = Selector(f"amqp.annotation.x-opt-sequence-number > '{START}'", "apache.org:selector-filter:string")
            address = f"{self.hub}/ConsumerGroups/$Default/Partitions/{PARTITION}"
            event.container.create_receiver(event.connection, address, options=start).flow(COUNT)
            return
        self.raw.append(raw)
        if len(self.raw) == COUNT:
            self.deadline.cancel()
            event.connection.close()

    def on_transport_error(self, event):
        self.error = event.transport.condition

    def on_link_error(self, event):
        self.error = event.link.remote_condition
        event.connection.close()


def value(data):
    """Reads the value under the cursor as a pair of its type's name and its content."""
    kind = Data.type_names[data.type()]
    if kind == "described":
        data.enter()
        data.next()
        descriptor = value(data)
        data.next()
        content = (descriptor, value(data))
        data.exit()
    elif kind in ("list", "map"):
        content = []
        data.enter()
        while data.next():
            content.append(value(data))
        data.exit()
    else:
        content = data.get_object()
    return kind, content


def sections(raw):
    """Splits a message into its sections: pairs of name and value, in order."""
    found = []
    while raw:
        data = Data()
        size = data.decode(raw)
        raw = raw[size:]
        data.rewind()
        data.next()
        kind, (descriptor, content) = value(data)
        assert (kind, descriptor[0]) == ("described", "ulong"), f"a section is {kind} with {descriptor}"
        found.append((NAMES[descriptor[1]], content))
    return found


def put(data, typed):
    """Writes a value in the form that value reads."""
    kind, content = typed
    if kind == "described":
        data.put_described()
        data.enter()
        put(data, content[0])
        put(data, content[1])
        data.exit()
    elif kind in ("list", "map"):
        data.put_list() if kind == "list" else data.put_map()
        data.enter()
        for item in content:
            put(data, item)
        data.exit()
    elif kind == "null":
        data.put_null()
    else:
        getattr(data, "put_" + kind)(content)


def encode(found):
    raw = b""
    codes = {name: code for code, name in NAMES.items()}
    for name, typed in found:
        data = Data()
        put(data, ("described", (("ulong", codes[name]), typed)))
        raw += data.encode()
    return raw


def as_map(typed, key_type):
    kind, items = typed
    assert kind == "map", f"a section is a {kind}, want a map"
    keys, values = items[0::2], items[1::2]
    for kind, name in keys:
        assert kind == key_type, f"key {name} is a {kind}, want a {key_type}"
    names = [name for _, name in keys]
    assert len(set(names)) == len(names), f"keys come twice: {names}"
    return dict(zip(names, values))


def types(what, got, want):
    """Compares members and their types, both ways."""
    have = {name: kind for name, (kind, _) in got.items()}
    assert have == want, f"{what}: got types {have}, want {want}"


X_OPT = {"x-opt-sequence-number": LONG, "x-opt-offset": STRING, "x-opt-enqueued-time": TIMESTAMP}
COMMON = {"iothub-connection-device-id": STRING, "iothub-enqueuedtime": TIMESTAMP, "iothub-message-source": STRING}
SENDER = {"iothub-connection-auth-method": STRING, "iothub-connection-auth-generation-id": STRING}
CHANGE = dict.fromkeys(("hubName", "deviceId", "operationTimestamp", "iothub-message-schema", "opType"), STRING)
JSON = {"content-type": SYMBOL, "content-encoding": SYMBOL}
KINDS = {
    "telemetry": ({**COMMON, **SENDER, "dt-dataschema": STRING, "dt-subject": STRING}, JSON, None),
    "bare telemetry": ({**COMMON, **SENDER, "dt-dataschema": STRING}, None, None),
    "telemetry with everything": (
        {**COMMON, **SENDER, "dt-dataschema": STRING},
        {**JSON, "message-id": STRING, "correlation-id": STRING, "user-id": BINARY},
        {"colour": STRING, "size": STRING},
    ),
    "twin change": (COMMON, {**JSON, "user-id": BINARY, "correlation-id": STRING}, CHANGE),
    "digital twin change": (COMMON, {**JSON, "user-id": BINARY, "correlation-id": STRING}, CHANGE),
}


def judge(kind, raw):
    """Raises unless the message's sections are those of its kind, each value of its type."""
    annotations, properties, application = KINDS[kind]
    found = sections(raw)
    names = [name for name, _ in found]
    want = ["message-annotations"] + ["properties"] * (properties is not None) + ["application-properties"] * (application is not None) + ["data"]
    assert names == want, f"sections: got {names}, want {want}"
    found = dict(found)
    types("message annotations", as_map(found["message-annotations"], SYMBOL), {**annotations, **X_OPT})
    if properties is not None:
        kind, items = found["properties"]
        assert kind == "list" and len(items) <= 13, f"properties: a {kind} of {len(items)}"
        assert all(k == "null" for k, _ in items[len(PROPERTIES) :]), f"properties: more than is known: {items}"
        types("properties", {name: item for name, item in zip(PROPERTIES, items) if item[0] != "null"}, properties)
    if application is not None:
        types("application properties", as_map(found["application-properties"], STRING), application)
    assert found["data"][0] == BINARY, f"the body is a {found['data'][0]}"


def change(typed, kind):
    """The same content in another type."""
    old, content = typed
    if kind == BINARY:
        return kind, content.encode()
    if old == BINARY:
        return kind, content.decode()
    return kind, {SYMBOL: symbol, STRING: str, LONG: int, TIMESTAMP: timestamp, "ulong": ulong, "int": int32}[kind](content)


WRONG = {SYMBOL: STRING, STRING: SYMBOL, BINARY: STRING, LONG: "int", TIMESTAMP: LONG}


def mutations(raw):
    """Yields copies of the message in which one thing has another type, or a section more, and what that is."""
    found = sections(raw)
    for at, (name, (kind, content)) in enumerate(found):
        items = content if kind in ("list", "map") else []
        for index, item in enumerate(items):
            if item[0] == "null":
                continue
            what = f"{name}, {'key ' + str(item[1]) if kind == 'map' and index % 2 == 0 else items[index - 1][1] if kind == 'map' else PROPERTIES[index]}"
            for wrong in [WRONG[item[0]]] + (["ulong"] if item[0] == LONG else []):
                changed = items[:index] + [change(item, wrong)] + items[index + 1 :]
                yield f"{what} as {wrong}", encode(found[:at] + [(name, (kind, changed))] + found[at + 1 :])
        if name == "data":
            yield "body as string", encode(found[:at] + [(name, change((kind, content), STRING))])
            if "application-properties" not in dict(found):
                yield "empty application properties", encode(found[:at] + [("application-properties", ("map", []))] + found[at:])
            if "properties" not in dict(found):
                yield "empty properties", encode(found[:1] + [("properties", ("list", []))] + found[1:])


def kind_of(raw):
    found = dict(sections(raw))
    annotations = as_map(found["message-annotations"], SYMBOL)
    source = annotations["iothub-message-source"][1]
    if source != "Telemetry":
        return {"twinChangeEvents": "twin change", "digitalTwinChangeEvents": "digital twin change"}[source]
    if "application-properties" in found:
        return "telemetry with everything"
    return "telemetry" if "dt-subject" in annotations else "bare telemetry"


reader = Reader(os.environ["EVENTHUB_EMULATOR_CONNECTION_STRING"])
Container(reader).run()
assert reader.error is None, reader.error
messages = {}
for raw in reader.raw:
    annotations = as_map(dict(sections(raw))["message-annotations"], SYMBOL)
    if annotations["iothub-connection-device-id"][1] == DEVICE:
        messages.setdefault(kind_of(raw), raw)


@check("an event of each kind")
def _():
    assert set(messages) == set(KINDS), f"got {set(messages)}, want {set(KINDS)}"


for kind, raw in messages.items():

    @check(kind)
    def _():
        judge(kind, raw)

    @check(f"{kind}: each type changed is noticed")
    def _():
        judge(kind, encode(sections(raw)))  # written anew without a change it is still right
        made = 0
        for what, mutant in mutations(raw):
            made += 1
            assert mutant != raw, f"{what}: not changed"
            try:
                judge(kind, mutant)
            except AssertionError:
                continue
            raise AssertionError(f"{what} is not noticed")
        assert made >= 15, f"only {made} mutations"
        print(f"{kind}: {made} mutations noticed")
