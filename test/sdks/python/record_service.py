"""The back end's half of the page, one snippet for each name it reads from its input; it answers each with "done"."""
import datetime
import os
import sys

from azure.iot.hub import DigitalTwinClient, IoTHubRegistryManager
from azure.iot.hub.models import CloudToDeviceMethod, QuerySpecification, Twin, TwinProperties

connection = os.environ["IOTHUB_CONNECTION_STRING"]
device_id = sys.argv[1]
KEY = "MDEyMzQ1Njc4OUFCQ0RFRg=="
registry = IoTHubRegistryManager(connection)
digital = DigitalTwinClient(connection)
since = datetime.datetime(2020, 10, 21, 14, 0)


def update(desired):
    twin = registry.get_twin(device_id)
    patch = Twin()
    patch.properties = TwinProperties(desired=desired)
    registry.update_twin(device_id, patch, twin.etag)


def replace():
    twin = registry.get_twin(device_id)
    document = Twin(tags={"site": "a"})
    document.properties = TwinProperties(desired={"targetTemperature": 20})
    registry.replace_twin(device_id, document, twin.etag)


def invoke(name):
    registry.invoke_device_method(device_id, CloudToDeviceMethod(method_name=name, payload=since))


def invoke_with_timeouts():
    registry.invoke_device_method(
        device_id,
        CloudToDeviceMethod(
            method_name="getMaxMinReport", payload={"since": 1.5}, response_timeout_in_seconds=7, connect_timeout_in_seconds=3
        ),
    )


def update_digital(path):
    digital.update_digital_twin(device_id, [{"op": "add", "path": path, "value": 42}])


def update_device():
    device = registry.get_device("other-device+1")
    registry.update_device_with_sas(device.device_id, device.etag, KEY, KEY, "disabled", status_reason="being repaired")


snippets = {
    "get-twin": lambda: registry.get_twin(device_id),
    "update-twin": lambda: update({"targetTemperature": 42}),
    "update-twin-component": lambda: update({"thermostat1": {"__t": "c", "targetTemperature": 42}}),
    "replace-twin": replace,
    "invoke-method": lambda: invoke("getMaxMinReport"),
    "invoke-method-component": lambda: invoke("thermostat1*getMaxMinReport"),
    "invoke-method-timeouts": invoke_with_timeouts,
    "get-digital-twin": lambda: digital.get_digital_twin(device_id),
    "update-digital-twin": lambda: update_digital("/targetTemperature"),
    "update-digital-twin-component": lambda: update_digital("/thermostat1/targetTemperature"),
    "invoke-command": lambda: digital.invoke_command(device_id, "getMaxMinReport", since, 3, 7),
    "invoke-command-component": lambda: digital.invoke_component_command(
        device_id, "thermostat1", "getMaxMinReport", since, 3, 7
    ),
    "query": lambda: registry.query_iot_hub(QuerySpecification(query="SELECT * FROM devices"), None, 10),
    "create-device": lambda: registry.create_device_with_sas("other-device+1", "", "", "enabled"),
    "get-device": lambda: registry.get_device("other-device+1"),
    "update-device": update_device,
    "list-devices": lambda: registry.get_devices(10),
    "delete-device": lambda: registry.delete_device("other-device+1"),
}
for line in sys.stdin:
    snippets[line.strip()]()
    print("done", flush=True)
