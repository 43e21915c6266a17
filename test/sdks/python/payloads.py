"""What is said to a device is what it hears, and what it answers is what the caller gets."""
import datetime
import json

from azure.iot.hub import DigitalTwinClient
from azure.iot.hub.models import CloudToDeviceMethod, QuerySpecification, Twin, TwinProperties

from checks import SERVICE, Device, equal, manager, register
from report import check

ID = "payload-device"
MODEL = "dtmi:com:example:TemperatureController;1"
registry = manager()
digital = DigitalTwinClient.from_connection_string(SERVICE)
connection_string = register(ID)
heard = []
VALUES = [None, 0, False, True, "", {}, [], 1.0, -7, 4503599627370495, "text", "123", '{"a": 1}', "é\u20ac\U0001f600", {"a": {"b": [1, None, "x"]}}]


def answer(name, payload):
    """Hears the payload and sends it back, with the status that the method's name ends in."""
    heard.append((name, payload))
    return int(name.rpartition("_")[2]), payload


def method(name, payload):
    return registry.invoke_device_method(ID, CloudToDeviceMethod(method_name=name, payload=payload))


def command(name, payload):
    return digital.invoke_command(ID, name, payload)


def component_command(name, payload):
    return digital.invoke_component_command(ID, "thermostat1", name, payload)


@check("a twin before any connection")
def _():
    twin = registry.get_twin(ID)
    equal(twin.additional_properties, {"modelId": ""}, "additional_properties")
    equal((twin.version, twin.etag, twin.connection_state, twin.tags), (2, "AAAAAAAAAAE=", "Disconnected", None), "version, etag, state, tags")
    for name in "desired", "reported":
        section = getattr(twin.properties, name)
        equal(sorted(section), ["$metadata", "$version"], f"members of {name}")
        equal((section["$version"], list(section["$metadata"])), (1, ["$lastUpdated"]), name)


with Device(connection_string, MODEL, answer) as device:

    @check("additional_properties of a twin are exactly the model id")
    def _():
        twin = registry.get_twin(ID)
        equal(twin.additional_properties, {"modelId": MODEL}, "additional_properties")
        equal(twin.connection_state, "Connected", "connection_state")
        for what in twin.properties, twin.capabilities, twin.x509_thumbprint:
            equal(what.additional_properties, {}, f"additional_properties of {type(what).__name__}")
        rows = registry.protocol.query.get_twins(QuerySpecification(query=f"SELECT * FROM devices WHERE deviceId = '{ID}'"))
        equal([row.additional_properties for row in rows], [{"modelId": MODEL}], "additional_properties of the queried twin")

    @check("a device without a model has an empty one")
    def _():
        with Device(register("payload-plain")):
            equal(registry.get_twin("payload-plain").additional_properties, {"modelId": ""}, "additional_properties")

    @check("methods: every value both ways")
    def _():
        for value in VALUES:
            result = method("echo_200", value)
            said = "" if value is None else value  # the SDK's own rule
            equal(heard.pop(), ("echo_200", said), f"what the device heard of {value!r}")
            equal((result.status, result.payload), (200, said), f"result of {value!r}")

    @check("commands: every value both ways")
    def _():
        for value in VALUES[1:]:  # the SDK sends no null
            equal(command("echo_200", value), value, f"result of {value!r}")
            equal(heard.pop(), ("echo_200", value), f"what the device heard of {value!r}")

    @check("component commands: every value both ways")
    def _():
        for value in VALUES[1:]:
            equal(component_command("echo_200", value), value, f"result of {value!r}")
            equal(heard.pop(), ("thermostat1*echo_200", value), f"what the device heard of {value!r}")

    @check("a datetime is its JSON string in all three forms")
    def _():
        when = datetime.datetime(2020, 10, 21, 14, 10, 42, 417126)
        text = "2020-10-21T14:10:42.417126Z"
        for call, name in (method, "echo_200"), (command, "echo_200"), (component_command, "thermostat1*echo_200"):
            result = call("echo_200", when)
            equal(heard.pop(), (name, text), "what the device heard")
            equal(getattr(result, "payload", result), text, "result")

    @check("the device's status reaches the caller, whatever it is")
    def _():
        for status in 0, 1, 200, 202, 404, 500, 70000, -5:
            result = method(f"echo_{status}", "x")
            equal((result.status, result.payload), (status, "x"), "result")
            raw = digital.protocol.digital_twin.invoke_root_level_command(ID, f"echo_{status}", "x", raw=True)
            equal((raw.headers["x-ms-command-statuscode"], raw.output, raw.response.status_code), (status, "x", 200), "command")
            heard.clear()

    @check("the device gets exactly the patch and $version, in order")
    def _():
        version = registry.get_twin(ID).properties.desired["$version"]
        for patch in (
            {"targetTemperature": 42},
            {"thermostat1": {"__t": "c", "targetTemperature": 20}},
            {"z": 1, "a": {"y": [1, {"k": 2}], "b": {}}, "m": "s"},
            {"z": None, "a": {"b": None}, "never": None},
            {"targetTemperature": 42},
        ):
            version += 1
            registry.update_twin(ID, Twin(tags={"n": version}, properties=TwinProperties(desired=patch)))
            got = device.desired.get(timeout=10)
            equal(json.dumps(got), json.dumps(patch | {"$version": version}), "desired patch")

    @check("a replaced twin reaches the device as what changed")
    def _():
        registry.replace_twin(ID, Twin(properties=TwinProperties(desired={"a": 1, "b": 2})))
        device.desired.get(timeout=10)
        version = registry.replace_twin(ID, Twin(properties=TwinProperties(desired={"a": 3, "c": 4}))).properties.desired["$version"]
        got = device.desired.get(timeout=10)
        equal(got, {"a": 3, "b": None, "c": 4, "$version": version}, "desired patch")

    @check("a digital twin patch is one desired patch")
    def _():
        registry.replace_twin(ID, Twin(properties=TwinProperties(desired={"old": 1})))
        before = device.desired.get(timeout=10)["$version"]
        digital.update_digital_twin(
            ID,
            [
                {"op": "add", "path": "/new", "value": {"x": 1}},
                {"op": "replace", "path": "/thermostat1/targetTemperature", "value": 21.8},
                {"op": "remove", "path": "/old"},
            ],
        )
        want = {"new": {"x": 1}, "thermostat1": {"__t": "c", "targetTemperature": 21.8}, "old": None, "$version": before + 1}
        equal(device.desired.get(timeout=10), want, "desired patch")

    @check("the device reads its twin as it is")
    def _():
        device.client.patch_twin_reported_properties({"kept": [1, "x"], "gone": 1})
        device.client.patch_twin_reported_properties({"gone": None, "nested": {"a": 1.5}})
        own, twin = device.client.get_twin(), registry.get_twin(ID)
        for name in "desired", "reported":
            section = dict(getattr(twin.properties, name))
            section.pop("$metadata")
            equal(own[name], section, name)
        equal({k: v for k, v in own["reported"].items() if k != "$version"}, {"kept": [1, "x"], "nested": {"a": 1.5}}, "reported")

    @check("only what changed since goes to a device that was away, through its twin")
    def _():
        device.client.disconnect()
        version = registry.update_twin(ID, Twin(properties=TwinProperties(desired={"away": 1}))).properties.desired["$version"]
        device.client.connect()
        equal((device.client.get_twin()["desired"]["away"], device.desired.qsize()), (1, 0), "desired after reconnecting, patches pushed")
        registry.update_twin(ID, Twin(properties=TwinProperties(desired={"back": 1})))
        equal(device.desired.get(timeout=10), {"back": 1, "$version": version + 1}, "desired patch after reconnecting")
