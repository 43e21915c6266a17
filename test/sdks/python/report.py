"""Checks that report themselves, one line of JSON each."""
import json
import time
import traceback


def check(name, seconds=None):
    """Runs the function below it and reports whether it raised, and how long it took: seconds, if it judges the past."""

    def run(function):
        began = time.monotonic()
        try:
            function()
        except BaseException:
            error = traceback.format_exc()
        else:
            error = None
        print(json.dumps({"check": name, "error": error, "seconds": time.monotonic() - began if seconds is None else seconds}), flush=True)

    return run
