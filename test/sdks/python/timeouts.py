"""The two time-outs of a call, as methods and both forms of commands give them; all cases at once."""
import threading
import time

from azure.iot.hub import DigitalTwinClient
from azure.iot.hub.models import CloudToDeviceMethod
from msrest.exceptions import HttpOperationError

from checks import SERVICE, Device, in_threads, manager, register
from report import check

TOLERANCE = 0.5  # of the two time-outs
over = threading.Event()  # lets the handlers that never answer go


registry = manager()
digital = DigitalTwinClient.from_connection_string(SERVICE)


def method(device_id, connect, response):
    call = CloudToDeviceMethod(method_name="act", payload={}, connect_timeout_in_seconds=connect, response_timeout_in_seconds=response)
    return registry.invoke_device_method(device_id, call).payload


def command(device_id, connect, response):
    return digital.invoke_command(device_id, "act", {}, connect, response)


def component_command(device_id, connect, response):
    return digital.invoke_component_command(device_id, "thermostat1", "act", {}, connect, response)


def failed(result, status, code, text):
    """Says whether a call failed so."""
    assert isinstance(result, HttpOperationError), f"got {result!r}, want {status} {code}"
    got = result.response
    assert got.status_code == status and str(code) in got.text and text in got.text, f"got {got.status_code} {got.text}, want {status} {code}, {text}"


def took(seconds, want):
    assert abs(seconds - want) <= TOLERANCE, f"took {seconds:.2f} s, want {want} s +-{TOLERANCE}"


def answer_after(seconds):
    def answer(_name, _payload):
        over.wait(seconds)
        return 200, "done"

    return answer


class Case:
    """One call to one device: offline, connecting later, or answering late or never."""

    def __init__(self, name, call, timeouts, verify, connected=False, connect_after=None, answer_in=0):
        self.name, self.call, self.timeouts, self.verify = name, call, timeouts, verify
        self.connect_after, self.answer = connect_after, answer_after(answer_in)
        self.device_id = "timeout-" + name.replace(" ", "-").replace(",", "")
        self.connection_string = register(self.device_id)
        self.device = Device(self.connection_string, answer=self.answer) if connected else None

    def run(self, wait):
        time.sleep(wait)  # one after the other, so that the clients' own work of starting a call is not measured
        began = time.monotonic()
        if self.connect_after is not None:
            threading.Timer(self.connect_after, self.connect).start()
        try:
            result = self.call(self.device_id, *self.timeouts)
        except Exception as error:
            result = error
        return result, time.monotonic() - began

    def connect(self):
        self.device = Device(self.connection_string, answer=self.answer)


def offline(result, seconds):
    failed(result, 404, 404103, "00:00:03")
    took(seconds, 3)


def arrives(result, seconds):
    assert result == "done", f"got {result!r}"
    assert 1.5 <= seconds < 5, f"took {seconds:.2f} s, want the device's arrival after 1.5 s and a little"


def late(result, seconds):
    assert result == "done", f"got {result!r}"
    assert 5 <= seconds < 7, f"took {seconds:.2f} s, want 5 s and a little, within the time-out of 7 s"


def never(result, seconds):
    failed(result, 504, 504101, "")
    took(seconds, 7)


def at_once(result, seconds):
    failed(result, 404, 404103, "00:00:00")
    assert seconds < 3, f"took {seconds:.2f} s, want an answer at once"


def default(result, seconds):
    failed(result, 504, 504101, "")
    assert 30 <= seconds < 35, f"took {seconds:.2f} s, want 30 s and a little"


cases = []
for form in method, command, component_command:
    name = form.__name__.replace("_", " ")
    cases += [
        Case(f"{name}, omitted, no answer", form, (None, None), default, connected=True, answer_in=40),
        Case(f"{name}, offline", form, (3, 7), offline),
        Case(f"{name}, connects at 1.5 s", form, (3, 7), arrives, connect_after=1.5),
        Case(f"{name}, answers after 5 s", form, (3, 7), late, connected=True, answer_in=5),
        Case(f"{name}, no answer", form, (3, 7), never, connected=True, answer_in=40),
        Case(f"{name}, omitted, offline", form, (None, None), at_once),
    ]
results = in_threads([lambda case=case, wait=0.25 * n: case.run(wait) for n, case in enumerate(cases)])
for case, (result, seconds) in zip(cases, results):

    @check(case.name, seconds)
    def _():
        case.verify(result, seconds)


over.set()
for case in cases:
    if case.device:
        case.device.client.shutdown()
