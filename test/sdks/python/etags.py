"""When an etag still holds, and when it does not: twins, digital twins and identities."""
from azure.iot.hub import DigitalTwinClient
from azure.iot.hub.models import Twin, TwinProperties

from checks import SERVICE, Device, equal, http_error, in_threads, manager, register
from report import check

ID = "etag-device"
registry = manager()
digital = DigitalTwinClient.from_connection_string(SERVICE)
connection_string = register(ID)


def desired(value):
    return Twin(properties=TwinProperties(desired={"value": value}))


def digital_etag():
    return digital.protocol.digital_twin.get_digital_twin(ID, raw=True).headers["ETag"]


def digital_patch(value, etag):
    return digital.update_digital_twin(ID, [{"op": "add", "path": "/value", "value": value}], etag)


@check("a reported write in between does not cost the etag")
def _():
    with Device(connection_string) as device:
        twin = registry.get_twin(ID)
        before = digital_etag()
        device.client.patch_twin_reported_properties({"reported": 1})
        again = registry.get_twin(ID)
        equal(again.etag, twin.etag, "etag after a reported write")
        equal(again.version, twin.version + 1, "version after a reported write")
        equal(digital_etag(), before, "ETag header of the digital twin after a reported write")
        updated = registry.update_twin(ID, desired(1), twin.etag)
        equal(updated.properties.desired["value"], 1, "desired")
        assert updated.etag != twin.etag, f"etag stays {twin.etag} after a desired write"


@check("a tag write in between costs it: 412")
def _():
    twin = registry.get_twin(ID)
    registry.update_twin(ID, Twin(tags={"site": "a"}))
    http_error(412, "PreconditionFailed", registry.update_twin, ID, desired(2), twin.etag)
    http_error(412, "PreconditionFailed", registry.replace_twin, ID, desired(2), twin.etag)
    equal(registry.get_twin(ID).properties.desired["value"], 1, "desired after the refusals")


@check("a desired write in between costs it: 412")
def _():
    twin = registry.get_twin(ID)
    registry.update_twin(ID, desired(3), twin.etag)
    http_error(412, "PreconditionFailed", registry.update_twin, ID, desired(4), twin.etag)
    equal(registry.get_twin(ID).properties.desired["value"], 3, "desired after the refusal")


@check("a digital twin write in between costs both etags, which are one")
def _():
    twin, header = registry.get_twin(ID), digital_etag()
    equal(header, f'"{twin.etag}"', "ETag header of the digital twin")
    digital_patch(5, header)
    http_error(412, "PreconditionFailed", registry.update_twin, ID, desired(6), twin.etag)
    http_error(412, "PreconditionFailed", digital_patch, 6, header)


@check("a digital twin patch accepts quoted, bare and * etags")
def _():
    for value, form in enumerate(['"{}"', "{}", "*", '"*"'], start=10):
        digital_patch(value, form.format(registry.get_twin(ID).etag))
        equal(registry.get_twin(ID).properties.desired["value"], value, f"desired after a patch with {form}")
        if "{}" in form:
            http_error(412, "PreconditionFailed", digital_patch, 0, form.format("AAAAAAAAAAA="))


@check("a twin patch accepts quoted, bare and * etags")
def _():
    update = registry.protocol.devices.update_twin
    for value, form in enumerate(['"{}"', "{}", "*", '"*"'], start=20):
        equal(update(ID, desired(value), form.format(registry.get_twin(ID).etag)).properties.desired["value"], value, f"desired with {form}")
        if "{}" in form:
            http_error(412, "PreconditionFailed", update, ID, desired(0), form.format("AAAAAAAAAAA="))


@check("of 50 writers with one etag exactly one wins")
def _():
    etag = registry.get_twin(ID).etag
    results = in_threads([lambda value=value: manager().update_twin(ID, desired(100 + value), etag) for value in range(50)])
    winners = [r for r in results if isinstance(r, Twin)]
    losers = [r for r in results if getattr(getattr(r, "response", None), "status_code", None) == 412]
    assert (len(winners), len(losers)) == (1, 49), f"{len(winners)} won, {len(losers)} were told 412: {results}"
    now = registry.get_twin(ID)
    equal((now.etag, now.properties.desired["value"]), (winners[0].etag, winners[0].properties.desired["value"]), "the twin afterwards")


@check("an identity has an etag of its own")
def _():
    device, twin = registry.get_device(ID), registry.get_twin(ID)
    equal(twin.device_etag, device.etag, "deviceEtag of the twin")
    registry.update_twin(ID, desired(200))
    equal(registry.get_device(ID).etag, device.etag, "identity's etag after a twin write")
    twin = registry.get_twin(ID)
    keys = device.authentication.symmetric_key
    updated = registry.update_device_with_sas(ID, device.etag, keys.primary_key, keys.secondary_key, "disabled", status_reason="a test")
    equal((updated.status, updated.status_reason), ("disabled", "a test"), "identity")
    assert updated.etag != device.etag, f"the identity's etag stays {device.etag}"
    again = registry.get_twin(ID)
    equal((again.etag, again.device_etag, again.status), (twin.etag, updated.etag, "disabled"), "twin after a write of the identity")
    http_error(412, "PreconditionFailed", registry.update_device_with_sas, ID, device.etag, keys.primary_key, keys.secondary_key, "enabled")
    http_error(412, "PreconditionFailed", registry.delete_device, ID, device.etag)
    http_error(409, "DeviceAlreadyExists", registry.create_device_with_sas, ID, keys.primary_key, keys.secondary_key, "enabled")
    registry.delete_device(ID, updated.etag)
    http_error(404, "DeviceNotFound", registry.get_device, ID)
    http_error(404, "DeviceNotFound", registry.get_twin, ID)
    http_error(404, "DeviceNotFound", digital.get_digital_twin, ID)
