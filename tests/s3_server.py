"""An S3 server of its own for a test: moto's, a process that listens on this machine only."""

import contextlib
import subprocess
import sys

import boto3
from s3fs import S3FileSystem

from tests.ports import unused_port, wait_for_port

BUCKET = "stores"


class S3Server:
    """The process, and what a client's environment needs to find it."""

    def __init__(self, log):
        port = unused_port()
        self.endpoint = f"http://127.0.0.1:{port}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "not-a-secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        with log.open("w") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output)
        wait_for_port(port)
        self.client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id="testing",
            aws_secret_access_key="not-a-secret",
            region_name="us-east-1",
        )
        self.client.create_bucket(Bucket=BUCKET)

    def read(self, key):
        return self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def write(self, key, content):
        self.client.put_object(Bucket=BUCKET, Key=key, Body=bytes(content))

    def delete(self, key):
        self.client.delete_object(Bucket=BUCKET, Key=key)

    def keys(self, prefix):
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def keep_versions(self):
        """From now on, count how often each object is written."""
        self.client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})

    def times_written(self, prefix):
        """Key -> number of writes."""
        counts = {}
        for page in self.client.get_paginator("list_object_versions").paginate(Bucket=BUCKET, Prefix=prefix):
            for version in page.get("Versions", []):
                counts[version["Key"]] = counts.get(version["Key"], 0) + 1
        return counts


@contextlib.contextmanager
def s3_server(log):
    """A running server; it ends, and forgets everything, with the block."""
    server = S3Server(log)
    S3FileSystem.clear_instance_cache()  # connections of this process to an earlier server
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()
