"""docker-compose.yml and Dockerfile as read by a machine, and their services as processes without containers."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from jobs.stack.parent import before_exec

ROOT = Path(__file__).resolve().parents[2]
SECRETS = {
    "SECRET_KEY": "k" * 50,
    "POSTGRES_PASSWORD": "ps5cret",
    "REDIS_PASSWORD": "rs5cret",
    "FLOWER_BASIC_AUTH": "operator:fs5cret",
}
_VARIABLE = re.compile(r"\$\$|\$\{(\w+)(?::([-?])([^}]*))?\}")


def load() -> dict[str, Any]:
    """The file as written, anchors followed."""
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def interpolated(node: Any, variables: dict[str, str]) -> Any:
    """Fill in ${NAME}, ${NAME:-default} and ${NAME:?message} as compose does. Raises LookupError for the last."""
    if isinstance(node, dict):
        return {key: interpolated(value, variables) for key, value in node.items()}
    if isinstance(node, list):
        return [interpolated(value, variables) for value in node]
    return _VARIABLE.sub(lambda match: _value(match, variables), node) if isinstance(node, str) else node


def _value(match: re.Match[str], variables: dict[str, str]) -> str:
    name, operator, rest = match.groups()
    if name is None:
        return "$"
    if variables.get(name):
        return variables[name]
    if operator == "?":
        raise LookupError(f"required variable {name} is missing a value: {rest}")
    return rest or ""


def services(**variables: str) -> dict[str, dict[str, Any]]:
    return interpolated(load()["services"], {**SECRETS, **variables})


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines()]
    return [(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in lines if line)]


@dataclass
class Composed:
    """Runs services' command lines and health checks here.

    environment: stands over each service's own, to point it at this machine's servers and ports.
    """

    folder: Path
    environment: dict[str, str]

    def environment_of(self, service: dict[str, Any]) -> dict[str, str]:
        path = f"{self.folder}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        image = {"PYTHONUNBUFFERED": "1", "DJANGO_SETTINGS_MODULE": "config.settings", "DATA": str(self.folder)}
        own = {name: str(value) for name, value in service.get("environment", {}).items()}
        return {"PATH": path, "HOME": str(self.folder), "SWITCHYARD_ENV_FILE": "", **image, **own, **self.environment}

    def run(self, service: dict[str, Any], command: list[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command, cwd=ROOT, env=self.environment_of(service), capture_output=True, text=True, timeout=120
        )

    def start(self, name: str, service: dict[str, Any], *more: str) -> "Running":
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*service["command"], *more],
                cwd=ROOT,
                env=self.environment_of(service),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=before_exec(signal.SIGKILL),
            )
        return Running(self, name, service, process, log)


@dataclass
class Running:
    composed: Composed
    name: str
    service: dict[str, Any]
    process: "subprocess.Popen[bytes]"
    log: Path

    def probe(self) -> "subprocess.CompletedProcess[str]":
        """Run the health check once, as the engine would."""
        kind, *command = self.service["healthcheck"]["test"]
        return self.composed.run(self.service, ["sh", "-c", *command] if kind == "CMD-SHELL" else command)

    def wait_healthy(self, timeout_seconds: float = 180) -> None:
        deadline = time.monotonic() + timeout_seconds
        while (probe := self.probe()).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{self.name} did not become healthy: {probe.stderr}\n{self.tail()}")
            time.sleep(0.5)

    def stop(self) -> int:
        """Stop it as the engine would. Returns its exit code; raises AssertionError when its grace is not enough."""
        grace = int(self.service["stop_grace_period"].removesuffix("s"))
        self.process.send_signal(signal.Signals[self.service.get("stop_signal", "SIGTERM")])
        try:
            return self.process.wait(grace)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} was not done after {grace} s:\n{self.tail()}") from None

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-5000:]
