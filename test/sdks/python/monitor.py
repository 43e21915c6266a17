"""The built-in endpoint as tools of the Azure CLI find it: from the hub's own address on, with uamqp."""
import base64
import hashlib
import hmac
import logging
import time
from urllib.parse import quote, quote_plus

import uamqp
from azure.iot.device import Message
from uamqp import authentication, errors

from checks import HOST, SERVICE, Device, equal, register
from report import check

POLICY, KEY = (dict(part.split("=", 1) for part in SERVICE.split(";"))[name] for name in ("SharedAccessKeyName", "SharedAccessKey"))
WAIT = 10_000
found = {}


class Complaints(logging.Handler):
    """What the library logs as an error; it goes on after some that others fail on."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.texts = []
        logging.getLogger("uamqp").addHandler(self)

    def emit(self, record):
        self.texts.append(record.getMessage())


complaints = Complaints()


def token():
    resource, expiry = quote_plus(HOST), int(time.time()) + 300
    signature = hmac.new(base64.b64decode(KEY), f"{resource}\n{expiry}".encode(), hashlib.sha256).digest()
    return f"SharedAccessSignature sr={resource}&sig={quote_plus(base64.b64encode(signature))}&se={expiry}&skn={POLICY}"


def claims():
    """Claims for the event hub, which the library puts on $cbs, with the policy's key as it stands."""
    return authentication.SASTokenAuth.from_shared_access_key(f"sb://{found['host']}/{found['hub']}", POLICY, KEY)


@check("the hub's own address redirects, for who signs in with SASL PLAIN and a token")
def _():
    user = quote(f"{POLICY}@sas.root.{HOST.split('.')[0]}", safe="")
    address = f"amqps://{user}:{quote(token(), safe='')}@{HOST}/messages/events/$management"
    client = uamqp.ReceiveClient(uamqp.address.Source(address), timeout=WAIT, prefetch=1)
    try:
        client.receive_message_batch(max_batch_size=1)
    except errors.LinkRedirect as redirect:
        found["host"], found["address"] = redirect.hostname.decode(), redirect.address.decode()
    finally:
        client.close()
    equal(found["host"], HOST, "hostname")
    scheme, _, at, found["hub"], node = found["address"].split("/")
    equal((scheme, at, node), ("amqps:", f"{HOST}:5671", "$management"), "address")


@check("the address of the redirect describes the event hub")
def _():
    client = uamqp.ReceiveClient(uamqp.address.Source(found["address"]), auth=claims(), timeout=WAIT)
    try:
        client.open()
        answer = client.mgmt_request(
            uamqp.Message(application_properties={"name": found["hub"]}),
            b"READ",
            op_type=b"com.microsoft:eventhub",
            status_code_field=b"status-code",
            description_fields=b"status-description",
            timeout=WAIT,
        )
    finally:
        client.close()
    description = answer.get_data()
    found["partitions"] = [partition.decode() for partition in description[b"partition_ids"]]
    equal(len(found["partitions"]), description[b"partition_count"], "partition_count")


@check("a reader in the legacy form gets what a device sends")
def _():
    began = int(time.time() * 1000) - 1000
    with Device(register("monitor-1")) as device:
        device.client.send_message(Message("seen"))
    for partition in found["partitions"]:
        source = uamqp.address.Source(f"amqps://{found['host']}/{found['hub']}/ConsumerGroups/$Default/Partitions/{partition}")
        source.set_filter(f"amqp.annotation.x-opt-enqueuedtimeutc > {began}".encode())
        client = uamqp.ReceiveClient(source, auth=claims(), timeout=2000, prefetch=0)
        try:
            for message in client.receive_messages_iter():
                if message.annotations[b"iothub-connection-device-id"] == b"monitor-1":
                    equal(b"".join(message.get_data()), b"seen", "body")
                    return
        finally:
            client.close()
    raise AssertionError("no event of the device")


@check("the library complains of nothing")
def _():
    equal(complaints.texts, [], "errors that it logged")
