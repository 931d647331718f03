"""Names are read and written; a wrong one is answered with the right one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import zoo
from zoo import registry
from zoo.catalog import hub_index
from zoo.naming import HOLDING, Name, UnknownName, parse, parse_passes
from zoo.passes import in_order

PASSES = tuple(one.name for one in in_order())
archs = st.from_regex(r"[a-z0-9]{1,6}(_[a-z0-9]{1,4}){0,2}", fullmatch=True)
tags = st.from_regex(r"[A-Za-z0-9_]{0,8}", fullmatch=True)
several = st.sets(st.sampled_from(PASSES)).filter(lambda chosen: len(chosen & set(HOLDING)) < 2)
passes = several.map(lambda chosen: tuple(p for p in PASSES if p in chosen))


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


@pytest.mark.parametrize(
    ("family", "tag", "name"),
    [(family, tag, name) for family, tags in registry.FAMILIES.items() for tag, name in tags.items()],
)
def test_a_family_takes_a_tag(family: str, tag: str, name: str) -> None:
    assert str(registry.resolve(f"{Name(family, tag)}-int8")) == f"{name}-int8"
    assert name in zoo.list_models()
    if tag == "in1k":  # timm's default weights of that size
        assert name == hub_index.tags(parse(name).arch)[0]


def test_info_of_a_family_names_its_weights_for_other_data() -> None:
    assert "mobilenet.in1k" in repr(zoo.info("mobilenet"))
    assert "mobilenet.cifar10" in repr(zoo.info("mobilenet.in1k-int8"))


def test_a_family_of_pretrained_trunks_names_those_that_classify() -> None:
    assert zoo.info("bert").name == "bert_base_uncased" and "bert.sst2 (all_minilm" in repr(zoo.info("bert"))
    known = zoo.info("distilbert.sst2")
    assert (known.name, known.task) == ("distilbert_base_uncased.sst2", "text-classification")
    assert "distilbert (distilbert_base_uncased)" in known.siblings
    assert known.name in zoo.list_models("distilbert*", task="text-classification")
    assert str(registry.resolve("distilbert-base-uncased-finetuned-sst-2-english")) == known.name


def test_a_tag_that_a_pretrained_trunk_has_not_is_answered_with_names_that_can_be_read() -> None:
    with pytest.raises(UnknownName, match=r"distilbert_base_uncased, distilbert_base_uncased\.sst2\.$"):
        zoo.info("distilbert_base_uncased.imdb")


def test_a_tag_that_no_weights_have_is_answered_with_those_that_exist() -> None:
    with pytest.raises(UnknownName, match=r"mobilenet\.in1k"):
        registry.resolve("mobilenet.imagenet")


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
