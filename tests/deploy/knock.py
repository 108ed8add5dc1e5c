"""Knocks at ports of a machine: ``python knock.py HOST PORT...``; prints JSON.

For each port: whether it opens, what HTTP answers, and how gRPC answers each method that Ray has, or the one
of KNOCK_METHOD. A token in KNOCK_TOKEN is shown.
"""

import concurrent.futures
import http.client
import importlib
import json
import os
import pkgutil
import socket
import sys

REQUESTS = (
    "GET /",
    "GET /api/jobs/",
    "POST /api/jobs/",
    "POST /api/jobs/x/stop",
    "DELETE /api/jobs/x",
    "POST /api/job_agent/jobs/",
    "POST /api/job_agent/jobs/x/stop",
    "GET /api/version",
    "GET /nodes",
    "GET /logical/actors",
    "GET /api/v0/tasks",
    "GET /api/gcs_healthz",
    "GET /api/healthz",
    "GET /api/local_raylet_healthz",
    "GET /metrics",
    "GET /reset",
)
# Of services that Ray has in C++ alone.
HIDDEN = [
    "/ray.rpc.ObjectManagerService/Push",
    "/ray.rpc.ObjectManagerService/Pull",
    "/ray.rpc.syncer.RaySyncer/StartSync",
]
# The syncer of Ray 2.60 ends the whole process when this is missing, before it looks for the token.
NODE = ("node_id", "f" * 56)
_SECONDS = 3


def opens(host, port):
    try:
        socket.create_connection((host, port), timeout=_SECONDS).close()
    except OSError:
        return False
    return True


def http_statuses(host, port, token):
    """Request -> status; None where no HTTP is spoken."""
    found = {}
    for request in REQUESTS:
        method, path = request.split()
        connection = http.client.HTTPConnection(host, port, timeout=20)
        try:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            # An empty object: with the token, too, no job comes of it.
            connection.request(method, path, body=None if method == "GET" else "{}", headers=headers)
            found[request] = connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
    return found


def ray_methods():
    """All gRPC methods of Ray, ``/package.Service/Method``."""
    import ray.core.generated as generated

    names = [*HIDDEN]
    for module in pkgutil.iter_modules(generated.__path__):
        if module.name.endswith("_pb2"):
            described = importlib.import_module(f"ray.core.generated.{module.name}").DESCRIPTOR
            for service in described.services_by_name.values():
                names += [f"/{service.full_name}/{method.name}" for method in service.methods]
    return names


def grpc_answers(host, port, methods, token):
    """Method -> status code; None where no gRPC is spoken."""
    import grpc

    found = {}
    with grpc.insecure_channel(f"{host}:{port}") as channel:
        for method in methods:
            metadata = [NODE, *([("authorization", f"Bearer {token}")] if token else [])]
            try:
                channel.unary_unary(method)(b"", timeout=20, metadata=metadata)
                found[method] = "OK"
            except grpc.RpcError as error:
                found[method] = error.code().name
                if error.code() is grpc.StatusCode.UNAVAILABLE:
                    return None
    return found


def knock(host, port, methods, token):
    http = http_statuses(host, port, token)
    return {"http": http, "grpc": grpc_answers(host, port, methods, token) if http is None else None}


def main(host, ports):
    token = os.environ.get("KNOCK_TOKEN")
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        is_open = dict(zip(ports, pool.map(lambda port: opens(host, port), ports), strict=True))
    methods = []
    if any(is_open.values()):
        methods = [os.environ["KNOCK_METHOD"]] if "KNOCK_METHOD" in os.environ else ray_methods()
    print(json.dumps({p: knock(host, p, methods, token) if is_open[p] else None for p in ports}))


if __name__ == "__main__":
    main(sys.argv[1], [int(p) for p in sys.argv[2:]])
