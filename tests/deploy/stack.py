"""Runs the services of the compose file without a container engine.

Each is a machine of its own (tests/netns.py) with its own root directory, processes, host name, shared memory
and user. Command, environment, volumes, health check, networks and order of starting are those of the files.
The image's environment is the one that ATOMSCATTER_IMAGE names (deploy/docker/install.sh made it), or the one
that runs the tests.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import AS_OTHERS
from tests.deploy.compose_file import ROOT, image_environment, n_bytes, seconds
from tests.netns import fabric

HERE = Path(__file__).parent
IN_IMAGE = "/opt/atomscatter"
IMAGE = Path(os.environ.get("ATOMSCATTER_IMAGE", sys.prefix)).absolute()
_DEFAULT_SHM = 64 * 2**20
# Programs of images that are not ours, as this machine has them. Grafana is in no package registry.
_FOREIGN = {"prometheus": "prometheus"}
_PREFIXES = {"private": "10.77.1", "front": "10.77.2"}


class Container:
    """One instance of a service."""

    def __init__(self, stack, service, machine):
        self.machine = machine
        self.name = machine.name
        self.root = stack.directory / "containers" / self.name
        self.log = stack.directory / f"{self.name}.log"
        self._service = service
        self._program = [_FOREIGN[self.name]] if self.name in _FOREIGN else []
        # As an engine does: what is inside of another mount (the image below a volume at /tmp) comes later.
        self._mounts = sorted([*_program(), *stack.volumes_of(service)], key=_depth)
        self._process = None

    def start(self):
        if not self.root.exists():
            make_root(self.root)
        self._apply_sysctls()
        hosts = Path("/etc/netns") / self.machine.namespace / "hosts"
        command = [
            *self.machine.command("unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child"),
            *("sh", "-c", 'hostname "$0" && exec "$@"', self.name),
            *(str(HERE / "container.sh"), str(self.root), "ro" if self._service.get("read_only") else "rw"),
            str(n_bytes(self._service["shm_size"]) if "shm_size" in self._service else _DEFAULT_SHM),
            *(self._service["user"], *self._mounts, f"{hosts}:/etc/hosts:ro", "--"),
            *(*self._environment(), *self._program, *self._service["command"]),
        ]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while self._process.poll() is None and self._first_process() is None:
            time.sleep(0.01)

    def wait(self, seconds):
        """Exit code of a container that ends by itself."""
        return self._process.wait(seconds)

    def run(self, *command, **arguments):
        """Run a command inside, in its environment, as docker exec does."""
        user, group = self._service["user"].split(":")
        inside = [
            *("nsenter", f"--target={self._first_process()}", "--mount", "--uts", "--ipc", "--net", "--pid"),
            *("chroot", str(self.root), "setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"),
            *(*self._environment(), *command),
        ]
        return subprocess.run(inside, capture_output=True, text=True, check=False, **arguments)

    def wait_until_healthy(self):
        """As long as the file allows, restarted when it ends. Raises AssertionError with the log."""
        check = self._service["healthcheck"]
        assert check["test"][0] == "CMD"
        patience = seconds(check["start_period"]) + check["retries"] * seconds(check["interval"])
        deadline = time.monotonic() + patience
        answer = None
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                assert self._service["restart"] == "unless-stopped"
                self.start()
            with contextlib.suppress(subprocess.TimeoutExpired):
                answer = self.run(*check["test"][1:], timeout=seconds(check["timeout"]))
                if answer.returncode == 0:
                    return
            time.sleep(1)
        raise AssertionError(f"{self.name} is not healthy: {answer}\n{self.log.read_text()}")

    def kill(self):
        """SIGKILL to all its processes."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _first_process(self):
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return next(iter(children.read_text().split()), None)

    def _environment(self):
        image, place = {"PATH": "/usr/local/bin:/usr/bin:/bin"}, "/"
        if not self._program:
            place = "/srv/atomscatter"
            image = {k: v.replace(IN_IMAGE, str(IMAGE)) for k, v in image_environment().items()}
        variables = image | AS_OTHERS | self._service.get("environment", {})
        return ["env", "-i", f"--chdir={place}", *(f"{k}={v}" for k, v in variables.items())]

    def _apply_sysctls(self):
        # A container engine lets its host pass packets on, and new namespaces take over that setting.
        settings = {"net.ipv4.ip_forward": 1} | self._service.get("sysctls", {})
        for name, value in settings.items():
            path = f"/proc/sys/{name.replace('.', '/')}"
            subprocess.run(self.machine.command("sh", "-c", f"echo {value} > {path}"), check=True)


class Stack:
    """The services of a compose file that can run here; ``workers`` is what ``--scale worker=N`` takes."""

    def __init__(self, compose, directory, network, *, workers):
        self.directory = directory
        self._secrets = compose.get("secrets", {})
        self._services = {n: s for n, s in compose["services"].items() if "build" in s or _is_here(n)}
        self._networks = {name: network.network(name, _PREFIXES[name]) for name in compose["networks"]}
        self._publishers = []
        self._make_volumes(compose["volumes"])
        self.containers = {}
        for name, service in self._services.items():
            for number in range(workers if name == "worker" else 1):
                suffix = f"-{number + 1}" if name == "worker" else ""
                networks = [self._networks[n] for n in service.get("networks", [])]
                machine = network.machine(name + suffix, *networks)
                self.containers[name + suffix] = Container(self, service, machine)
        # As near as somebody can come who is not inside, and somebody who is, and has no token.
        self.outside = network.machine("outside", self._networks["front"])
        self.intruder = network.machine("intruder", self._networks["private"])

    def up(self):
        """Start all in the order that depends_on says, and wait until each is healthy."""
        waiting = dict(self._services)
        while waiting:
            ready = [n for n, s in waiting.items() if waiting.keys().isdisjoint(s.get("depends_on", {}))]
            assert ready, f"they wait for each other: {list(waiting)}"
            for name in ready:
                for container in self.of(name):
                    container.start()
            for name in ready:
                self._wait(name)
                del waiting[name]

    def of(self, service):
        """The containers of a service."""
        return [c for n, c in self.containers.items() if n == service or n.startswith(f"{service}-")]

    def volumes_of(self, service):
        """Its volumes as mounts."""
        mounts = []
        for volume in service.get("volumes", []):
            source, rest = volume.split(":", 1)
            place = ROOT / source if source.startswith("./") else self.volume(source)
            mounts.append(f"{place}:{rest}")
        for name in service.get("secrets", []):
            mounts.append(f"{ROOT / self._secrets[name]['file']}:/run/secrets/{name}:ro")
        return mounts

    def files(self):
        """Paths of all files that the containers and volumes hold now; directories may vanish meanwhile."""
        return [Path(place, name) for place, _, names in os.walk(self.directory) for name in names]

    def volume(self, name):
        """Directory of a named volume."""
        return self.directory / "volumes" / name

    def publish(self, service):
        """Open the published port of a service on this machine, at an unused port; its URL."""
        address, _, port = self._services[service]["ports"][0].split(":")
        assert address == "127.0.0.1"
        return self.reach(service, port)

    def reach(self, service, port):
        """A way to a port of a service from this machine; its URL."""
        machine = self.containers[service].machine
        with socket.create_server(("127.0.0.1", 0)) as listening:
            relay = [sys.executable, str(HERE / "publish.py"), str(listening.fileno())]
            command = machine.command(*relay, machine.addresses[-1], str(port))
            self._publishers.append(subprocess.Popen(command, pass_fds=[listening.fileno()]))
            return f"http://127.0.0.1:{listening.getsockname()[1]}"

    def down(self):
        """End everything."""
        for container in self.containers.values():
            container.kill()
        for process in self._publishers:
            process.kill()
            process.wait()

    def _wait(self, name):
        for container in self.of(name):
            if "healthcheck" in self._services[name]:
                container.wait_until_healthy()
            else:
                assert container.wait(60) == 0, container.log.read_text()

    def _make_volumes(self, names):
        """Empty volumes; like an engine, give them the owner that their place has in the image."""
        image = self.directory / "image"
        make_root(image)
        for name in names:
            self.volume(name).mkdir(parents=True)
            for service in self._services.values():
                for place in (v.split(":")[1] for v in service["volumes"] if v.startswith(f"{name}:")):
                    self._copy_owner(image / place.lstrip("/"), self.volume(name), service["user"])
        # The state's own directories are in the image as well, where the other volumes are mounted.
        for name in ("models", "stores"):
            (self.volume("state") / name).mkdir()

    @staticmethod
    def _copy_owner(place, volume, user):
        if place.exists():
            found = place.stat()
            os.chown(volume, found.st_uid, found.st_gid)
            volume.chmod(found.st_mode)
        else:  # of an image that is not ours: its owner is its user
            os.chown(volume, *map(int, user.split(":")))


def _is_here(name):
    return name in _FOREIGN and shutil.which(_FOREIGN[name]) is not None


def make_root(root):
    """What the image has beside the programs: user and directories, by the Dockerfile's own script."""
    (root / "etc").mkdir(parents=True)
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    for name in ("passwd", "group"):
        (root / "etc" / name).write_bytes((Path("/etc") / name).read_bytes())
    subprocess.run([ROOT / "deploy" / "docker" / "user.sh", root], check=True)


def _program():
    """The image's environment, where its Python is from, and this checkout, to which it may refer."""
    places = {IMAGE, Path(sys.base_prefix), ROOT}
    return [f"{place}:{place}:ro" for place in sorted(places)]


def _depth(mount):
    """Parts of the path where it is mounted."""
    return len(Path(mount.split(":")[1]).parts)


@contextlib.contextmanager
def running(compose, directory, *, workers):
    """The stack, healthy."""
    with fabric() as network:
        stack = Stack(compose, directory, network, workers=workers)
        try:
            stack.up()
            yield stack
        finally:
            stack.down()
