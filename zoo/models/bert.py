"""BERT (Devlin et al., 2019) and its kin, as transformers has them.

DistilBERT (Sanh et al., 2019), RoBERTa (Liu et al., 2019), MiniLM (Wang et al., 2020), ELECTRA (Clark et al., 2020),
MPNet (Song et al., 2020) and ALBERT (Lan et al., 2020).
"""

from __future__ import annotations

from typing import Any

from zoo.spec import Block, ModelSpec, SpecError, TextInput

UNCASED, CASED, BYTES = 30522, 28996, 50265  # words of BERT's two vocabularies and of RoBERTa's

# name -> (vocabulary, width, blocks); heads are 64 wide, the smallest 48, the MLP has 4 times the width
BERT = {
    "bert_micro": (UNCASED, 96, 2),
    "bert_tiny": (UNCASED, 128, 2),
    "bert_mini": (UNCASED, 256, 4),
    "bert_small": (UNCASED, 512, 4),
    "bert_medium": (UNCASED, 512, 8),
    "bert_base_uncased": (UNCASED, 768, 12),
    "bert_base_cased": (CASED, 768, 12),
    "bert_large_uncased": (UNCASED, 1024, 24),
    "bert_large_cased": (CASED, 1024, 24),
}
DISTILBERT = {"distilbert_base_uncased": (UNCASED, 768, 6), "distilbert_base_cased": (CASED, 768, 6)}
ROBERTA = {
    "roberta_base": (BYTES, 768, 12),
    "roberta_large": (BYTES, 1024, 24),
    "distilroberta_base": (BYTES, 768, 6),
}
# name -> (blocks, tail); 384 wide in 12 heads
MINILM = {
    "minilm_l6_h384_uncased": (6, "pooler"),
    "minilm_l12_h384_uncased": (12, "pooler"),
    "all_minilm_l6_v2": (6, "sentence"),
    "all_minilm_l12_v2": (12, "sentence"),
}
# name -> (width of the embedding, width, blocks, heads)
ELECTRA = {
    "electra_small": (128, 256, 12, 4),
    "electra_base": (768, 768, 12, 12),
    "electra_large": (1024, 1024, 24, 16),
}
# name -> tail; 768 wide in 12 heads and 12 blocks
MPNET = {"mpnet_base": "pooler", "all_mpnet_base_v2": "sentence"}
# name -> (width, blocks, heads); one block with the weights of all
ALBERT = {"albert_base_v2": (768, 12, 12), "albert_large_v2": (1024, 24, 16)}

TASKS = {
    "none": "feature-extraction",
    "pooler": "feature-extraction",
    "sentence": "sentence-similarity",
    "classifier": "text-classification",
    "tokens": "token-classification",
    "answers": "question-answering",
}


def transformers(name: str, num_classes: int = 0) -> ModelSpec:
    """An encoder by its name; with `num_classes` it classifies texts."""
    body: dict[str, Any] = {"vocabulary": UNCASED}
    usual, pooled = "pooler", "tanh"
    if name in MINILM:
        layers, usual = MINILM[name]
        body |= {"dim": 384, "layers": layers, "heads": 12}
    elif name in ELECTRA:
        embedding, dim, layers, heads = ELECTRA[name]
        body |= {"embedding": embedding, "dim": dim, "layers": layers, "heads": heads}
        usual, pooled = "none", "gelu"
    elif name in MPNET:
        usual = MPNET[name]
        body = {"vocabulary": 30527, "dim": 768, "layers": 12, "heads": 12, "relative": True}
        body |= {"token_types": 0, "max_positions": 514, "padding_id": 1, "eps": 1e-5}
    elif name in ALBERT:
        dim, layers, heads = ALBERT[name]
        body = {"vocabulary": 30000, "embedding": 128, "dim": dim, "layers": layers, "heads": heads, "groups": 1}
        body |= {"activation": "gelu_tanh"}
    elif name in DISTILBERT:
        vocabulary, dim, layers = DISTILBERT[name]
        body = {"vocabulary": vocabulary, "dim": dim, "layers": layers, "heads": dim // 64, "token_types": 0}
        usual, pooled = "none", "relu"
    elif name in ROBERTA:
        vocabulary, dim, layers = ROBERTA[name]
        body = {"vocabulary": vocabulary, "dim": dim, "layers": layers, "heads": dim // 64}
        body |= {"token_types": 1, "max_positions": 514, "padding_id": 1, "eps": 1e-5}
    else:
        vocabulary, dim, layers = BERT[name]
        body = {"vocabulary": vocabulary, "dim": dim, "layers": layers, "heads": -(-dim // 64)}
    return encoder(name, **body, tail="classifier" if num_classes else usual, outputs=num_classes, pooled=pooled)


def encoder(
    name: str,
    *,
    vocabulary: int,
    dim: int,
    layers: int,
    heads: int,
    mlp_dim: int = 0,
    max_positions: int = 512,
    token_types: int = 2,
    padding_id: int = -1,
    activation: str = "gelu",
    eps: float = 1e-12,
    tail: str = "pooler",
    outputs: int = 0,
    pooled: str = "tanh",
    length: int = 0,
    embedding: int = 0,
    relative: bool = False,
    groups: int = 0,
) -> ModelSpec:
    """Embeddings, post-norm blocks, and the `tail`, one of `TASKS`, with so many `outputs`.

    `pooled` is the activation of the layer before a classifier; `length` the most tokens, as many as there are
    positions by default. An `embedding` of another width is projected to that of the blocks. `relative` blocks have
    biases of distances. `groups`: how many blocks have weights, each for as many layers; 0: all of them.
    """
    runs = _runs(layers, groups or layers)
    embedding = embedding or dim
    block: dict[str, Any] = {
        "dim": dim,
        "heads": heads,
        "head_dim": dim // heads,
        "kv_heads": heads,
        "mlp_dim": mlp_dim or 4 * dim,
        **({"positions": "relative"} if relative else {}),
    }
    rows = [
        Block(
            "token_embedding",
            "embed",
            vocabulary=vocabulary,
            dim=embedding,
            max_positions=max_positions,
            token_types=token_types,
            padding_id=padding_id,
            norm="layer",
            eps=eps,
        ),
        *([Block("token_projection", "project", dim=embedding, width=dim)] if groups or embedding != dim else []),
        *(
            Block(
                "transformer_block",
                f"h{i}",
                norm_first=False,
                activation=activation,
                eps=eps,
                **(block if repeats == 1 else {**block, "repeats": repeats}),
            )
            for i, repeats in enumerate(runs)
        ),
        *tail_rows(tail, dim, outputs, pooled),
    ]
    return ModelSpec(
        name=name,
        rows=tuple(rows),
        input=TextInput(vocabulary, length or max_positions - padding_id - 1, padding=max(padding_id, 0)),
        task=TASKS[tail],
    )


def _runs(layers: int, groups: int) -> list[int]:
    """How many layers each of the blocks stands for, as ALBERT numbers its groups."""
    numbers = [int(layer / (layers / groups)) for layer in range(layers)] if groups <= layers else []
    if len(set(numbers)) != groups:
        raise SpecError(f"{layers} layers cannot share the weights of {groups} blocks.")
    return [numbers.count(group) for group in range(groups)]


def tail_rows(tail: str, dim: int, outputs: int, pooled: str = "tanh") -> tuple[Block, ...]:
    """What stands behind the blocks of an encoder."""
    pooler = Block("pooler", "pooler", dim=dim, activation=pooled)
    match tail:
        case "none":
            return ()
        case "pooler":
            return (pooler,)
        case "sentence":
            return (Block("token_pool", "sentence", pool="mean", normalize=True),)
        case "classifier":
            return pooler, Block("classifier", "classifier", in_features=dim, num_classes=outputs)
        case "tokens" | "answers":
            return (Block("token_head", "classifier", dim=dim, outputs=outputs),)
    raise ValueError(f"Unknown tail {tail!r}; choose one of {list(TASKS)}.")
