"""MiniStack, an AWS emulator that nobody here wrote, in a process: IAM is evaluated, everything is TLS."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import boto3

from local.sam import bridge_address
from local.template import ACCOUNT, REGION, ROOT

PYTHON = ROOT / ".venv-ministack/bin/python"
ACCESS_KEY, SECRET_KEY = "rehearsal", "rehearsal-only"
START_SECONDS = 60.0


class MiniStack:
    """The emulator on free ports, from `with` to the end of its block.

    It answers on 127.0.0.1, where Docker takes a registry's own certificate for granted, and on the Docker
    bridge's address, which its Lambda containers and this machine both reach: what functions sign for users
    works for users.

    Parameters
    ----------
    container_environment : dict
        Further variables of every Lambda container.

    Attributes
    ----------
    url : str
        Where AWS is, for containers and for us.
    folder : Path
        Where it may write.
    registry : str
        Where Docker pushes images to.
    environment : dict
        What makes an AWS client, a curl or a Python of this machine meet this AWS instead of the real one.
    """

    def __init__(self, port: int, certificate: Certificate, container_environment: dict[str, str]) -> None:
        self.host, self.port = bridge_address(), port
        self.url = f"https://{self.host}:{port}"
        self.registry = f"127.0.0.1:{port}"
        self.certificate = certificate
        self._container_environment = container_environment
        self._folder = tempfile.TemporaryDirectory(prefix="ministack-")
        self.folder = Path(self._folder.name)
        self.process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    @property
    def instance(self) -> str:
        """Return what its containers are labelled with, as ``ministack.instance``."""
        return f"{socket.gethostname()}:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return {
            **own,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_CA_BUNDLE": str(self.certificate.path),
            "NO_PROXY": "*",
            "no_proxy": "*",
        }

    def client(self, service: str) -> Any:
        """Make an AWS client with the account's root credentials."""
        return boto3.client(  # type: ignore[call-overload]
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            verify=str(self.certificate.path),
        )

    def log(self) -> str:
        """Return what it has printed."""
        return (self.folder / "ministack.log").read_text(errors="replace")

    def __enter__(self) -> MiniStack:
        flags = [f"-e {name}={value}" for name, value in self._container_environment.items()]
        environment = {
            **self.environment,
            "AUTH": "true",
            "USE_SSL": "1",
            "MINISTACK_SSL_CERT": str(self.certificate.path),
            "MINISTACK_SSL_KEY": str(self.certificate.key),
            "MINISTACK_ACCOUNT_ID": ACCOUNT,
            "MINISTACK_REGION": REGION,
            "GATEWAY_PORT": str(self.port),
            "LAMBDA_DOCKER_FLAGS": " ".join(flags),
            "TMPDIR": self._folder.name,
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
        }
        command: list[str | Path] = [PYTHON, "-m", "hypercorn", "ministack.app:app", "--keep-alive", "75"]
        command += ["--certfile", self.certificate.path, "--keyfile", self.certificate.key]
        for host in (self.host, "127.0.0.1"):
            command += ["--bind", f"{host}:{self.port}"]
        self._log = (self.folder / "ministack.log").open("wb")
        self.process = subprocess.Popen(
            command,
            cwd=self._folder.name,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._wait()
        return self

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        context = ssl.create_default_context(cafile=self.certificate.path)
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/_ministack/health", context=context, timeout=5):
                    return
            except OSError as error:
                assert self.process
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.close()
                    raise RuntimeError(f"MiniStack did not start: {error}\n{self.log()}") from error
                time.sleep(0.2)

    def close(self) -> None:
        """End it; it removes its containers. Does nothing a second time."""
        if not self.process or not self._log:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self._folder.cleanup()


class Certificate:
    """A self-signed certificate for the names and addresses that a deployment on this machine goes by."""

    def __init__(self, folder: Path) -> None:
        self.path, self.key = folder / "certificate.pem", folder / "key.pem"
        names = ["DNS:localhost", "DNS:*.execute-api.localhost", "IP:127.0.0.1", f"IP:{bridge_address()}"]
        command: list[str | Path] = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        command += ["-keyout", self.key, "-out", self.path, "-subj", "/CN=rehearsal"]
        command += ["-addext", "basicConstraints=critical,CA:FALSE"]
        command += ["-addext", f"subjectAltName={','.join(names)}"]
        subprocess.run(command, check=True, capture_output=True)
