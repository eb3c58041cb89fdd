"""Faults of messages: copies, and ones that nobody of ours has sent."""

import base64
import json
import pickle
import time
import uuid
from typing import Any

from jobs.drill.faults.broker import client
from jobs.drill.registry import Scene, fault


@fault("copies", "Messages come several times, late and in any order.", row=27, weight=5)
def copies(scene: Scene) -> None:
    scene.figures["copies"] = scene.system.inside("copy_messages", seed=scene.seed, count=60)


class _Pickled:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("a pickle was loaded",)


def forged(name: str) -> list[bytes]:
    """Messages that a broker may hold if strangers write to it, as Kombu keeps them in Redis."""

    def message(body: bytes, content_type: str, headers: dict[str, Any], **more: Any) -> bytes:
        properties = {
            "body_encoding": "base64",
            "delivery_info": {"exchange": "", "routing_key": "default"},
            "delivery_tag": str(uuid.uuid4()),
            "delivery_mode": 2,
            "priority": 0,
            "correlation_id": headers.get("id"),
            **more,
        }
        envelope = {
            "body": base64.b64encode(body).decode(),
            "content-encoding": "utf-8",
            "content-type": content_type,
            "headers": headers,
            "properties": properties,
        }
        return json.dumps(envelope).encode()

    body = json.dumps([[], {}, {}]).encode()
    known = {"lang": "py", "task": name, "id": str(uuid.uuid4()), "root_id": None, "argsrepr": "", "kwargsrepr": ""}
    return [
        message(body, "application/json", {**known, "task": "os.system", "id": str(uuid.uuid4())}),
        message(pickle.dumps(([_Pickled()], {}, {})), "application/x-python-serialize", known),
        message(b"{not json", "application/json", {**known, "id": str(uuid.uuid4())}),
        message(body, "application/json", {**known, "id": None}),
        message(body, "application/json", {**known, "id": "x" * 5000}),
        message(json.dumps({"args": 1}).encode(), "application/json", {**known, "id": str(uuid.uuid4())}),
        # It says that the ledger knows it, and it does not.
        message(body, "application/json", {**known, "id": str(uuid.uuid4()), "ledger": 1}),
        message(b"", "text/plain", {}),
    ]


@fault("forged", "Messages of strangers: foreign names, pickles, broken JSON.", row=28, weight=3)
def forge(scene: Scene) -> None:
    system = scene.system
    before = {worker.name: worker.starts for worker in system.workers}
    with system.broker.lock:
        for message in forged("drill.part") * 3:
            client(scene).lpush("default", message)
    time.sleep(2)
    if not scene.figures["alone"]:
        return
    after = {worker.name: worker.starts for worker in system.workers}
    scene.expect(before == after, f"workers ended of forged messages: starts {before} became {after}")
    taken = scene.rows("SELECT id FROM jobs_job WHERE task = 'os.system'")
    scene.expect(not taken, f"messages for os.system became jobs: {taken}")
