"""Machines of a test: network namespaces with addresses, names and wires. Needs root and iproute2.

A switch is a bridge in a namespace of its own: the machine that runs the tests is on none of the networks.
"""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

HOSTS = Path("/etc/netns")


def why_not():
    """Why there can be no namespaces here; None when there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need the ip command of iproute2"
    name = f"asc-{os.getpid()}-try"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode != 0:
        return "network namespaces are not allowed here"
    ip("netns", "del", name)
    return None


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Network:
    """A switch; ``prefix`` is like ``10.77.1``: machines have addresses of this /24."""

    def __init__(self, fabric, name, prefix):
        self.prefix = prefix
        self.namespace = f"{fabric.name}-{name}"
        self._last = 0
        ip("netns", "add", self.namespace)
        ip("-n", self.namespace, "link", "add", "bridge", "type", "bridge")
        ip("-n", self.namespace, "link", "set", "bridge", "up")

    def next_address(self):
        self._last += 1
        return f"{self.prefix}.{self._last}"


class Machine:
    """A namespace on some networks; ``addresses`` has one for each, in their order."""

    def __init__(self, fabric, name, networks):
        self.name = name
        self.namespace = f"{fabric.name}-{name}"
        self.networks = networks
        self.addresses = []
        ip("netns", "add", self.namespace)
        ip("-n", self.namespace, "link", "set", "lo", "up")
        for number, network in enumerate(networks):
            self._join(network, f"eth{number}")

    def _join(self, network, device):
        address = network.next_address()
        port = f"p{address.rpartition('.')[2]}"
        ip(
            *("-n", self.namespace, "link", "add", device, "type", "veth"),
            *("peer", "name", port, "netns", network.namespace),
        )
        ip("-n", network.namespace, "link", "set", port, "master", "bridge", "up")
        ip("-n", self.namespace, "address", "add", f"{address}/24", "dev", device)
        ip("-n", self.namespace, "link", "set", device, "up")
        self.addresses.append(address)

    def command(self, *command):
        """The command line that runs a command on this machine."""
        return ["ip", "netns", "exec", self.namespace, *command]

    def cut(self, network=0):
        """Pull the plug: nothing goes in or out any more."""
        ip("-n", self.namespace, "link", "set", f"eth{network}", "down")

    def mend(self, network=0):
        """Put the plug back."""
        ip("-n", self.namespace, "link", "set", f"eth{network}", "up")


class Fabric:
    """Networks and machines of one test; all namespaces begin with ``name``."""

    def __init__(self, name):
        self.name = name
        self.networks = {}
        self.machines = {}

    def network(self, name, prefix):
        self.networks[name] = Network(self, name, prefix)
        return self.networks[name]

    def machine(self, name, *networks):
        """A machine, which the others on its networks know by its name."""
        self.machines[name] = Machine(self, name, networks)
        for machine in self.machines.values():
            self._write_hosts(machine)
        return self.machines[name]

    def _write_hosts(self, machine):
        """``ip netns exec`` shows this file as /etc/hosts."""
        lines = ["127.0.0.1 localhost"]
        for other in self.machines.values():
            for network, address in zip(other.networks, other.addresses, strict=True):
                if network in machine.networks:
                    lines.append(f"{address} {other.name}")
        directory = HOSTS / machine.namespace
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "hosts").write_text("\n".join(lines) + "\n")

    def close(self):
        for part in [*self.machines.values(), *self.networks.values()]:
            ip("netns", "del", part.namespace)
            shutil.rmtree(HOSTS / part.namespace, ignore_errors=True)


@contextlib.contextmanager
def fabric():
    made = Fabric(f"asc-{os.getpid()}")
    try:
        yield made
    finally:
        made.close()
