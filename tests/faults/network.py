"""Two network namespaces with a cable between them that can be cut."""

import contextlib
import os
import subprocess
import sys

import pytest


class Network:
    """Hosts "a" (10.93.N.1) and "b" (10.93.N.2); ``prefix`` runs a command on one of them."""

    def __init__(self):
        number = os.getpid() % 250 + 1
        self.names = {host: f"asf-{host}-{os.getpid()}" for host in "ab"}
        self.addresses = {"a": f"10.93.{number}.1", "b": f"10.93.{number}.2"}
        self._cable = {host: f"asf{host}{os.getpid()}" for host in "ab"}

    def prefix(self, host):
        return ("ip", "netns", "exec", self.names[host])

    def build(self):
        for name in self.names.values():
            _ip("netns", "add", name)
        _ip("link", "add", self._cable["a"], "type", "veth", "peer", "name", self._cable["b"])
        for host, name in self.names.items():
            _ip("link", "set", self._cable[host], "netns", name)
            _ip("-n", name, "address", "add", f"{self.addresses[host]}/24", "dev", self._cable[host])
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", name, "link", "set", self._cable[host], "up")

    def cut(self):
        _ip("-n", self.names["b"], "link", "set", self._cable["b"], "down")

    def mend(self):
        _ip("-n", self.names["b"], "link", "set", self._cable["b"], "up")

    def reaches(self):
        """Whether b answers a, be it with a refusal."""
        code = (
            "import socket, sys; s = socket.socket(); s.settimeout(2);"
            "sys.exit(s.connect_ex((sys.argv[1], 9)) != 111)"  # ECONNREFUSED: nothing listens there
        )
        command = [*self.prefix("a"), sys.executable, "-c", code, self.addresses["b"]]
        return subprocess.run(command, check=False).returncode == 0

    def remove(self):
        for name in self.names.values():
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", name)


def _ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@contextlib.contextmanager
def network():
    made = Network()
    try:
        made.build()
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        made.remove()
        pytest.skip(f"network namespaces need root and iproute2: {getattr(error, 'stderr', error)}")
    try:
        yield made
    finally:
        made.remove()
