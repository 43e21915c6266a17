"""Where a reader of the built-in endpoint starts, and that it goes on where it stopped."""
import json
import queue
import threading
from datetime import datetime, timezone

from azure.eventhub import EventHubConsumerClient
from azure.iot.device import Message

from checks import EVENTS, Device, await_receivers, equal, register
from report import check

WAIT = 20


class Reader:
    """Reads one partition, or all, from a position until closed; its events are in a queue."""

    def __init__(self, partition=None, group="$default", attached=True, uamqp=False, **position):
        self.events = queue.Queue()
        self.errors = queue.Queue()
        self.partition = partition
        self.client = EventHubConsumerClient.from_connection_string(EVENTS, consumer_group=group, uamqp_transport=uamqp)
        if partition is not None:
            position["partition_id"] = partition
        self.thread = threading.Thread(
            daemon=True,
            target=self.client.receive_batch,
            args=(lambda context, events: [self.events.put((context.partition_id, event)) for event in events],),
            kwargs=dict(on_error=lambda context, error: self.errors.put(error), **position),
        )
        self.thread.start()
        if attached:
            await_receivers(1, partition)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()
        self.thread.join()
        if self.partition is not None:
            await_receivers(0, self.partition)
        assert self.errors.empty(), self.errors.get()

    def next(self, device_id):
        """The next event of the device and its partition."""
        while True:
            partition, event = self.events.get(timeout=WAIT)
            if event.system_properties[b"iothub-connection-device-id"] == device_id.encode():
                return partition, event

    def bodies(self, device_id, count):
        return [self.next(device_id)[1].body_as_str() for _ in range(count)]


class Sender:
    """A connected device that sends texts."""

    def __init__(self, device_id):
        self.id = device_id
        self.device = Device(register(device_id))

    def send(self, *texts):
        for text in texts:
            self.device.client.send_message(Message(text))


ONE = Sender("position-1")
ONE.send("a", "b", "c", "d")
found = {}


@check("from the start, all partitions")
def _():
    with Reader(attached=False, starting_position="-1") as reader:
        for text in "a", "b", "c", "d":
            found["partition"], event = reader.next(ONE.id)
            equal(event.body_as_str(), text, "body")
            found[text] = event


P = found["partition"]


@check("offsets and sequence numbers differ and ascend")
def _():
    numbers = [found[text].sequence_number for text in "abcd"]
    offsets = [found[text].offset for text in "abcd"]
    assert numbers == sorted(set(numbers)), f"sequence numbers {numbers}"
    assert [int(o) for o in offsets] == sorted({int(o) for o in offsets}), f"offsets {offsets}"
    for number, offset in zip(numbers, offsets):
        assert type(offset) is str and offset == str(int(offset)), f"offset {offset!r} is no decimal text"
        assert offset != str(number), f"offset {offset} is the sequence number"


@check("@latest: not what was sent before the attach, but what is sent right after it")
def _():
    ONE.send("before")
    with Reader(P, starting_position="@latest") as reader:
        ONE.send("after")
        equal(reader.bodies(ONE.id, 1), ["after"], "bodies")


@check("the default position is @latest")
def _():
    ONE.send("before")
    with Reader(P) as reader:
        ONE.send("after")
        equal(reader.bodies(ONE.id, 1), ["after"], "bodies")


@check("after and at an offset")
def _():
    with Reader(P, starting_position=found["b"].offset) as reader:
        equal(reader.bodies(ONE.id, 2), ["c", "d"], "bodies after it")
    with Reader(P, starting_position=found["b"].offset, starting_position_inclusive=True) as reader:
        equal(reader.bodies(ONE.id, 3), ["b", "c", "d"], "bodies at it")


@check("after and at a sequence number")
def _():
    with Reader(P, starting_position=found["b"].sequence_number) as reader:
        equal(reader.bodies(ONE.id, 2), ["c", "d"], "bodies after it")
    with Reader(P, starting_position=found["b"].sequence_number, starting_position_inclusive=True) as reader:
        equal(reader.bodies(ONE.id, 3), ["b", "c", "d"], "bodies at it")


@check("after a time")
def _():
    ONE.send("early")
    with Reader(P, starting_position=found["d"].sequence_number) as reader:
        while (event := reader.next(ONE.id)[1]).body_as_str() != "early":
            pass
    then = event.enqueued_time
    assert abs((datetime.now(timezone.utc) - then).total_seconds()) < 60, f"enqueued_time {then}"
    ONE.send("late")
    with Reader(P, starting_position=then) as reader:
        # The position has milliseconds, so what came in the same one may be skipped, but nothing older may come.
        equal(reader.bodies(ONE.id, 1), ["late"], "bodies after it")


@check("each reader goes on by the last offset and number it saw, without a gap or a repetition")
def _():
    texts = [f"resume-{n}" for n in range(12)]
    with Reader(P, starting_position="@latest") as reader:
        ONE.send(*texts[:4])
        last = [reader.next(ONE.id)[1] for _ in range(4)][-1]
    ONE.send(*texts[4:8])
    for position in last.offset, last.sequence_number:
        with Reader(P, starting_position=position) as reader:
            equal(reader.bodies(ONE.id, 4), texts[4:8], f"bodies after {position!r}")


@check("sequence numbers have no gap")
def _():
    ONE.send("end")
    with Reader(P, starting_position="-1") as reader:
        previous = None
        while True:
            event = reader.events.get(timeout=WAIT)[1]
            assert previous is None or event.sequence_number == previous + 1, f"{event.sequence_number} follows {previous}"
            previous = event.sequence_number
            if b"".join(event.body) == b"end":
                return


@check("what the endpoint says of itself agrees with what it holds")
def _():
    ONE.send("last")
    with EventHubConsumerClient.from_connection_string(EVENTS, consumer_group="$Default") as client:
        hub = client.get_eventhub_properties()
        equal((hub["eventhub_name"], sorted(hub["partition_ids"])), ("my-pnp-hub", ["0", "1", "2", "3"]), "event hub")
        says = client.get_partition_properties(P)
    with Reader(P, starting_position=says["last_enqueued_sequence_number"], starting_position_inclusive=True) as reader:
        event = reader.events.get(timeout=WAIT)[1]
    equal(event.body_as_str(), "last", "body of the last event")
    equal(
        (says["last_enqueued_sequence_number"], says["last_enqueued_offset"], says["is_empty"], says["eventhub_name"], says["id"]),
        (event.sequence_number, event.offset, False, "my-pnp-hub", P),
        "partition",
    )
    equal(says["last_enqueued_time_utc"], event.enqueued_time, "time of the last event")


@check("devices spread over partitions and each keeps to one")
def _():
    senders = [Sender(f"spread-{n}") for n in range(8)]
    for text in "x", "y":
        for sender in senders:
            sender.send(text)
    seen = {sender.id: [] for sender in senders}
    with Reader(attached=False, starting_position="-1") as reader:
        while min(map(len, seen.values())) < 2:
            partition, event = reader.events.get(timeout=WAIT)
            device_id = event.system_properties[b"iothub-connection-device-id"].decode()
            if device_id in seen and event.system_properties[b"iothub-message-source"] == b"Telemetry":
                seen[device_id].append((partition, event.body_as_str()))
    for device_id, events in seen.items():
        (first, x), (second, y) = events
        equal((x, y, first), ("x", "y", second), f"events of {device_id}")
    partitions = {events[0][0] for events in seen.values()}
    assert len(partitions) > 1, f"all eight devices are in partition {partitions}"
    for sender in senders:
        sender.device.client.shutdown()


@check("application and system properties of a message")
def _():
    message = Message("{}", message_id="m-1", content_encoding="utf-16", content_type="text/plain")
    message.correlation_id, message.user_id = "c-1", "u-1"
    message.custom_properties = {"plain": "value", "odd & key": "a=b/ü+ %20", "empty": ""}
    with Reader(P, starting_position="@latest") as reader:
        ONE.device.client.send_message(message)
        event = reader.next(ONE.id)[1]
    equal(event.properties, {b"plain": b"value", b"odd & key": "a=b/ü+ %20".encode(), b"empty": b""}, "properties")
    got = {key: event.system_properties[key] for key in (b"message-id", b"correlation-id", b"user-id", b"content-type", b"content-encoding")}
    want = {b"message-id": "m-1", b"correlation-id": "c-1", b"user-id": b"u-1", b"content-type": b"text/plain", b"content-encoding": b"utf-16"}
    equal({k: v if isinstance(v, bytes) else v.encode() for k, v in got.items()}, {k: v if isinstance(v, bytes) else v.encode() for k, v in want.items()}, "system properties")


@check("the older transport, uamqp, reads the same")
def _():
    with Reader(P, uamqp=True, starting_position=found["b"].sequence_number) as reader:
        equal(reader.bodies(ONE.id, 2), ["c", "d"], "bodies")


@check("an owner's higher level takes a partition, an unknown group is refused")
def _():
    low = EventHubConsumerClient.from_connection_string(EVENTS, consumer_group="$Default")
    lost, got = queue.Queue(), queue.Queue()
    first = threading.Thread(daemon=True, target=low.receive, args=(lambda *_: None,), kwargs=dict(partition_id=P, owner_level=1, on_error=lambda _, e: lost.put(e)))
    first.start()
    await_receivers(1, P)
    high = EventHubConsumerClient.from_connection_string(EVENTS, consumer_group="$Default")
    second = threading.Thread(daemon=True, target=high.receive, args=(lambda _, event: got.put(event),), kwargs=dict(partition_id=P, owner_level=2, on_error=lambda _, e: None))
    second.start()
    error = lost.get(timeout=WAIT)
    assert "amqp:link:stolen" in str(error), f"the lower owner got {error!r}"
    await_receivers(1, P)
    ONE.send("owned")
    equal(got.get(timeout=WAIT).body_as_str(), "owned", "body that the higher owner read")
    low.close(), high.close(), first.join(), second.join()
    await_receivers(0, P)
    refused = queue.Queue()
    nobody = EventHubConsumerClient.from_connection_string(EVENTS, consumer_group="nobody", retry_total=0)
    third = threading.Thread(daemon=True, target=nobody.receive, args=(lambda *_: None,), kwargs=dict(partition_id=P, on_error=lambda _, e: refused.put(e)))
    third.start()
    error = refused.get(timeout=WAIT)
    assert "amqp:not-found" in str(error) or "NotFound" in repr(error), f"an unknown consumer group got {error!r}"
    nobody.close(), third.join()


ONE.device.client.shutdown()
