"""Headers that lie, about the spec, the facts or the tensors: one clear FileError each, naming the file."""

import json
import random
from pathlib import Path

import pytest

import zoo
from hostile_files import refused, write
from zoo.catalog.info import info
from zoo.train.finetune import is_sparse
from zoo.weights.file import FileError, load


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", "does not parse"),
        (b"{}", "does not say which network it is.*zoo convert"),
        (b'{"a":NaN}', "NaN is not JSON"),
        (b'{"a":1e999}', "1e999 is larger than a float"),
        (b'{"a":{},"a":{}}', "'a' comes twice"),
        (b'{"a":"\xff"}', "does not parse"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "does not parse"),
        (b'{"a":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001, "does not parse"),
        (b'{"a":1' + b"0" * 5000 + b"}", "does not parse"),
        (b'{"__metadata__":[]}', "metadata is not an object of strings"),
        (b'{"__metadata__":null}', "metadata is not an object of strings"),
        (b'{"__metadata__":{"zoo.spec":1}}', "metadata is not an object of strings"),
        (b'{"__metadata__":{"zoo.spec":"[]"}}', "zoo.spec is not a JSON object"),
        (b'{"__metadata__":{"zoo.spec":"{}"}}', "spec is refused.*lacks"),
        (b'{"__metadata__":{"format":"pt"}}', "does not say which network"),
    ],
)
def test_a_header_of_bad_json(text, words, tmp_path):
    refused(write(tmp_path / "m", text), words)


def deep(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


def spec_edits():
    """(change to the spec's JSON, words of the refusal)"""
    row = lambda spec, i=0: spec["rows"][i]  # noqa: E731
    return [
        (lambda s: row(s).update(kind="os.system"), "unknown kind 'os.system'"),
        (lambda s: row(s).update(kind="zoo.model.build:build"), "unknown kind"),
        (lambda s: row(s).update(kind=["conv_norm_act"]), "strings"),
        (lambda s: row(s)["args"].update(out_channels=65_536), "65536 come in"),
        (lambda s: row(s)["args"].update(out_channels=10**9), "between 1 and"),
        (lambda s: row(s)["args"].update(out_channels=10**400), "spec is refused|spec does not parse"),
        (lambda s: row(s)["args"].update(out_channels=-1), "between 1 and"),
        (lambda s: row(s)["args"].update(out_channels=True), "is a int"),
        (lambda s: row(s)["args"].update(out_channels=None), "spec is refused|spec does not parse"),
        (lambda s: row(s)["args"].update(dilation=deep(900)), "nested too deeply|does not parse"),
        (lambda s: row(s)["args"].update(self=1), "spec is refused|spec does not parse"),
        (lambda s: row(s)["args"].update(name="x"), "cannot be called"),
        (lambda s: row(s)["args"].update(surprise=1), "no argument"),
        (lambda s: row(s).update(args=[]), "args are an object"),
        (lambda s: row(s).update(name="../../etc"), "not an identifier"),
        (lambda s: row(s).update(name=""), "not an identifier"),
        (lambda s: row(s).update(name="s1_1"), "two rows"),
        (lambda s: row(s).update(precision="int2"), "precision"),
        (lambda s: row(s).update(precision=["int8"]), "precision"),
        (lambda s: row(s).update(emits="uint8"), "emits? uint8"),
        (lambda s: row(s).update(taps="input"), "taps are a list"),
        (lambda s: row(s).update(taps=[["input"]]), "taps are names"),
        (lambda s: s.update(rows={}), "rows are a list"),
        (lambda s: s.update(rows=[]), "1 to 4096 rows"),
        (lambda s: s.update(rows=s["rows"] * 400), "rows"),
        (lambda s: s.update(name=7), "strings"),
        (lambda s: s.update(name="\x1b[2J"), "printable"),
        (lambda s: s.update(name="a\nb"), "printable"),
        (lambda s: s.update(name=""), "1 to 200 characters"),
        (lambda s: s.update(name="a" * 10_000), "1 to 200 characters"),
        (lambda s: s.update(task="\x9b31m"), "printable"),
        (lambda s: s.update(task=None), "strings"),
        (lambda s: s.update(extra=7), "unknown keys"),
        (lambda s: s["input"].update(size=[32, 10**9]), "input size"),
        (lambda s: s["input"].update(size=32), "input size"),
        (lambda s: s["input"].update(std=[0, 0, 0]), "std is positive"),
        (lambda s: s["input"].update(std=[1e-300] * 3), "std is positive, at least 1e-06"),
        (lambda s: s["input"].update(std=[1e300] * 3), r"std is at most 1e\+06"),
        (lambda s: s["input"].update(mean=[-1e39] * 3), r"mean is at most 1e\+06"),
        (lambda s: s["input"].update(channels=10**9), "input channels"),
        (lambda s: s["input"].update(mean=[10**400] * 3), "spec is refused|spec does not parse"),
        (lambda s: s["input"].update(crop="all"), "crop"),
        (lambda s: s["input"].update(channels=4), "input mean"),
    ]


@pytest.mark.parametrize(("edit", "words"), spec_edits())
def test_a_hostile_spec(edit, words, good, tmp_path):
    _, header, body = good
    header = json.loads(json.dumps(header))
    spec = json.loads(header["__metadata__"]["zoo.spec"])
    edit(spec)
    header["__metadata__"]["zoo.spec"] = json.dumps(spec)
    refused(write(tmp_path / "m", header, body), words)


@pytest.mark.parametrize("name", ["forward", "spec", "_wiring", "_modules", "training"])
def test_a_row_named_like_a_part_of_the_model(name, good, tmp_path):
    _, header, body = good
    text = json.dumps(header).replace('\\"stem\\"', f'\\"{name}\\"').replace('"stem.', f'"{name}.')
    with pytest.raises(FileError, match="m: "):
        load(write(tmp_path / "m", text.encode(), body))


@pytest.mark.parametrize(
    ("key", "text", "words"),
    [
        ("zoo.facts", '{"labels": ["a"]}', "1 labels for 10 classes"),
        ("zoo.facts", '{"labels": "0123456789"}', "labels are strings"),
        ("zoo.facts", json.dumps({"labels": ["\x1b[2J"] * 10}), "cannot be printed"),
        ("zoo.facts", '{"labels": {"a": 1}}', "labels are strings"),
        ("zoo.facts", "[]", "zoo.facts is not a JSON object"),
        ("zoo.made", "7", "zoo.made is not a JSON object"),
        ("zoo.made", '{"a": Infinity}', "zoo.made does not parse"),
        ("zoo.made", '{"a": [-1e999]}', "zoo.made does not parse: the number -1e999"),
        ("zoo.made", '{"a":' * 50_000, "zoo.made does not parse"),
    ],
)
def test_hostile_facts(key, text, words, good, tmp_path):
    _, header, body = good
    header = json.loads(json.dumps(header))
    header["__metadata__"][key] = text
    refused(write(tmp_path / "m", header, body), words)


@pytest.mark.parametrize("place", [lambda who: {"teacher": who}, lambda who: {"trained": {"teacher": who}}])
@pytest.mark.parametrize("who", ["\x1b[2Jroot\r\nname  forged", "\x9b31m", "\u202e", "x" * 100_000, ["\x1b"]])
def test_a_hostile_teacher_is_shown_on_one_printable_line(place, who, good, tmp_path):
    _, header, body = good
    header = json.loads(json.dumps(header))
    header["__metadata__"]["zoo.made"] = json.dumps(place(who))
    teacher = info(write(tmp_path / "m", header, body)).teacher
    assert teacher.isprintable()
    assert len(teacher) <= 100


WEIGHT = "classifier.fc.weight"


PACKED = "s3_2.expand.conv.weight"


def rename(header, old, new):
    header[new] = header.pop(old)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda h: rename(h, WEIGHT, "classifier.weight"), "weight is missing.*'classifier.weight' is not expected"),
        (lambda h: h[WEIGHT].update(shape=[256, 10]), r"is float32 of shape \(256, 10\), not .*\(10, 256\)"),
        (lambda h: h[WEIGHT].update(shape=[10, 255]), "which is not"),
        (lambda h: h[WEIGHT].update(shape=[10, 2**62, 2**62]), "which is not"),
        (lambda h: h[WEIGHT].update(shape=[10, -256]), "has shape"),
        (lambda h: h[WEIGHT].update(shape=[10, 256.0]), "has shape"),
        (lambda h: h[WEIGHT].update(shape=[True, 2560]), "has shape"),
        (lambda h: h[WEIGHT].update(shape=[1] * 100_000 + [2560]), "has shape"),
        (lambda h: h[WEIGHT].update(shape="10"), "has shape"),
        (lambda h: h[WEIGHT].update(dtype="U16"), "of dtype 'U16'"),
        (lambda h: h[WEIGHT].update(dtype=["F32"]), "of dtype"),
        (lambda h: h[WEIGHT].update(dtype="U8", shape=[10240]), "uint8 of shape"),
        (lambda h: h[WEIGHT].update(extra=1), "not described by"),
        (lambda h: h.update({WEIGHT: 7}), "not described by"),
        (lambda h: h[WEIGHT].update(data_offsets=[0]), "data_offsets"),
        (lambda h: h[WEIGHT].update(data_offsets=[10240, 0]), "which is not"),
        (lambda h: h[WEIGHT].update(data_offsets=h["stem.bn.weight"]["data_offsets"]), "which is not"),
        (lambda h: h[WEIGHT].update(data_offsets=[0, 10240]), "a gap or an overlap|belong to no tensor"),
        (lambda h: h[WEIGHT].update(data_offsets=[2**50, 2**50 + 10240]), "a gap or an overlap"),
        (lambda h: h.pop(WEIGHT), "a gap or an overlap"),
        (lambda h: rename(h, f"{PACKED}.values", f"{PACKED}.value"), "values is missing"),
        (lambda h: rename(h, f"{PACKED}.bitmask", f"{PACKED}.mask"), "weight is missing"),
        (lambda h: rename(h, "stem.bn.weight", f"{PACKED}"), "is not expected|is missing"),
        (lambda h: h[f"{PACKED}.bitmask"].update(shape=[1, h[f"{PACKED}.bitmask"]["shape"][0]]), "bitmask is uint8"),
        (lambda h: h[f"{PACKED}.values"].update(shape=[1, h[f"{PACKED}.values"]["shape"][0]]), "values is float32"),
        (lambda h: rename(h, "stem.bn.weight", "stem.bn.weight.bitmask"), "stem.bn.weight is missing"),
    ],
)
def test_tensors_that_lie(edit, words, good, tmp_path):
    _, header, body = good
    header = json.loads(json.dumps(header))
    edit(header)
    refused(write(tmp_path / "m", header, body), words)


def test_a_packed_tensor_whose_mask_lies(good, tmp_path):
    _, header, body = good
    start = header[f"{PACKED}.bitmask"]["data_offsets"][0]
    lying = body[:start] + bytes([body[start] ^ 1]) + body[start + 1 :]
    path = write(tmp_path / "m", header, lying)
    with pytest.raises(FileError, match=rf"{path}: {PACKED}: its mask marks"):
        load(path)


def test_flipped_header_bytes_never_crash(good, tmp_path):
    """Any damage to the header is either harmless or a FileError."""
    content = bytearray(good[0].read_bytes())
    length = int.from_bytes(content[:8], "little")
    rng = random.Random(1)
    messages = []
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(8 + length)] = rng.randrange(256)
        path = tmp_path / "m"
        path.write_bytes(damaged)
        try:
            load(path)
        except FileError as error:
            messages.append(str(error))
    assert len(messages) > 200
    assert all(str(path) in message and len(message) < 2000 for message in messages)


NOTED = {
    "passes": lambda model: zoo.compress(model, "sparse"),
    "edited": lambda model: zoo.edit(model, "classifier", num_classes=3),
    "trained": is_sparse,
}


@pytest.mark.parametrize("made", [{"passes": ["x"]}, {"passes": 5}, {"trained": 5}, {"edited": 5}, {"edited": [[]]}])
def test_notes_of_another_form_are_kept_and_refused_by_what_would_add_to_them(
    made: dict[str, object], tmp_path: Path
) -> None:
    model = zoo.create("resnet")
    model.made = made
    zoo.save(model, tmp_path)
    assert zoo.load(tmp_path).made == made and repr(zoo.info(tmp_path))
    key = next(iter(made))
    with pytest.raises(ValueError, match=f"model.made says {key}: .*take it out"):
        NOTED[key](zoo.load(tmp_path))
