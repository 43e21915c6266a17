"""A Thermostat without components. It sends the temperature it reads from its input; the input's end ends it."""
import json
import sys

from azure.iot.device import IoTHubDeviceClient, Message, MethodResponse

client = IoTHubDeviceClient.create_from_connection_string(sys.argv[1], product_info="dtmi:com:example:Thermostat;1")


def on_method(request):
    print("method", request.name, json.dumps(request.payload), flush=True)
    report = {"maxTemp": 10.96, "minTemp": 10.96, "avgTemp": 10.96, "startTime": request.payload, "endTime": request.payload}
    client.send_method_response(MethodResponse.create_from_method_request(request, 200, report))


def on_desired(patch):
    print("desired", json.dumps(patch), flush=True)
    version = patch.pop("$version")
    acknowledged = {name: {"ac": 200, "ad": "done", "av": version, "value": value} for name, value in patch.items()}
    client.patch_twin_reported_properties(acknowledged)
    print("acknowledged", flush=True)


client.connect()
client.patch_twin_reported_properties({"maxTempSinceLastReboot": 10.96})
client.on_method_request_received = on_method
client.on_twin_desired_properties_patch_received = on_desired
print("ready", flush=True)
for line in sys.stdin:
    message = Message(json.dumps({"temperature": int(line)}), content_encoding="utf-8", content_type="application/json")
    client.send_message(message)
    print("sent", flush=True)
client.shutdown()
