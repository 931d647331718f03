"""Students of the language networks and of Vision Transformers follow hidden states and attention of their teachers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

import zoo
from short_runs import Cut, Killed, assert_equal
from text_data import decoder, lines, pairs, translator, trunk
from zoo.factory import with_classes
from zoo.models.vit import sized
from zoo.parallel.processes import processes
from zoo.spec import ImageInput
from zoo.train import relations
from zoo.train.finetune import finetune
from zoo.train.guidance import Guidance, guidance
from zoo.train.layer_map import uniform
from zoo.train.log import TrainingLog
from zoo.train.loop import fit
from zoo.train.objective import Supervised
from zoo.train.recipe import Recipe
from zoo.train.relations import relation_distance, relation_heads
from zoo.train.teachers import Ensemble
from zoo.train.texts import open_texts

pytest.importorskip("timm")

STATES = Recipe(epochs=2, batch_size=16, learning_rate=5e-3, bfloat16=False, feature_weight=1.0)
ATTENTION = replace(STATES, feature_weight=0.0, attention_weight=1.0)
BOTH = replace(STATES, attention_weight=1.0)


def sharp(teacher: Any) -> Any:
    """The network with attention that is not uniform, as in a fresh one."""
    with torch.no_grad():
        for name, weight in teacher.named_parameters():
            if name.endswith("qkv.weight"):
                weight.mul_(30)
    return teacher


def encoders() -> tuple[Any, Any]:
    """A student, and a teacher that is wider, deeper and has other heads."""
    student, teacher = trunk(), trunk(1, dim=48, layers=4, heads=3)
    return with_classes(student, 2), sharp(with_classes(teacher, 2))


def decoders() -> tuple[Any, Any]:
    return decoder(), sharp(decoder(1))


def translators() -> tuple[Any, Any]:
    return translator(), sharp(translator(1, dim=48, layers=(2, 2), heads=(4, 4)))


def pictures() -> tuple[Any, Any]:
    sizes = {"heads": 2, "mlp_dim": 32, "prefix": 1, "head": "first", "num_classes": 2, "patch": 4, "size": (8, 8)}
    takes = ImageInput(size=(8, 8), mean=(0.5,) * 3, std=(0.5,) * 3)
    made = []
    for seed, (dim, layers) in enumerate(((16, 1), (24, 2))):
        torch.manual_seed(seed)
        made.append(zoo.build(sized("small", dim=dim, layers=layers, head_dim=dim // 2, takes=takes, **sizes)))
    return made[0], sharp(made[1])


def batch_of(student: Any, folder: Path) -> Any:
    if not student.spec.input.ids:
        return torch.randint(0, 255, (8, 8, 8, 3), dtype=torch.uint8), torch.arange(8) % 2
    made = pairs(folder / "a.jsonl", 40) if student.spec.texts.translates else lines(folder / "a.jsonl", 40)
    found: Any = open_texts(student.spec, made, student.spec.texts, learned=student.tokenizer)
    return next(found.stream([torch.arange(min(16, len(found)))], 0))


@pytest.mark.parametrize("recipe", [STATES, ATTENTION])
@pytest.mark.parametrize("made", [encoders, decoders, translators, pictures])
def test_a_student_comes_nearer(made: Any, recipe: Recipe, tmp_path: Path) -> None:
    student, teacher = made()
    batch = batch_of(student, tmp_path)
    objective = Supervised(student, replace(recipe, soft_weight=0.0, mirror=True), Ensemble([teacher], student))
    objective.prepare(student)
    learned: Any = objective.learned
    best = torch.optim.Adam([*student.parameters(), *learned.parameters()], lr=5e-3)
    seen: list[float] = []
    learned.register_forward_hook(lambda module, given, made: seen.append(made.item()))
    for _ in range(12):
        loss, _ = objective.loss(student, batch)
        best.zero_grad()
        loss.backward()
        best.step()
    assert 0 <= seen[-1] < 0.8 * seen[0]
    assert all(one.grad is None for one in teacher.parameters())


def test_gradients_of_the_inside_alone_reach_the_student(tmp_path: Path) -> None:
    student, teacher = encoders()
    x, _ = batch_of(student, tmp_path)
    learned: Any = guidance(student, teacher, BOTH)
    (_, own) = student(**x, taps=learned.taps)
    with torch.no_grad():
        (_, theirs) = teacher(**x, taps=learned.teacher_taps[0])
    learned(student, x, own, [theirs]).backward()
    reached = {name for name, one in student.named_parameters() if one.grad is not None and one.grad.any()}
    assert {"embed.tokens.weight", "h0.mlp.fc1.weight", "h1.attn.qkv.weight", "h1.mlp.fc2.weight"} <= reached
    assert not any(name.startswith(("pooler", "classifier")) for name in reached)
    assert all(one.grad is None for one in teacher.parameters())


def test_padding_does_not_count(tmp_path: Path) -> None:
    for made in (encoders, translators):
        student, teacher = made()
        x, _ = batch_of(student, tmp_path)
        learned: Any = guidance(student, teacher, BOTH)
        assert not x["attention_mask"].all(), "nothing is shown without padding"

        def far(inputs: Any, learned: Any = learned, student: Any = student, teacher: Any = teacher) -> Tensor:
            (_, own), (_, theirs) = (
                student(**inputs, taps=learned.taps),
                teacher(**inputs, taps=learned.teacher_taps[0]),
            )
            return learned(student, inputs, own, [theirs])

        other = dict(x)
        for name, mask in (("input_ids", "attention_mask"), ("decoder_input_ids", "decoder_attention_mask")):
            if name in x:
                other[name] = torch.where(x[mask].bool(), x[name], 5)
        torch.testing.assert_close(far(other), far(x))


def test_the_layer_map() -> None:
    assert uniform(2, 4) == [(0, 1), (1, 3)] and uniform(4, 12) == [(0, 2), (1, 5), (2, 8), (3, 11)]
    assert uniform(3, 1) == [(2, 0)] and uniform(4, 2) == [(1, 0), (3, 1)]
    for made, wanted in (
        (encoders, ("embed=embed", "h0=h1", "h1=h3")),
        (translators, ("embed=embed", "h0=h1", "target=target", "d0=d1")),
        (pictures, ("embed=embed", "h0=h1")),
    ):
        student, teacher = made()
        learned = Guidance(student, [teacher], BOTH)
        assert tuple(f"{one.own}={one.theirs}" for one in learned.hints.pairs[0]) == wanted
    student, teacher = encoders()
    asked = replace(BOTH, feature_rows="h0=h2, h1", attention_rows="h1=h2")
    learned = Guidance(student, [teacher], asked)
    assert learned.hints.taps == ("h0", "h1") and learned.hints.teacher_taps == (("h2", "h1"),)
    assert learned.taps == ("h0", "h1") and learned.teacher_taps == (("h2", "h1"),)


def test_relations_are_those_of_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (relation_heads(768, 768), relation_heads(384, 1024), relation_heads(7, 768)) == (48, 64, 1)
    assert relation_heads(312, 768) == 24
    own, theirs = torch.randn(3, 5, 32, requires_grad=True), torch.randn(3, 5, 64)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]])
    wanted = []
    for row, length in enumerate((5, 3, 2)):
        for head in range(4):
            one, two = own[row, :length].view(length, 4, 8)[:, head], theirs[row, :length].view(length, 4, 16)[:, head]
            p, q = (two @ two.T / 4).softmax(1), (one @ one.T / 8**0.5).softmax(1)
            wanted.append((p * (p / q).log()).sum())
    expected = torch.stack(wanted).sum() / (4 * 10)
    found = relation_distance(own, theirs, mask)
    torch.testing.assert_close(found, expected)
    (gradient,) = torch.autograd.grad(3 * found, own)
    torch.testing.assert_close(gradient, torch.autograd.grad(3 * expected, own)[0])
    monkeypatch.setattr(relations, "MOST", 1)  # one head at a time
    small = relation_distance(own, theirs, mask)
    torch.testing.assert_close(small, found)
    torch.testing.assert_close(torch.autograd.grad(3 * small, own)[0], gradient)
    later = theirs.clone()
    later[:, 4] += 1
    causal = [relation_distance(own[:, :4], one[:, :4], causal=True) for one in (theirs, later)]
    assert causal[0].equal(causal[1])


def test_a_cut_run_ends_as_the_uninterrupted_one(tmp_path: Path) -> None:
    file = lines(tmp_path / "train.jsonl", 48)
    ends: dict[str, Any] = {}

    def run(folder: str, cut: int, recipe: Recipe = BOTH) -> None:
        student, teacher = encoders()
        data: Any = open_texts(student.spec, file, student.spec.texts, learned=student.tokenizer)
        more: dict[str, Any] = {
            "after_step": Cut(cut),
            "save_seconds": 0,
            "log": TrainingLog(tmp_path / folder, quiet=True),
        }
        trained = fit(student, data, recipe, folder=tmp_path / folder, teacher=Ensemble([teacher], student), **more)
        ends[folder] = {key: value.clone() for key, value in trained.state_dict().items()}

    run("whole", 0)
    with pytest.raises(Killed):
        run("cut", 4)
    run("cut", 0)
    assert_equal(ends["cut"], ends["whole"])
    run("less", 0, replace(BOTH, recompute=True))
    assert all(value.allclose(ends["whole"][key], atol=1e-5) for key, value in ends["less"].items())
    run("plain", 0, replace(BOTH, feature_weight=0.0, attention_weight=0.0))
    assert any(not value.equal(ends["whole"][key]) for key, value in ends["plain"].items())


def test_a_network_in_a_wrapper_for_several_processes_learns_the_same(tmp_path: Path) -> None:
    found = []
    for wrap in (lambda model: model, DistributedDataParallel):
        student, teacher = encoders()
        objective = Supervised(student, BOTH, Ensemble([teacher], student))
        batch = batch_of(student, tmp_path)
        with processes():
            objective.loss(wrap(student), batch)[0].backward()
        found.append({name: one.grad for name, one in student.named_parameters()})
    assert_equal(*found)


def test_what_is_saved_is_the_student_alone(tmp_path: Path) -> None:
    student, teacher = encoders()
    file = lines(tmp_path / "train.jsonl", 48)
    data: Any = open_texts(student.spec, file, student.spec.texts, learned=student.tokenizer)
    recipe = replace(BOTH, epochs=1)
    made = finetune(student, data, recipe, tmp_path / "out", teachers=[teacher], quiet=True)
    assert made.made["trained"]["attention_weight"] == made.made["trained"]["feature_weight"] == 1.0
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as saved:
        assert set(saved.keys()) == set(student.state_dict())


@pytest.mark.parametrize(
    ("made", "changes", "said"),
    [
        (
            encoders,
            {"feature_rows": "h9=h1"},
            r"feature_rows=: small has no row 'h9'\. Rows with tokens: embed, h0, h1",
        ),
        (encoders, {"feature_rows": "h0=pooler"}, "row 'pooler' of small gives no map"),
        (encoders, {"attention_rows": "h1=h7"}, r"small has no block 'h7'\. Its blocks: h0, h1, h2, h3"),
        (encoders, {"attention_rows": "embed"}, r"no block 'embed'"),
        (
            encoders,
            {"attention_weight": 0.0, "attention_rows": "", "feature_rows": "embed", "freeze": 1},
            "frozen rows",
        ),
        (encoders, {"feature_weight": 0.0, "attention_rows": "h0", "freeze": 2}, "frozen rows alone: h0"),
        (translators, {"feature_rows": "h0=d0"}, "the tokens of 'h0' .* and 'd0' of the teacher .* differ"),
        (translators, {"attention_rows": "d0=h0"}, "'d0' .* and 'h0' of the teacher .* do not attend"),
    ],
)
def test_rows_that_cannot_be_compared(made: Any, changes: dict[str, Any], said: str) -> None:
    student, teacher = made()
    with pytest.raises(ValueError, match=said):
        Guidance(student, [teacher], replace(BOTH, **changes))


def test_networks_that_cannot_be_compared() -> None:
    student, teacher = encoders()
    with pytest.raises(ValueError, match=r"block 'h3' of small is int8_dynamic: give the float32 network"):
        Guidance(student, [zoo.compress(teacher, "int8", dynamic=True)], ATTENTION)
    with torch.device("meta"):
        shared = zoo.create("albert_base_v2", weights=None)
    with pytest.raises(ValueError, match="runs 12 times with the same weights"):
        Guidance(student, [shared], ATTENTION)
    maps, tokens = zoo.create("resnet20"), pictures()[0]
    with pytest.raises(ValueError, match="resnet20 has none"):
        Guidance(maps, [maps], ATTENTION)
    with pytest.raises(ValueError, match="resnet20 has no blocks of a Transformer"):
        Guidance(maps, [tokens], STATES)
    with pytest.raises(ValueError, match="attention_weight= needs a teacher"):
        Guidance(student, [], ATTENTION)
    with pytest.raises(ValueError, match="attention_weight= needs a teacher"):
        ATTENTION.check_used(teacher=False)
    with pytest.raises(ValueError, match=r"attention_rows= names rows .* attention_weight= above 0"):
        replace(STATES, attention_rows="h0").check_used(teacher=True)
