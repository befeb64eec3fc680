"""The frame of the Python client checks.

A check is a function. All of them run; each failure is printed with its traceback, and the process
then exits with 1. `tests/it/clients.rs` starts the gateways and names them in the environment.
"""

import faulthandler
import os
import sys
import time
import traceback

# What a healthy mock says.
TEXT = "w0 w1 w2 w3 "
# What its tools are called with.
ARGUMENTS = '{"path":"src/main.rs"}'
KEY = os.environ["WEIR_KEY"]
# One gateway per notice mode.
GATEWAYS = {mode: os.environ[f"WEIR_{mode.upper()}"] for mode in ("chunk", "event", "comment", "off")}
GATEWAY = GATEWAYS["chunk"]
# Ways of an upstream to end a stream too early (names of models).
CUTS = ("cut", "cut-half", "reset", "clean-cut", "stall", "error-event")

# A little less than `SCRIPT_TIME_MAX` of `tests/it/clients.rs`.
HANG_SECONDS = 170

_CHECKS = []


def check(function):
    """Registers a check."""
    _CHECKS.append((function.__name__, function))
    return function


def check_each(*values):
    """Registers a check once per value."""

    def register(function):
        for value in values:
            _CHECKS.append((f"{function.__name__}[{value}]", lambda value=value: function(value)))
        return function

    return register


def equal(got, wanted):
    """Fails unless both are the same."""
    if got != wanted:
        raise AssertionError(f"got {got!r}, wanted {wanted!r}")


def raises(kind, action):
    """Runs the action, which must raise just this kind, and returns what it raised."""
    try:
        result = action()
    except kind as error:
        return error
    raise AssertionError(f"no {kind}, but {result!r}")


def run():
    """Runs everything and leaves."""
    # Where a check hangs is said before the process is ended from outside.
    faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
    failed = 0
    start = time.monotonic()
    for name, function in _CHECKS:
        try:
            function()
        except Exception:
            failed += 1
            print(f"FAIL {name}\n{traceback.format_exc()}")
    print(f"{len(_CHECKS)} checks, {failed} failed, {time.monotonic() - start:.1f} s")
    sys.exit(1 if failed else 0)
