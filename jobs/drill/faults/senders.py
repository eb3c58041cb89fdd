"""Faults of those who send."""

import functools
import time

from jobs.drill.registry import Scene, fault
from jobs.drill.verdict import read_journals


@fault("sender-dies", "A sender dies right after its commit, before a message is sent.", row=19, weight=4)
def sender_dies(scene: Scene) -> None:
    system = scene.system
    for i in range(2):
        sender = system.sender(f"{scene.tag}-dying{i}", rate=1, seed=f"{scene.seed}/{i}", count=4, **{"as": "dying"})
        system.processes[sender.name] = sender
        system.ask(functools.partial(sender.start, once=True))
        deadline = time.monotonic() + 30
        while sender.pid is not None and time.monotonic() < deadline:
            time.sleep(0.05)
        system.ask(sender.end)
        for entry in read_journals(system.folder.glob(f"journal-{scene.tag}-dying{i}.jsonl")):
            scene.hit |= dict.fromkeys(entry.ids, entry.at)
