"""Whole Transformers put together of the blocks, equal to timm's and transformers' on the same weights."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
import torch.nn as nn
from torch import Tensor

import zoo
from zoo import kinds
from zoo.blocks import PatchEmbedding, TokenEmbedding, TransformerBlock
from zoo.blocks.kv_cache import KVCache
from zoo.factory import with_classes
from zoo.models.bert import encoder

timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")


def livelier(model: nn.Module) -> nn.Module:
    """No parameter at a value that a mistake could hide behind."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def same(found: Tensor, expected: Tensor, share: float = 1e-5) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= share * expected.abs().max()


def renamed(state: Mapping[str, Tensor], prefix: str, names: Mapping[str, str]) -> dict[str, Tensor]:
    """Weights and biases of the modules `prefix + theirs` under our names."""
    return {
        f"{ours}.{leaf}": state[f"{prefix}{theirs}.{leaf}"]
        for ours, theirs in names.items()
        for leaf in ("weight", "bias")
        if f"{prefix}{theirs}.{leaf}" in state
    }


@pytest.mark.parametrize(("name", "prefix"), [("vit_tiny_patch16_224", 1), ("deit_tiny_distilled_patch16_224", 2)])
@torch.inference_mode()
def test_vit_and_deit(name: str, prefix: int) -> None:
    theirs = livelier(timm.create_model(name, depth=2, num_classes=7, dynamic_img_size=True))
    state = theirs.state_dict()
    embedding = PatchEmbedding(in_channels=3, dim=192, patch=16, rows=14, columns=14, prefix=prefix)
    tokens = {"class_token": state["cls_token"]}
    tokens |= {"teacher_token": state["dist_token"]} if prefix == 2 else {}
    embedding.load_state_dict(
        {**tokens, "positions": state["pos_embed"]} | renamed(state, "patch_embed.", {"proj": "proj"})
    )
    blocks = [TransformerBlock(dim=192, heads=3, mlp_dim=768).eval() for _ in range(2)]
    for i, block in enumerate(blocks):
        block.load_state_dict({k.removeprefix(f"blocks.{i}."): v for k, v in state.items() if f"blocks.{i}." in k})
    for size in ((224, 224), (160, 256)):
        x = torch.randn(2, 3, *size)
        stream = embedding(x)
        for block in blocks:
            stream = block(stream)
        same(nn.functional.layer_norm(stream, (192,), state["norm.weight"], state["norm.bias"], 1e-6),
             theirs.forward_features(x))  # fmt: skip
    with pytest.raises(ValueError, match="no patch"):
        embedding(torch.zeros(1, 3, 15, 40))


@torch.inference_mode()
def test_features_of_two_prefix_tokens() -> None:
    theirs = livelier(timm.create_model("deit_tiny_distilled_patch16_224", num_classes=0))
    headed = timm.create_model("deit_tiny_distilled_patch16_224", dynamic_img_size=True).eval()
    headed.load_state_dict(theirs.state_dict(), strict=False)
    x = torch.randn(2, 3, 224, 224)
    same(with_classes(zoo.adopt(headed), 0)(x), theirs(x))


BERT_BLOCK = {
    "attn.proj": "attention.output.dense", "norm1": "attention.output.LayerNorm", "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense", "norm2": "output.LayerNorm",
}  # fmt: skip


@pytest.mark.parametrize("family", ["bert", "roberta"])
@torch.inference_mode()
def test_bert_and_roberta(family: str) -> None:
    """Padding of unequal lengths and segments included."""
    settings = {"vocab_size": 99, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
                "intermediate_size": 128, "max_position_embeddings": 40}  # fmt: skip
    if family == "bert":
        theirs = transformers.BertModel(transformers.BertConfig(**settings))
    else:
        theirs = transformers.RobertaModel(transformers.RobertaConfig(**settings, type_vocab_size=2, pad_token_id=1))
    state = livelier(theirs).state_dict()
    padding_id = 1 if family == "roberta" else -1
    embedding = TokenEmbedding(
        vocabulary=99, dim=64, max_positions=40, token_types=2, padding_id=padding_id, norm="layer"
    ).eval()
    names = {"tokens": "word_embeddings", "positions": "position_embeddings", "types": "token_type_embeddings"}
    embedding.load_state_dict(renamed(state, "embeddings.", {**names, "norm": "LayerNorm"}))
    blocks = []
    for i in range(2):
        block = TransformerBlock(dim=64, heads=4, mlp_dim=128, norm_first=False, eps=1e-12).eval()
        at = f"encoder.layer.{i}."
        parts = [f"{at}attention.self.{one}" for one in ("query", "key", "value")]
        qkv = {f"attn.qkv.{leaf}": torch.cat([state[f"{one}.{leaf}"] for one in parts]) for leaf in ("weight", "bias")}
        block.load_state_dict(qkv | renamed(state, at, BERT_BLOCK))
        blocks.append(block)
    ids = torch.randint(3, 99, (3, 17))
    mask = torch.ones_like(ids)
    mask[1, 9:] = mask[2, 1:] = 0
    ids = ids.masked_fill(mask == 0, 1 if family == "roberta" else 0)
    types = (torch.arange(17) > 6).long().expand(3, -1) * mask
    stream = embedding(ids, token_type_ids=types)
    for block in blocks:
        stream = block(stream, mask=mask)
    expected = theirs(ids, attention_mask=mask, token_type_ids=types).last_hidden_state
    same(stream[mask.bool()], expected[mask.bool()])
    same(embedding(ids), embedding(ids, token_type_ids=torch.zeros_like(ids)))
    with pytest.raises(ValueError, match="cut the text"):
        embedding(torch.zeros(1, 41, dtype=torch.long))


@torch.inference_mode()
def test_gpt2_with_its_cache() -> None:
    """A prompt, then token by token, the most likely one each time, as transformers generates."""
    config = transformers.GPT2Config(vocab_size=99, n_positions=48, n_embd=64, n_layer=2, n_head=4)
    theirs = livelier(transformers.GPT2LMHeadModel(config))
    state = theirs.state_dict()
    embedding = TokenEmbedding(vocabulary=99, dim=64, max_positions=48).eval()
    embedding.load_state_dict(renamed(state, "transformer.", {"tokens": "wte", "positions": "wpe"}))
    names = {"attn.qkv": "attn.c_attn", "attn.proj": "attn.c_proj", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    blocks = []
    for i in range(2):
        block = TransformerBlock(dim=64, heads=4, mlp_dim=256, causal=True, activation="gelu_tanh", eps=1e-5).eval()
        at = f"transformer.h.{i}."
        found = renamed(state, at, names)
        turned = {key: value.T if key.endswith("weight") else value for key, value in found.items()}
        block.load_state_dict(turned | renamed(state, at, {"norm1": "ln_1", "norm2": "ln_2"}))
        blocks.append(block)

    def logits(ids: Tensor, cache: KVCache) -> Tensor:
        start = cache.length
        stream = embedding(ids, positions=torch.arange(start, start + ids.shape[1]))
        for i, block in enumerate(blocks):
            stream = block(stream, cache=cache[f"h{i}"])
        last = state["transformer.ln_f.weight"], state["transformer.ln_f.bias"]
        return nn.functional.layer_norm(stream, (64,), *last, 1e-5) @ state["transformer.wte.weight"].T

    prompt = torch.randint(0, 99, (2, 7))
    same(logits(prompt, KVCache()), theirs(prompt).logits, 1e-4)
    cache, ids = KVCache(), prompt
    fresh = prompt
    for _ in range(20):
        fresh = logits(fresh, cache)[:, -1:].argmax(-1)
        ids = torch.cat([ids, fresh], 1)
    expected = theirs.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=20, do_sample=False, pad_token_id=0,
        eos_token_id=None,
    )  # fmt: skip
    assert torch.equal(ids, expected)


@pytest.mark.parametrize(("outputs", "bias"), [(7, True), (4, False), (3, True), (64, True)])
def test_one_vector_is_multiplied_in_slices(outputs: int, bias: bool, monkeypatch) -> None:
    from zoo.blocks.linear import Linear

    monkeypatch.setattr("zoo.blocks.linear.slices_are_quicker", lambda: True)
    layer = Linear(16, outputs, bias=bias)
    for shape in ((1, 1, 16), (1, 16), (16,), (2, 3, 16)):
        x = torch.randn(shape)
        expected = nn.functional.linear(x, layer.weight, layer.bias)
        with torch.inference_mode():
            torch.testing.assert_close(layer(x), expected)
        layer(x).sum().backward()


@torch.inference_mode()
def test_a_block_that_repeats_is_so_many_blocks_with_its_weights() -> None:
    body = {"vocabulary": 50, "dim": 32, "layers": 3, "heads": 4, "max_positions": 20, "tail": "pooler"}
    spec = encoder("shared", **body, groups=1)
    shared = livelier(zoo.build(spec))
    apart = zoo.build(encoder("apart", **body, embedding=32))
    state = shared.state_dict()
    projection = [state.pop(f"project.fc.{leaf}") for leaf in ("weight", "bias")]
    copies = {f"h{i}{key[2:]}": value for key, value in state.items() if key.startswith("h0.") for i in range(3)}
    apart.load_state_dict({**state, **copies})
    ids = torch.randint(50, (2, 9))
    stream = nn.functional.linear(apart.embed(ids), *projection)
    for name in ("h0", "h1", "h2"):
        stream = getattr(apart, name)(stream)
    assert torch.equal(shared(ids).last_hidden_state, stream)
    costs = [kinds.row_costs(one)[place] for one, place in ((spec, 2), (apart.spec, 1))]
    assert (costs[0].macs, costs[0].parameters) == (3 * costs[1].macs, costs[1].parameters)


def test_a_block_that_repeats_is_solved_on_what_it_takes_each_time() -> None:
    from zoo.passes.stream import Stream

    model = livelier(zoo.build(encoder("shared", vocabulary=50, dim=32, layers=3, heads=4, max_positions=20, groups=1)))
    ids, mask = torch.randint(50, (2, 9)), torch.ones(2, 9, dtype=torch.long)
    mask[0, 5:] = 0
    stream, seen = Stream(model, [{"input_ids": ids, "attention_mask": mask}]), []
    for _ in range(2):
        stream.step()
    model.h0.mlp.fc1.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    model(ids, mask)
    (found,), (masked,) = stream.taken("mlp.fc1"), stream.masks
    assert len(seen) == 3 + 3 and torch.equal(found, torch.cat(seen[:3])) and torch.equal(masked, mask.repeat(3, 1))
