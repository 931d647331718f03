"""Tables whose rows lie on several processes: the answers, the training and the file are those of one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from launched import launched
from sharded_training import OPTIMIZERS, SCHEMA, STEPS, alone, network, sharded, together, whole
from torch.distributed.device_mesh import init_device_mesh

import zoo
from zoo import registry
from zoo.parallel.checkpoints import ShardedCheckpoints
from zoo.parallel.processes import processes
from zoo.parallel.saving import save

pytestmark = pytest.mark.multiprocess


@pytest.fixture(scope="module")
def two(tmp_path_factory: Any) -> Path:
    """What two processes found."""
    folder: Path = tmp_path_factory.mktemp("two")
    launched(2, ["trained", "resumed", "refused", "memory", "loaded", "fresh"], folder)
    return folder


def read(folder: Path, name: str, count: int = 2) -> list[Any]:
    return [torch.load(folder / f"{name}-{rank}.pt") for rank in range(count)]


def furthest(one: dict[str, Any], other: dict[str, Any]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[key].double() - other[key].double()).abs().max()) for key in one if one[key].numel())


@pytest.mark.parametrize("arch", OPTIMIZERS)
def test_twenty_steps_are_those_of_one_process(two: Path, arch: str) -> None:
    """Parts of a batch differ in size, one is empty, and gradients are clipped."""
    expected = alone(arch).state_dict()
    start = network(arch).state_dict()
    assert furthest(expected, start) > 0.01
    for found in read(two, arch):
        assert furthest(found["state"], expected) < 1e-5


def test_no_process_holds_a_whole_table_or_its_optimizer_states(two: Path) -> None:
    first, second = read(two, "deepfm")
    for key, weight in alone("deepfm", 0).named_parameters():
        if key in first["rows"]:
            half, rest = (len(weight) + 1) // 2, len(weight) // 2
            assert (first["rows"][key], second["rows"][key]) == (half, rest)
            assert first["states"][key] == [half] * 2 and second["states"][key] == [rest] * 2
    assert len(alone("deepfm", 0).embed.tables[0].weight) % 2, "one table has an odd number of rows"
    assert set(first["rows"]) == {"embed.tables.0.weight", "wide.table.weight"}


def test_a_process_needs_memory_for_its_own_rows(two: Path) -> None:
    for found in read(two, "memory"):
        table = found["table"]
        assert found["fresh"] < 0.75 * table  # half, and a block that is drawn
        assert found["trained"] < 3.2 * table  # of weights, gradients, two states and a temporary: one process needs 5


def test_a_process_copies_its_own_rows_of_a_file(two: Path) -> None:
    for found in read(two, "loaded"):
        assert found["same"] and 0.4 * found["table"] < found["taken"] < 0.7 * found["table"]


@pytest.mark.parametrize("arch", OPTIMIZERS)
def test_the_file_is_what_one_process_writes(two: Path, arch: str, tmp_path: Path) -> None:
    plain = network(arch)
    plain.load_state_dict(read(two, arch)[0]["state"])
    zoo.save(plain, tmp_path)
    for name in ("model.safetensors", "config.json", "README.md"):
        assert (two / arch / name).read_bytes() == (tmp_path / name).read_bytes()
    loaded = zoo.load(two / arch)
    assert furthest(loaded.state_dict(), plain.state_dict()) == 0


def test_a_run_goes_on_from_a_checkpoint_to_the_bit(two: Path) -> None:
    for found in read(two, "resumed"):
        assert found["step"] == 15 and furthest(found["through"], found["again"]) == 0
    assert [one.name for one in sorted((two / "checkpoints").iterdir())] == ["step-000000010", "step-000000015"]
    for told in read(two, "another run"):
        assert "belongs to another run, which differs in of" in told


def test_another_number_of_processes_goes_on_from_it(two: Path) -> None:
    with processes() as mesh:
        model, optimizer = sharded("deepfm", mesh)
        step = ShardedCheckpoints(two / "checkpoints", {"of": "deepfm"}, mesh).resume(model, optimizer)
        together(model, optimizer, mesh, range(step, STEPS))
        assert furthest(whole(model), read(two, "resumed")[0]["through"]) < 1e-6


def test_what_one_process_refuses_all_refuse(two: Path) -> None:
    for told in read(two, "refused"):
        assert "The processes have different networks" in told["other"]
        assert told["damaged"].startswith("ValueError: Process 1 of 2: Row 'embed' of deepfm is damaged: tables.0.")
        assert told["edited"].startswith("FileError: Process 0 of 2: deepfm is not what its spec says")
        assert told["blocked"].startswith("FileError: Process 0 of 2: ") and "a file" in told["blocked"]
        assert "neither int8 nor sharded already" in told["twice"]
        assert told["plain save"].startswith("FileError") and "ShardedTable" in told["plain save"]
    assert zoo.load(two / "afterwards").spec.name == "deepfm"


def test_fresh_weights_do_not_depend_on_the_number_of_processes(two: Path) -> None:
    spec = registry.spec("wide_deep", schema=SCHEMA)
    with processes() as mesh:
        here = whole(zoo.shard_tables(zoo.build(spec, device="meta"), mesh, seed=3))
        other = whole(zoo.shard_tables(zoo.build(spec, device="meta"), mesh, seed=4))
    for found in read(two, "fresh"):
        assert furthest(found, here) == 0 and furthest(found, other) > 0
    usual = zoo.build(spec).state_dict()
    for key, value in here.items():
        assert (value.shape, value.dtype) == (usual[key].shape, usual[key].dtype)
        if usual[key].numel() > 200:
            torch.testing.assert_close(value.std(), usual[key].std(), rtol=0.2, atol=0)


def test_fewer_rows_than_processes(tmp_path: Path) -> None:
    launched(3, ["few"], tmp_path)
    found = read(tmp_path, "few", 3)
    assert [one["rows"] for one in found] == [1, 1, 0] and all(one["near"] for one in found)
    assert zoo.load(tmp_path / "few").embed.tables[0].weight.shape == (2, 16)


@pytest.mark.nightly
def test_four_processes_are_one_too(tmp_path: Path) -> None:
    launched(4, ["trained", "resumed", "fresh"], tmp_path)
    for arch in OPTIMIZERS:
        expected = alone(arch).state_dict()
        assert all(furthest(found["state"], expected) < 1e-5 for found in read(tmp_path, arch, 4))
        assert furthest(zoo.load(tmp_path / arch).state_dict(), read(tmp_path, arch, 4)[0]["state"]) == 0
    assert all(furthest(found["through"], found["again"]) == 0 for found in read(tmp_path, "resumed", 4))
    with processes() as mesh:  # one goes on from what four wrote
        model, optimizer = sharded("deepfm", mesh)
        step = ShardedCheckpoints(tmp_path / "checkpoints", {"of": "deepfm"}, mesh).resume(model, optimizer)
        together(model, optimizer, mesh, range(step, STEPS))
        assert furthest(whole(model), read(tmp_path, "resumed", 4)[0]["through"]) < 1e-5


def test_what_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a process group: start the program by torchrun"):
        zoo.shard_tables(network("deepfm"))
    with processes() as mesh:
        with pytest.raises(ValueError, match="resnet20 has no embedding tables in float32 to share"):
            zoo.shard_tables(zoo.create("resnet20", weights=None), mesh)
        grid = init_device_mesh("cpu", (1, 1), mesh_dim_names=("pp", "dp"))
        with pytest.raises(ValueError, match=r"a mesh of one axis, not of 2; of a larger mesh give the part"):
            zoo.shard_tables(network("deepfm"), grid)
        zoo.shard_tables(network("deepfm"), grid["dp"])
        model = zoo.shard_tables(network("deepfm"), mesh)
        x, expected = model.spec.input.example(1), network("deepfm")
        torch.testing.assert_close(model(x), expected(x))
        save(model, tmp_path)
    with pytest.raises(zoo.FileError, match=r"not shared among processes; zoo.save writes it"):
        save(network("deepfm"), tmp_path)
