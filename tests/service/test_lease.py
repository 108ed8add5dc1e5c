"""The thread that renews a lease."""

import time

from atomscatter.errors import ConfigError
from service.lease import LEASE, Lease
from service.local_storage import LocalStorage


class WithAHiccup(LocalStorage):
    """A place whose credentials cannot be had at one moment."""

    hiccups = 0

    def read(self, name):
        if self.hiccups:
            self.hiccups -= 1
            raise ConfigError("no credentials")
        return super().read(name)


def test_whatever_a_renewal_fails_with_the_next_one_is_tried(tmp_path):
    storage = WithAHiccup(tmp_path)
    with Lease(storage, beat_seconds=0.02).held() as require_writer:
        storage.hiccups = 1
        deadline = time.monotonic() + 60
        while storage.hiccups:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        before = (tmp_path / LEASE).read_bytes()
        while (tmp_path / LEASE).read_bytes() == before:
            assert time.monotonic() < deadline, "the lease is renewed"
            time.sleep(0.01)
        require_writer()
