"""How long each stage of a training took that keeps artifacts: a run that finds a stage done by another run has not saved its cost."""

import contextlib
import time

from recbole_prorec.artifacts import ArtifactStore

WATCHED = ("load", "save", "load_state", "save_state")
COMPUTED, REUSED, RESUMED = "computed", "reused", "resumed"


@contextlib.contextmanager
def watch_stages():
    """A list that grows by {"stage", "key", "how", "seconds", "cpu_seconds"}: the time since the last entry, as far as work was kept."""
    stages, clock = [], list(_now())

    def note(stage, key, how):
        spent = [now - before for now, before in zip(_now(), clock)]
        clock[:] = _now()
        stages.append({"stage": stage, "key": key, "how": how, "seconds": spent[0], "cpu_seconds": spent[1]})

    originals = {name: getattr(ArtifactStore, name) for name in WATCHED}
    for name, original in originals.items():
        setattr(ArtifactStore, name, _noting(original, name, note))
    try:
        yield stages
    finally:
        for name, original in originals.items():
            setattr(ArtifactStore, name, original)


def _now():
    return time.perf_counter(), time.process_time()


def _noting(original, name, note):
    def method(store, stage, key, *rest):
        result = original(store, stage, key, *rest)
        if name == "save" or name == "save_state" and rest[0].get("finished"):
            note(stage, key, COMPUTED)
        elif name == "load" and result is not None:
            note(stage, key, REUSED)
        elif name == "load_state" and result is not None:
            note(stage, key, REUSED if result.get("finished") else RESUMED)
        return result

    return method


def seconds_of_stages(records):
    """{key: (seconds, cpu_seconds)} of the stages that one of the runs computed from their beginning to their end."""
    found = {}
    for record in records:
        resumed = {stage["key"] for stage in record["stages"] if stage["how"] == RESUMED}
        own = {}
        for stage in record["stages"]:
            if stage["how"] == COMPUTED and stage["key"] not in resumed:
                before = own.get(stage["key"], (0.0, 0.0))
                own[stage["key"]] = before[0] + stage["seconds"], before[1] + stage["cpu_seconds"]
        found.update(own)
    return found


def full_seconds(record, computed):
    """The training's (seconds, cpu_seconds) with those of the stages that it found done, and whether some stage's are known to no run."""
    first = {stage["key"]: stage["how"] for stage in reversed(record["stages"])}
    found = {key for key, how in first.items() if how != COMPUTED}
    extra = [computed.get(key, (0.0, 0.0)) for key in sorted(found)]  # in one order, for one sum
    own = record["training_seconds"], record["training_cpu_seconds"]
    return tuple(mine + sum(part) for mine, part in zip(own, zip((0.0, 0.0), *extra))), bool(found - computed.keys())
