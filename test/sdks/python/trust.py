"""What the three clients do with the hub's certificate: argv[1] says whether it is trusted."""
import os
import sys

from azure.eventhub import EventHubConsumerClient
from azure.iot.device import IoTHubDeviceClient
from azure.iot.hub import IoTHubRegistryManager

from checks import EVENTS, SERVICE, equal
from report import check

TRUSTED, DEVICE = sys.argv[1] == "trusted", sys.argv[2]


def causes(error):
    while error is not None:
        yield f"{type(error).__name__}: {error}"
        error = error.__cause__ or error.__context__


def judge(function):
    """Fails unless function succeeds just if the hub is trusted, and else for the certificate's sake."""
    try:
        function()
    except Exception as error:
        text = " <- ".join(causes(error))
        assert not TRUSTED, text
        assert "CERTIFICATE_VERIFY_FAILED" in text, f"failed for another reason: {text}"
        return
    assert TRUSTED, "succeeded without trust"


@check("the device client")
def _():
    client = IoTHubDeviceClient.create_from_connection_string(DEVICE, connection_retry=False)
    try:
        judge(client.connect)
    finally:
        client.shutdown()


@check("the REST client")
def _():
    judge(lambda: IoTHubRegistryManager.from_connection_string(SERVICE).get_devices(1))


@check("the Event Hubs client")
def _():
    with EventHubConsumerClient.from_connection_string(EVENTS, consumer_group="$Default", retry_total=0) as client:
        judge(client.get_eventhub_properties)


@check("the Event Hubs client in the emulator's plain way, which needs no trust")
def _():
    with EventHubConsumerClient.from_connection_string(os.environ["EVENTHUB_EMULATOR_CONNECTION_STRING"], consumer_group="$Default", retry_total=0) as client:
        equal(client.get_eventhub_properties()["eventhub_name"], "my-pnp-hub", "event hub")
