"""What the checks of the service and device clients share: the hub they are about, its devices and comparisons."""
import base64
import json
import os
import queue
import secrets
import threading
import time
import urllib.request

from azure.iot.device import IoTHubDeviceClient, MethodResponse
from azure.iot.hub import IoTHubRegistryManager
from msrest.exceptions import HttpOperationError

SERVICE = os.environ["IOTHUB_CONNECTION_STRING"]
EVENTS = os.environ["EVENTHUB_CONNECTION_STRING"]
HOST = dict(part.split("=", 1) for part in SERVICE.split(";"))["HostName"]


def equal(got, want, what):
    assert got == want and type(got) is type(want), f"{what}: got {got!r}, want {want!r}"


def http_error(status, code, function, *args):
    """Calls function, which must fail with this HTTP status and this error code; returns the answer's text."""
    try:
        result = function(*args)
    except HttpOperationError as error:
        text = error.response.text
        assert error.response.status_code == status and str(code) in text, f"got {error.response.status_code} {text}, want {status} {code}"
        return text
    raise AssertionError(f"succeeded with {result!r}, want {status} {code}")


def manager():
    return IoTHubRegistryManager.from_connection_string(SERVICE)


def register(device_id):
    """Makes the device anew and returns its connection string."""
    registry = manager()
    try:
        registry.delete_device(device_id)
    except HttpOperationError as error:
        if error.response.status_code != 404:
            raise
    key, second = (base64.b64encode(secrets.token_bytes(32)).decode() for _ in range(2))
    device = registry.create_device_with_sas(device_id, key, second, "enabled")
    equal(device.device_id, device_id, "device_id of the created device")
    return f"HostName={HOST};DeviceId={device_id};SharedAccessKey={key}"


class Device:
    """A connected device. Its desired patches are in a queue, its method calls are answered by a function."""

    def __init__(self, connection_string, model=None, answer=None):
        self.desired = queue.Queue()
        self.client = IoTHubDeviceClient.create_from_connection_string(connection_string, product_info=model or "")
        self.client.on_twin_desired_properties_patch_received = self.desired.put
        if answer:

            def call(request):
                status, payload = answer(request.name, request.payload)
                self.client.send_method_response(MethodResponse.create_from_method_request(request, status, payload))

            self.client.on_method_request_received = call
        self.client.connect()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.shutdown()


def receivers():
    with urllib.request.urlopen(os.environ["TWINHUB_OPS"] + "/receivers") as answer:
        return json.load(answer)


def await_receivers(count, partition):
    """Returns once the hub says that so many receivers are attached to the partition."""
    deadline = time.monotonic() + 30
    while True:
        found = [r for r in receivers() if r["partition"] == partition]
        if len(found) == count:
            return
        assert time.monotonic() < deadline, f"receivers of partition {partition}: got {found}, want {count}"
        time.sleep(0.01)


def in_threads(functions):
    """Runs the functions at once, each in its thread, and returns their results or exceptions in order."""
    results = [None] * len(functions)

    def run(index, function):
        try:
            results[index] = function()
        except BaseException as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
