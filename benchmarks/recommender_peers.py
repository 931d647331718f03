"""DeepCTR-Torch and FuxiCTR for `recommenders.py`: the same network on the same rows, each in its library's own loop.

Both take the row numbers that the zoo prepares, so every contender sees the same values as known, unknown and missing.
Shapes: N rows, C columns of the zoo's prepared input, B a batch.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.inputs import TableInput

Settings = dict[str, Any]  # dim, hidden, dropout, learning_rate, weight_decay


class DeepCTR:
    """DeepCTR-Torch's DeepFM or WDL, and its `fit`."""

    def __init__(self, arch: str, schema: TableInput, settings: Settings, seed: int, own: bool) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from deepctr_torch.inputs import SparseFeat, VarLenSparseFeat
            from deepctr_torch.models import WDL, DeepFM

        self.columns, features = [], []
        for one in schema.features:
            self.columns.append((one.name, schema.columns(one.name)))
            feature = SparseFeat(one.name, one.rows, embedding_dim=settings["dim"])
            features.append(VarLenSparseFeat(feature, one.max_length, "mean") if one.kind == "list" else feature)
        made = {"deepfm": DeepFM, "wide_deep": WDL}[arch]
        without = {} if own else {"l2_reg_linear": 0, "l2_reg_embedding": 0}
        self.model = made(
            features,
            features,
            dnn_hidden_units=settings["hidden"],
            dnn_dropout=settings["dropout"],
            seed=seed,
            **without,
        )
        self.model.compile(optimizer(self.model, settings, own), "binary_crossentropy")

    def fit(self, x: Tensor, labels: Tensor, batch: int, epochs: int) -> None:
        given = {name: x[:, place].long().numpy() for name, place in self.columns}
        with contextlib.redirect_stdout(io.StringIO()):
            self.model.fit(given, labels.float().numpy(), batch_size=batch, epochs=epochs, verbose=0)

    def prepared(self, x: Tensor) -> Tensor:
        """What its network takes: float32 (B, C)."""
        return x.float()

    def step(self, x: Tensor, labels: Tensor) -> None:
        """One step of `fit`, on a batch that is ready."""
        self.model.train()
        self.model.optim.zero_grad()
        loss = self.model.loss_func(self.model(x).squeeze(-1), labels, reduction="sum")
        (loss + self.model.get_regularization_loss() + self.model.aux_loss).sum().backward()
        self.model.optim.step()

    def shares(self, x: Tensor) -> Tensor:
        """Shares of yes (B,)."""
        return self.model.eval()(x).view(-1)


class FuxiCTR:
    """FuxiCTR's DeepFM or Wide & Deep, and the loop and loader of its `BaseModel`.

    FuxiCTR's wheel lacks its model_zoo, so the two networks are put together from its layers, as its model_zoo does.
    """

    def __init__(self, arch: str, schema: TableInput, settings: Settings, seed: int, own: bool) -> None:
        from fuxictr.features import FeatureMap
        from fuxictr.pytorch.torch_utils import seed_everything

        logging.getLogger().setLevel(logging.WARNING)
        seed_everything(seed)
        self.schema, self.folder = schema, Path(tempfile.mkdtemp(prefix="zoo-fuxictr-"))
        self.map = FeatureMap("rows", str(self.folder))
        for one in schema.features:
            told: dict[str, Any] = {"type": "categorical", "vocab_size": one.rows, "source": ""}
            if one.kind == "list":
                pooled = {"feature_encoder": "layers.MaskedAveragePooling()", "padding_idx": 0}
                told |= {"type": "sequence", "max_len": one.max_length, **pooled}
            self.map.features[one.name] = told
        self.map.labels = ["label"]
        self.map.num_fields = self.map.get_num_fields()
        self.map.set_column_index()
        self.model = fuxictr_model(self.map, arch, settings, own)
        self.model.optimizer = optimizer(self.model, settings, own)
        self.model._max_gradient_norm, self.model._total_steps, self.model._eval_steps = 10.0, 0, 2**62
        self.model._stop_training = False
        self.loaders: dict[int, Any] = {}

    def fit(self, x: Tensor, labels: Tensor, batch: int, epochs: int) -> None:
        """`BaseModel.fit` without its validation after each epoch."""
        for _ in range(epochs):
            self.model.train_epoch(self._loader(x, labels, batch))

    def _loader(self, x: Tensor, labels: Tensor, batch: int) -> Any:
        from fuxictr.pytorch.dataloaders.npz_dataloader import NpzDataLoader

        if batch not in self.loaders:
            file = self.folder / f"rows-{batch}.npz"
            columns = {one.name: x[:, self.schema.columns(one.name)].numpy() for one in self.schema.features}
            np.savez(file, **columns, label=labels.double().numpy())
            self.loaders[batch] = NpzDataLoader(self.map, str(file), batch_size=batch, shuffle=True, num_workers=0)
        return self.loaders[batch]

    def prepared(self, x: Tensor) -> dict[str, Tensor]:
        """What its network takes: float64 columns by name."""
        found = {}
        for one in self.schema.features:
            columns = x[:, self.schema.columns(one.name)]
            found[one.name] = columns if one.kind == "list" else columns[:, 0].contiguous()
        return found

    def step(self, x: dict[str, Tensor], labels: Tensor) -> None:
        """One step of `fit`, on a batch that is ready."""
        self.model.train()
        self.model.train_step({**x, "label": labels})

    def shares(self, x: dict[str, Tensor]) -> Tensor:
        """Shares of yes (B,)."""
        return self.model.eval()(x)["y_pred"].view(-1)


def fuxictr_model(features: Any, arch: str, settings: Settings, own: bool) -> Any:
    """DeepFM or Wide & Deep of FuxiCTR's layers."""
    from fuxictr.pytorch import layers
    from fuxictr.pytorch.models import BaseModel

    class Network(BaseModel):
        def __init__(self) -> None:
            given = {"metrics": ["AUC"], "verbose": 0, "model_root": features.data_dir}
            super().__init__(features, embedding_regularizer=1e-5 if own else None, **given)
            self.embed = layers.FeatureEmbedding(features, settings["dim"])
            fm = arch == "deepfm"
            self.shallow = layers.FactorizationMachine(features) if fm else layers.LogisticRegression(features)
            self.mlp = layers.MLP_Block(
                features.sum_emb_out_dim(),
                list(settings["hidden"]),
                output_dim=1,
                dropout_rates=settings["dropout"],
            )
            self.compile("adam", "binary_crossentropy", settings["learning_rate"])
            self.reset_parameters()

        def forward(self, inputs: Any) -> dict[str, Tensor]:
            x = self.get_inputs(inputs)
            vectors = self.embed(x)
            shallow = self.shallow(x, vectors) if arch == "deepfm" else self.shallow(x)
            return {"y_pred": self.output_activation(shallow + self.mlp(vectors.flatten(start_dim=1)))}

    features.default_emb_dim = settings["dim"]
    return Network()


def optimizer(model: torch.nn.Module, settings: Settings, own: bool) -> torch.optim.Optimizer:
    """AdamW as the zoo's recipe has it; with `own` Adam at 0.001, which both libraries take by default."""
    if own:
        return torch.optim.Adam(model.parameters(), lr=1e-3)
    rate, decay = settings["learning_rate"], settings["weight_decay"]
    return torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay)
