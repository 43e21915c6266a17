"""A TemperatureController with two thermostats and device information. It sends the components and temperatures it
reads from its input; the input's end ends it."""
import json
import sys

from azure.iot.device import IoTHubDeviceClient, Message, MethodResponse

client = IoTHubDeviceClient.create_from_connection_string(sys.argv[1], product_info="dtmi:com:example:TemperatureController;1")


def on_method(request):
    print("method", request.name, json.dumps(request.payload), flush=True)
    report = {"component": request.name.partition("*")[0], "maxTemp": 98.34, "startTime": request.payload}
    client.send_method_response(MethodResponse.create_from_method_request(request, 200, report))


def on_desired(patch):
    print("desired", json.dumps(patch), flush=True)
    version = patch.pop("$version")

    def acknowledge(values):
        return {name: value if name == "__t" else {"ac": 200, "ad": "done", "av": version, "value": value} for name, value in values.items()}

    components = {name: value for name, value in patch.items() if isinstance(value, dict) and value.get("__t") == "c"}
    answer = acknowledge({name: value for name, value in patch.items() if name not in components})
    answer.update({name: acknowledge(value) for name, value in components.items()})
    client.patch_twin_reported_properties(answer)
    print("acknowledged", flush=True)


client.connect()
client.patch_twin_reported_properties({"serialNumber": "some_serial_number"})
client.patch_twin_reported_properties({"thermostat1": {"maxTempSinceLastReboot": 98.34, "__t": "c"}})
client.patch_twin_reported_properties({"thermostat2": {"maxTempSinceLastReboot": 48.92, "__t": "c"}})
client.patch_twin_reported_properties(
    {"deviceInformation": {"swVersion": "5.5", "manufacturer": "Contoso", "totalStorage": 1024, "totalMemory": 32, "__t": "c"}}
)
client.on_method_request_received = on_method
client.on_twin_desired_properties_patch_received = on_desired
print("ready", flush=True)
for line in sys.stdin:
    component, temperature = line.split()
    message = Message(json.dumps({"temperature": int(temperature)}), content_encoding="utf-8", content_type="application/json")
    message.custom_properties["$.sub"] = component
    client.send_message(message)
    print("sent", flush=True)
client.shutdown()
