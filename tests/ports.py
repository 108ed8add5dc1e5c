"""TCP ports for the servers of tests: free ones, and those that are to be listened on."""

import os
import random
import socket
import time

# Below Linux's ephemeral ports and above those that Ray gives its workers: between the choice and the start
# of the server, no other process is given one of these by chance.
# Of up to eight processes that run tests each has its own, so that no two draw the same one.
PORTS = range(20000 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8, 32000, 8)


def unused_port():
    """A port of 127.0.0.1 that nobody listens on; drawn at random, as several tests run at a time."""
    for port in random.SystemRandom().sample(PORTS, 100):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")


def wait_for_port(port, seconds=60, process=None):
    """Until somebody listens; TimeoutError when nobody does in time, or the process has ended before."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and (process is None or process.poll() is None):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise TimeoutError(f"nothing listens on port {port}")
