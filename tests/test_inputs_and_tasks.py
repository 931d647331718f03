"""Every modality and every task keeps its word: its parts are there, and its examples are what it takes."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

import zoo
from reduced import reduced
from zoo import kinds, registry, tasks
from zoo.data.labelled_data import open_labelled_data
from zoo.inputs import INPUTS, Feature, ImageInput, Input, TableInput, TextInput
from zoo.kinds.kind import ROLES
from zoo.model.build import build
from zoo.spec import Block, ModelSpec, SpecError

INSTANCES: dict[str, Input] = {
    "image": ImageInput(size=(6, 9), channels=1, mean=(0.5,), std=(0.5,)),
    "text": TextInput(50, 20, padding=3, ends=(4, 5)),
    "table": TableInput(
        (
            Feature("user", num_embeddings=9),
            Feature("genres", "list", num_embeddings=7, hashed=True, max_length=3, pooling="sum"),
            Feature("age", "bucketed", boundaries=(18.0, 35.5)),
            Feature("price", "numeric", mean=3.5, std=2.0),
        ),
        crosses=(("user", "age", 50),),
    ),
}
PARTS = ("model", "preparer", "reader", "signature", "runner", "header", "samples", "loader")


def spec_of(given: Input, task: str = "image-classification") -> ModelSpec:
    return ModelSpec("any", (Block("global_pool", "pool"),), given, task)


@pytest.mark.parametrize("kind", INPUTS)
def test_an_input_goes_to_json_and_back(kind: str) -> None:
    spec = spec_of(INSTANCES[kind])
    written = json.loads(spec.dumps())
    assert written["input"]["type"] == kind and ModelSpec.from_json(written) == spec


@pytest.mark.parametrize("kind", ["image", "text"])
def test_files_of_before_inputs_had_types_load(kind: str) -> None:
    spec = spec_of(INSTANCES[kind])
    written = json.loads(spec.dumps())
    del written["input"]["type"]
    assert ModelSpec.from_json(written) == spec


@pytest.mark.parametrize("wrong", [["image"], 7, None, "", "picture", "zoo.inputs.image:ImageInput"])
def test_a_file_names_only_inputs_that_are_registered(wrong: object) -> None:
    written = json.loads(spec_of(INSTANCES["image"]).dumps())
    written["input"]["type"] = wrong
    with pytest.raises(SpecError, match="input is of type"):
        ModelSpec.from_json(written)


@pytest.mark.parametrize("value", [[[[[[1]]]]], list(range(9000)), {"a": 1}])
def test_a_hostile_field_is_refused(value: object) -> None:
    written = json.loads(spec_of(INSTANCES["image"]).dumps())
    written["input"]["mean"] = value
    with pytest.raises(SpecError):
        ModelSpec.from_json(written)


@pytest.mark.parametrize("kind", INPUTS)
def test_what_serves_an_input_is_there(kind: str) -> None:
    for part in PARTS:
        if getattr(INPUTS[kind], part):
            assert callable(INSTANCES[kind].fetch(part)), part


@pytest.mark.parametrize("kind", INPUTS)
def test_an_input_takes_its_own_examples_alone(kind: str) -> None:
    given = INSTANCES[kind]
    x = given.example(3)
    assert x.shape == (3, *given.shape()) and set(given.axes()) <= set(range(x.dim()))
    assert x.equal(given.example(3)) and given.probe().shape[0] == 1
    given.check("any", x)
    for other in INSTANCES.values():
        if other is not given:
            with pytest.raises(ValueError, match=r"^any takes"):
                given.check("any", other.example(3))


def test_specs_give_their_input_under_its_own_name_alone() -> None:
    assert spec_of(INSTANCES["image"]).pictures is INSTANCES["image"]
    with pytest.raises(SpecError, match=r"is for networks of pictures; .* takes texts"):
        _ = spec_of(INSTANCES["text"]).pictures
    with pytest.raises(SpecError, match=r"is for networks of texts; .* takes pictures"):
        _ = spec_of(INSTANCES["image"]).texts


@pytest.mark.parametrize("task", tasks.TASKS.values(), ids=list(tasks.TASKS))
def test_what_serves_a_task_is_there(task: tasks.Task) -> None:
    for part in ("judge", "targets", "loss", "shown"):
        if getattr(task, part):
            assert callable(task.fetch(part)), part
    assert task.usual in tasks.TASKS and bool(task.metrics) == bool(task.judge)
    assert bool(task.judge) == bool(task.targets) or task.continues, "a text that is continued is its own target"
    if task.texts:
        assert callable(task.fetch("texts")) and callable(task.fetch("layout"))
    for kind in task.models:
        given = INSTANCES[kind]
        head = registry.spec("ssdlite").rows if task.objects else spec_of(given, task.name).rows
        special = tasks.model_class(spec_of(given, task.name).replace(rows=head))
        assert issubclass(special, given.fetch("model")) and special is not given.fetch("model")
    with pytest.raises(ValueError, match="another task"):
        tasks.register(tasks.Task(task.name, "something else"))


@pytest.mark.parametrize("arch", ["resnet20", "bert_tiny", "gpt2", "all_minilm_l6_v2", "vit_tiny_patch16_224"])
def test_networks_have_tasks_that_are_known(arch: str) -> None:
    spec = registry.spec(arch)
    assert tasks.of(spec).name == spec.task
    assert (kinds.head(spec) is None) == (tasks.of(spec).outputs == "features")


def test_a_task_changes_the_class_for_its_own_inputs_alone() -> None:
    """A file that gives pictures the task of a decoder is built as one of pictures."""
    pictures = registry.spec("resnet20")
    assert type(build(pictures.replace(task="text-generation"))) is type(build(pictures))


def test_the_task_of_older_files_is_inferred() -> None:
    assert tasks.of(registry.spec("resnet20").replace(task="classification")).name == "image-classification"
    assert tasks.of(registry.spec("bert_tiny", 3).replace(task="glue")).name == "text-classification"
    assert tasks.of(registry.spec("bert_tiny").replace(task="x")).name == "feature-extraction"


def test_a_task_without_a_part_says_so() -> None:
    with pytest.raises(ValueError, match="A network for feature-extraction has no targets"):
        open_labelled_data((["a"], [0]), build(reduced(registry.spec("bert_tiny"))))


def test_every_kind_has_a_role() -> None:
    assert {kind.role for kind in kinds.KINDS.values()} == set(ROLES)
    for name, kind in kinds.KINDS.items():
        if kind.role == "head":
            assert kind.widths["out"] in kind.args, name


@pytest.mark.parametrize("arch", ["resnet20", "vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "gpt2"])
def test_without_its_head_a_network_gives_features(arch: str) -> None:
    spec = registry.spec(arch)
    bare = kinds.headless(spec)
    assert kinds.head(spec) and not kinds.head(bare) and not kinds.outputs(bare)
    assert kinds.headless(bare) == bare == kinds.check(bare)


def test_networks_are_listed_by_task() -> None:
    pictures, texts = (zoo.list_models(task=one) for one in ("image-classification", "text-generation"))
    assert "resnet20" in {name.split(".")[0] for name in pictures} and not set(pictures) & set(texts)
    by_task = {one: set(zoo.list_models(task=one)) for one in tasks.TASKS}
    assert set().union(*by_task.values()) == set(zoo.list_models())
    some = {*zoo.list_models()[::12], *sorted(by_task["text-generation"])[:2]}
    assert all(name in by_task[zoo.info(name).task] for name in some)
    with pytest.raises(ValueError, match=r"Unknown task 'seeing'; the tasks are .*image-classification"):
        zoo.list_models(task="seeing")


def test_fields_of_inputs_are_plain() -> None:
    """What files hold is bounded: scalars, and tuples of them."""
    for given in (*INSTANCES.values(), *INSTANCES["table"].features):  # type: ignore[attr-defined]
        for field in fields(given):
            assert isinstance(getattr(given, field.name), (bool, int, float, str, tuple)), field.name
