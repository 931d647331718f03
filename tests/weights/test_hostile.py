"""Files that are broken or mean harm: one clear FileError each, naming the file, and no memory taken."""

import json
import pickle
import random
import shutil
from pathlib import Path

import pytest
import torch

import zoo
from zoo import registry
from zoo.catalog.info import info
from zoo.model.build import build
from zoo.train.finetune import is_sparse
from zoo.weights.file import FileError, load, read_header, save_file
from zoo.weights.header import source_of


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A small file, some of its tensors packed: its path, its JSON and the bytes behind."""
    torch.manual_seed(0)
    model = build(registry.spec("mobilenetv2_cifar_small"))
    model.s3_2.expand.conv.weight.data.masked_fill_(torch.rand_like(model.s3_2.expand.conv.weight) < 0.8, 0.0)
    path = tmp_path_factory.mktemp("good") / "good.safetensors"
    save_file(model, path)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return path, json.loads(content[8 : 8 + length]), content[8 + length :]


def write(path, header, body=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + body)
    return path


def refused(path, words):
    for read in (read_header, load):
        with pytest.raises(FileError, match=words) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert len(str(caught.value)) < 2000


def test_the_untouched_file_is_good(good, tmp_path):
    _, header, body = good
    load(write(tmp_path / "m", header, body))


def test_truncated_anywhere(good, tmp_path):
    content = good[0].read_bytes()
    length = int.from_bytes(content[:8], "little")
    rng = random.Random(0)
    cuts = {*range(20), length, length + 7, length + 8, length + 9, len(content) - 1}
    cuts |= {rng.randrange(len(content)) for _ in range(40)}
    for cut in sorted(cuts):
        path = tmp_path / "m"
        path.write_bytes(content[:cut])
        refused(path, "is empty" if cut == 0 else "is truncated|not a safetensors file")


def test_bytes_behind_the_end(good, tmp_path):
    path = tmp_path / "m"
    path.write_bytes(good[0].read_bytes() + b"\0")
    refused(path, "belong to no tensor")


@pytest.mark.parametrize("length", [0, 1, 100, 2**31, 2**63, 2**64 - 1])
def test_a_length_that_lies(length, good, tmp_path):
    _, header, body = good
    refused(write(tmp_path / "m", header, body, length=length), "truncated|does not parse|not a safetensors")


def test_a_huge_header_is_refused_unread(tmp_path):
    path = tmp_path / "m"
    with path.open("wb") as file:  # sparse on disk: nothing is written but the ends
        file.write((2**30).to_bytes(8, "little") + b"{")
        file.truncate(2**30 + 100)
    refused(path, "its header claims 1,073,741,824 bytes; more than")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pickle.dumps({"weight": 1}, protocol=2), "is a pickle.*`zoo convert .*--arch NAME --out FOLDER`"),
        (pickle.dumps({"weight": list(range(99))}, protocol=5), "is a pickle"),
        (b"PK\x03\x04" + b"\0" * 100, "is a pickle"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git-LFS pointer.*git lfs pull"),
        (b"<!DOCTYPE html><html></html>", "not a safetensors file"),
        (b"\0" * 100, "not a safetensors file"),
    ],
)
def test_other_kinds_of_files(content, words, tmp_path):
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(content)
    refused(path, words)


def test_what_torch_saves_is_refused_and_never_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    for zipped in (True, False):
        torch.save(Trap(), tmp_path / "m.pth", _use_new_zipfile_serialization=zipped)
        refused(tmp_path / "m.pth", "is a pickle")
    with pytest.raises(FileError, match=r"only pickles \(m.pth\).*safetensors"):
        load(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("source", ["x", None, [1]])
def test_an_origin_of_another_type_counts_as_none(tmp_path, source):
    model = build(registry.spec("mobilenetv2_cifar_small"))
    model.made = {"source": source}
    save_file(model, tmp_path / "m.safetensors")
    assert source_of(load(tmp_path / "m.safetensors").made) == {}


def test_rows_that_timm_has_no_place_for(tmp_path):
    spec = registry.spec("resnet18")
    rows = [row.replace(name="foo") if row.name == "s2_1" else row for row in spec]
    names = {"zoo.spec": spec.replace(rows=tuple(rows)).dumps(), "zoo.names": "timm"}
    write(tmp_path / "m.safetensors", {"__metadata__": names})
    refused(tmp_path / "m.safetensors", "Row 'foo' of 'resnet18' has no place in timm's network")
    write(tmp_path / "m.safetensors", {"__metadata__": {**names, "zoo.names": "other"}})
    refused(tmp_path / "m.safetensors", "only timm's are known")


def test_folders_and_paths_without_a_model(good, tmp_path):
    with pytest.raises(FileError, match=r"no such file or folder.*zoo\.create"):
        load(tmp_path / "mobilenet")
    with pytest.raises(FileError, match="it holds nothing"):
        load(tmp_path)
    shutil.copy(good[0], tmp_path / "other.safetensors")
    with pytest.raises(FileError, match=r"has no model.safetensors, but \['other.safetensors'\]"):
        load(tmp_path)
    with pytest.raises(FileError, match="cannot be read: Is a directory"):
        read_header(tmp_path)
    with pytest.raises(FileError, match="cannot be read: No such file"):
        read_header(tmp_path / "missing")


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


@pytest.mark.parametrize("name", ["forward", "spec", "_kept", "_modules", "training"])
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
