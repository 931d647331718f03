"""The optimiser and the schedule of a recipe: from timm, or torch's one cycle."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn as nn

from zoo.train.recipe import Recipe

FUSED = ("adam", "adamw")  # torch's own, whose one operator for all tensors saves most of a small network's step


def make_optimizer(model: nn.Module, recipe: Recipe, beside: nn.Module | None = None) -> torch.optim.Optimizer:
    """timm's optimiser that the recipe names; biases, batch norm and what trains `beside` have no weight decay."""
    from timm.optim import create_optimizer_v2, list_optimizers

    known = [str(name) for name in list_optimizers()]
    if recipe.optimizer.lower() not in known:
        raise ValueError(f"timm has no optimizer {recipe.optimizer!r}; it has {', '.join(known)}.")
    plain = recipe.optimizer.lower() == "sgd" and not recipe.momentum
    shared = any(hasattr(one, "device_mesh") for one in model.parameters())  # DTensors: the operator mixes no kinds
    options: dict[str, Any] = {"fused": True} if recipe.optimizer.lower() in FUSED and not shared else {}
    optimizer = create_optimizer_v2(
        model,
        opt="momentum" if plain else recipe.optimizer,  # Nesterov's momentum needs momentum
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        momentum=recipe.momentum,
        filter_bias_and_bn=True,
        **options,
    )
    if beside is not None and (extra := list(beside.parameters())):
        optimizer.add_param_group({"params": extra, "weight_decay": 0.0})
    return optimizer


class Schedule:
    """The learning rate after `done` of `total` steps. It has no state, so a checkpoint does not store it."""

    def __init__(self, optimizer: torch.optim.Optimizer, recipe: Recipe, total: int) -> None:
        self.optimizer = optimizer
        self.rates = _rates(recipe, total)
        self.at(0)

    def at(self, done: int) -> None:
        """Set every parameter group's learning rate; groups keep their ratios (`lr_scale`)."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rates[min(done, len(self.rates) - 1)] * group.get("lr_scale", 1.0)


def _rates(recipe: Recipe, total: int) -> list[float]:
    """The learning rate of each of `total` steps, and of one after the last."""
    probe: Any = torch.optim.SGD([nn.Parameter(torch.zeros(1))], recipe.learning_rate)
    if recipe.schedule == "one_cycle":
        schedule: Any = torch.optim.lr_scheduler.OneCycleLR(
            probe,
            recipe.learning_rate,
            total_steps=total + 1,
            pct_start=recipe.warmup + 1e-9,  # torch divides by 0 if the warm-up has exactly one step
            cycle_momentum=False,
            final_div_factor=1e4,
        )
        rates = []
        for _ in range(total + 1):
            rates.append(probe.param_groups[0]["lr"])
            probe.step()
            if len(rates) <= total:
                schedule.step()
        return rates
    if total <= 1:  # nothing rises or falls
        return [recipe.learning_rate] * (total + 1)
    from timm.scheduler import CosineLRScheduler

    rising = round(recipe.warmup * total)
    lowest = recipe.learning_rate if recipe.schedule == "constant" else recipe.learning_rate * 1e-3
    schedule = CosineLRScheduler(
        probe,
        t_initial=max(total - rising, 1),
        lr_min=lowest,
        warmup_t=rising,
        warmup_lr_init=recipe.learning_rate / 25,
        warmup_prefix=True,
        t_in_epochs=False,
    )
    rates = []
    for done in range(total + 1):
        schedule.step_update(done)
        rates.append(probe.param_groups[0]["lr"])
    return rates
