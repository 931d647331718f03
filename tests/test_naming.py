"""Names are read and written; a wrong one is answered with the right one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo import registry
from zoo.naming import PASSES, Name, UnknownName, parse, parse_passes

archs = st.from_regex(r"[a-z0-9]{1,6}(_[a-z0-9]{1,4}){0,2}", fullmatch=True)
tags = st.from_regex(r"[A-Za-z0-9_]{0,8}", fullmatch=True)
passes = st.sets(st.sampled_from(PASSES)).map(lambda chosen: tuple(p for p in PASSES if p in chosen))


@given(st.builds(Name, archs, tags, passes))
def test_a_name_survives_writing_and_reading(name: Name) -> None:
    assert parse(str(name)) == name


@given(st.text(max_size=20))
def test_any_text_is_a_name_or_an_unknown_name(text: str) -> None:
    try:
        name = parse(text)
    except UnknownName:
        return
    assert parse(str(name)) == name


def test_the_parts_of_a_name() -> None:
    name = parse("mobilenetv2_100.ra_in1k-pruned-int8")
    assert (name.arch, name.tag, name.passes) == ("mobilenetv2_100", "ra_in1k", ("pruned", "int8"))
    assert name.dense == "mobilenetv2_100.ra_in1k"
    assert name.variant == "pruned-int8"
    assert parse("mobilenetv2_100").variant == "dense"


@pytest.mark.parametrize("text", ["mobilenetv2_100-dense", "mobilenetv2_100"])
def test_dense_means_no_pass(text: str) -> None:
    assert parse(text) == Name("mobilenetv2_100")


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("int8-pruned", "'pruned-int8'"),
        ("int8-sparse-distilled", "'distilled-sparse-int8'"),
        ("int8-int8", "'int8'"),
    ],
)
def test_another_order_names_the_right_one(text: str, right: str) -> None:
    with pytest.raises(UnknownName, match=right):
        parse_passes(text)
    with pytest.raises(UnknownName, match=right):
        parse(f"resnet18-{text}")


@pytest.mark.parametrize(
    "text",
    ["", "-", "-int8", "mobilenet-", "mobilenet--int8", ".", "a.", "a.b.c", "A", "a b", "a\n", "../a", "a__b", "é"],
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(UnknownName):
        parse(text)


@pytest.mark.parametrize("value", [None, 3, b"mobilenet", ["mobilenet"]])
def test_a_name_is_a_string(value: object) -> None:
    with pytest.raises(UnknownName, match="is a string, not"):
        parse(value)


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("mobilenetv2_10", "mobilenetv2_100"),
        ("moblenet", "mobilenet"),
        ("mobilenetv2_cifr-int8", "mobilenetv2_cifar"),
    ],
)
def test_a_near_miss_names_its_neighbour(text: str, near: str) -> None:
    with pytest.raises(UnknownName, match=f"Did you mean .*'{near}'"):
        registry.resolve(text)


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("bert-base-uncased-int8", "bert_base_uncased-int8"),
        ("vit-base-patch16-224", "vit_base_patch16_224"),
        ("deit-tiny-distilled-patch16-224", "deit_tiny_distilled_patch16_224"),
        ("deit-tiny-distilled-patch16-224-pruned-int8", "deit_tiny_distilled_patch16_224-pruned-int8"),
        ("all-MiniLM-L6-v2-int8", "all_minilm_l6_v2-int8"),
    ],
)
def test_the_hubs_own_spelling(text: str, means: str) -> None:
    assert str(registry.resolve(text)) == means


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("MobileNet", "mobilenet"),
        ("MobileNet-INT8", "mobilenet-int8"),
        ("mobilenetv2-100", "mobilenetv2_100"),
        ("MobileNetV2-cifar-small-pruned-int8", "mobilenetv2_cifar_small-pruned-int8"),
    ],
)
def test_capitals_and_hyphens_are_answered_with_the_right_spelling(text: str, right: str) -> None:
    with pytest.raises(UnknownName, match=f"Did you mean '{right}'"):
        registry.resolve(text)


def test_a_near_miss_of_a_pass_names_its_neighbour() -> None:
    with pytest.raises(UnknownName, match=r"Unknown pass 'prune'\. Did you mean 'pruned'"):
        registry.resolve("mobilenet-prune")


def test_what_is_near_nothing_is_sent_to_the_list() -> None:
    with pytest.raises(UnknownName, match=r"Unknown model 'zzz'\. `zoo list`"):
        registry.resolve("zzz")


@pytest.mark.parametrize("alias", registry.ALIASES)
def test_an_alias_takes_passes(alias: str) -> None:
    whole = registry.resolve(alias)
    assert str(whole) == registry.ALIASES[alias]
    assert registry.resolve(f"{alias}-pruned-int8") == Name(whole.arch, whole.tag, ("pruned", "int8"))


def test_the_longest_alias_wins_before_passes_are_split_off() -> None:
    aliases = {"efficientnet-lite": "efficientnet_lite0.in1k", "efficientnet": "efficientnet_b0.ra_in1k"}
    assert parse("efficientnet-lite-int8", aliases) == Name("efficientnet_lite0", "in1k", ("int8",))
    assert parse("efficientnet-int8", aliases) == Name("efficientnet_b0", "ra_in1k", ("int8",))


@pytest.mark.parametrize("arch", registry.MODELS)
def test_registered_architectures_are_names(arch: str) -> None:
    assert registry.resolve(arch) == Name(arch)


def test_an_unknown_architecture_has_no_spec() -> None:
    with pytest.raises(UnknownName, match="Did you mean"):
        registry.spec("mobilenetv2_cifr")
