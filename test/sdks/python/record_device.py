"""The device's half of the page, one step for each name it reads from its input; it answers each with "done"."""
import json
import sys

from azure.iot.device import IoTHubDeviceClient, Message, MethodResponse

client = IoTHubDeviceClient.create_from_connection_string(sys.argv[1], product_info=sys.argv[2])


def on_method(request):
    client.send_method_response(MethodResponse.create_from_method_request(request, 200, {"maxTemp": 98.34}))


def send(component, properties):
    message = Message(json.dumps({"temperature": 12}), content_encoding="utf-8", content_type="application/json")
    if component:
        message.custom_properties["$.sub"] = component
    message.custom_properties.update(properties)
    client.send_message(message)


def send_ids():
    message = Message("12")
    message.message_id = "m 1/2"
    message.correlation_id = "c+1"
    client.send_message(message)


def listen():
    client.on_method_request_received = on_method


def follow():
    client.on_twin_desired_properties_patch_received = lambda patch: None


steps = {
    "connect": client.connect,
    "telemetry": lambda: send("", {}),
    "telemetry-component": lambda: send("thermostat1", {}),
    "telemetry-properties": lambda: send("", {"colour": "blue & green/50%", "größe": "ä+b"}),
    "telemetry-ids": send_ids,
    "get-twin": client.get_twin,
    "report": lambda: client.patch_twin_reported_properties({"maxTempSinceLastReboot": 10.96}),
    "method": listen,
    "desired": follow,
    "disconnect": client.disconnect,
}
for line in sys.stdin:
    steps[line.strip()]()
    print("done", flush=True)
client.shutdown()
