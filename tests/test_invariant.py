"""The promise: what a pass makes is rebuilt by its spec alone, and comes back from its file bit for bit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection

import pytest
import torch

import zoo
from networks import (
    CONVOLUTIONAL,
    EACH_CONVOLUTIONAL,
    EACH_TRANSFORMER,
    KINDS_OF_CONVOLUTIONAL,
    RECOMMENDERS,
    answer,
    calibration_of,
    gated,
    inputs,
    pictures,
    small,
)
from zoo import kinds, registry
from zoo.model.build import Model, build
from zoo.passes.compress import compress
from zoo.passes.qat import prepare_qat
from zoo.spec import ModelSpec
from zoo.weights.file import load, save, save_file

VARIANTS = (
    "dense",
    "pruned",
    "sparse",
    "int8",
    "pruned-sparse",
    "pruned-int8",
    "sparse-int8",
    "pruned-sparse-int8",
    "qat",
    "fused",
)
# All passes together say most of what pairs of them do, and one network of each family what the others of it do.
PAIRS = ("pruned-sparse", "pruned-int8", "sparse-int8")
ALL_PASSES = "pruned-sparse-int8"
FAMILIES = (
    "mobilenetv1_100",
    "mobilenetv2_035",
    "resnet20",
    "resnet50",
    "gated",
    "vit_tiny_patch16_224",
    "gpt2",
    "deepfm",
)
SUBJECTS = (*EACH_CONVOLUTIONAL, "gated", *EACH_TRANSFORMER, *RECOMMENDERS)
CALIBRATED = ("gated", "gpt2")  # whose passes before int8 are by calibration too, which takes seconds
DECODERS = ("gpt2", "llama3_2_1b")
CONVOLUTIONAL_ALONE = ("qat", "fused")


def rare(subject: str, variant: str) -> bool:
    like_others = subject in EACH_CONVOLUTIONAL and subject not in (*KINDS_OF_CONVOLUTIONAL, *FAMILIES)
    if variant in PAIRS or (like_others and variant != "dense"):
        return True
    return variant == ALL_PASSES and subject not in FAMILIES


MADE = [
    *(
        pytest.param(subject, variant, marks=pytest.mark.nightly if rare(subject, variant) else ())
        for subject in SUBJECTS
        for variant in VARIANTS
        if subject not in (*EACH_TRANSFORMER, *RECOMMENDERS) or variant not in CONVOLUTIONAL_ALONE
    ),
    *((subject, variant) for subject in DECODERS for variant in ("w8", "w4")),
    pytest.param("gpt2", "pruned-sparse-w4", marks=pytest.mark.nightly),
    *(
        pytest.param(name, ALL_PASSES, marks=pytest.mark.nightly)
        for name in CONVOLUTIONAL
        if name not in EACH_CONVOLUTIONAL
    ),
]


def make(subject: str, variant: str, calibrated: Collection[str] = CALIBRATED) -> Model:
    model = gated("hard_swish") if subject == "gated" else small(subject)
    if variant == "dense":
        return model
    if variant == "qat":
        return prepare_qat(model, pictures(model))
    if variant == "fused":
        return zoo.fuse(model)
    calibration = calibration_of(model) if "int8" in variant else None
    share = 0.85 if subject in (*EACH_TRANSFORMER, *RECOMMENDERS) else 0.6
    macs = share if "pruned" in variant else None
    if calibration is None or variant == "int8" or subject in calibrated:
        return compress(model, variant, calibration=calibration, macs=macs)
    return compress(compress(model, variant.removesuffix("-int8"), macs=macs), "int8", calibration=calibration)


def signature(state: dict[str, torch.Tensor]) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {key: (str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)) for key, tensor in state.items()}


@pytest.mark.parametrize(("subject", "variant"), MADE)
def test_a_variant_is_what_its_spec_says(subject: str, variant: str, tmp_path) -> None:
    model = make(subject, variant)
    spec = ModelSpec.loads(model.spec.dumps())
    assert spec == model.spec
    expected = signature(model.state_dict())
    assert signature(build(spec, device="meta").state_dict()) == expected
    assert kinds.model_state(spec) == expected

    save(model, tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert again.spec == model.spec and again.made == model.made
    assert signature(again.state_dict()) == expected
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
    x = inputs(model, 3)
    with torch.inference_mode():
        # Mapped weights lie at other addresses, which float kernels may round by.
        y = answer(model, x)
        torch.testing.assert_close(answer(again, x), y, rtol=0, atol=tolerance(subject, variant) * float(y.abs().max()))
    if x[0].dim() == 4 and ("int8" in variant or variant == "fused"):
        x[0][1, 0, 3, 3] = torch.nan
        with pytest.raises(ValueError, match="this batch of 3 pictures has nan or infinity at index 1"):
            again(x[0])


def tolerance(subject: str, variant: str) -> float:
    """Between a Transformer's products stand floats, whose last bits may turn a code."""
    return 2e-2 if subject in (*EACH_TRANSFORMER, *RECOMMENDERS) and "int8" in variant else 1e-5


@pytest.mark.slow
@pytest.mark.multiprocess
@pytest.mark.parametrize(
    ("subjects", "variants"),
    [
        (FAMILIES, ("pruned-int8",)),
        pytest.param(SUBJECTS, ("pruned-int8", "pruned-sparse", "int8"), marks=pytest.mark.nightly),
    ],
)
def test_a_fresh_process_reloads_them_all(subjects: tuple[str, ...], variants: tuple[str, ...], tmp_path) -> None:
    expected = {}
    for subject in subjects:
        for variant in variants:
            model = make(subject, variant, calibrated=())
            x = inputs(model, 1)[:1]
            with torch.inference_mode():
                expected[f"{subject}-{variant}"] = (*x, answer(model, x), tolerance(subject, variant))
            save_file(model, tmp_path / f"{subject}-{variant}.safetensors")
    torch.save(expected, tmp_path / "expected.pt")
    script = (
        "import sys, pathlib, torch, zoo\n"
        "torch.set_num_threads(int(sys.argv[2]))\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "expected = torch.load(folder / 'expected.pt', weights_only=True)\n"
        "with torch.inference_mode():\n"
        "    for name, (x, y, share) in expected.items():\n"
        "        found = zoo.load(folder / f'{name}.safetensors')(x)\n"
        "        found = getattr(found, 'answer', found)\n"
        "        torch.testing.assert_close(found, y, rtol=0, atol=share * float(y.abs().max()))\n"
        "print(len(expected), 'reloaded')\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), str(torch.get_num_threads())], capture_output=True, text=True
    )
    assert run.stdout.strip() == f"{len(expected)} reloaded", run.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "arch",
    [
        "mobilenetv3_large_100",
        *(
            pytest.param(name, marks=pytest.mark.nightly)
            for name in ("mobilenetv1_100", "mobilenetv2_100", "resnet50", "tf_efficientnet_lite0")
        ),
    ],
)
def test_full_size(arch: str, tmp_path) -> None:
    model = build(registry.spec(arch))
    made = compress(compress(model, "pruned", macs=0.5), "int8", calibration=torch.randn(2, 3, 224, 224))
    assert kinds.cost(made.spec).macs <= 0.5 * kinds.cost(model.spec).macs
    save_file(made, tmp_path / "m.safetensors")
    x = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        y = made(x)
        torch.testing.assert_close(load(tmp_path / "m.safetensors")(x), y, rtol=0, atol=1e-5 * float(y.abs().max()))
