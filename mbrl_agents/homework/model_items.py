"""The report's items about training and world models: losses, predictions, reconstructions."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from mbrl_agents.homework import analysis, figures
from mbrl_agents.homework.analysis import Finished
from mbrl_agents.homework.items import (
    Answer,
    Build,
    Item,
    Results,
    millions,
    named,
    percent,
    rate,
)

MODEL_PANELS: Mapping[str, str] = {
    "loss": "whole loss",
    "dynamics": "dynamics (poses: next pose)",
    "representation": "representation",
    "image": "reconstruction of images",
    "pose": "reconstruction of poses",
    "reward": "reward",
}
"""Metrics of a world model that are drawn where there are any: title by name."""

POLICY_PANELS: Mapping[str, str] = {
    "mean": "loss of the mean (Huber)",
    "std": "log-likelihood, negative",
    "error": "distance to the labels",
}
RECOGNISABLE = 0.5
"""A reconstruction is called recognisable where it explains half of the images' variance."""
CONVERGED = 0.1
"""Training is called converged where its loss changes by at most this share of the whole decrease
from the last fifth but one to the last."""


def losses(name: str, phase: str, panels: Mapping[str, str], title: str) -> Build:
    """Curves of one phase of training, with the answer to "the loss converges"."""

    def build(results: Results) -> Item | None:
        if not results.has(name):
            return None
        finished = results[name]
        found = analysis.curves(finished.folder).get(phase, {})
        drawn = {
            text: {
                f"{kind.replace('_', ' ')}": found[f"{kind}/{metric}"]
                for kind in ("train", "held_out")
                if f"{kind}/{metric}" in found
            }
            for metric, text in panels.items()
        }
        drawn = {text: lines for text, lines in drawn.items() if lines}
        if not drawn:
            return None
        first = next(iter(panels))
        held, trained = found.get(f"held_out/{first}"), found.get(f"train/{first}")
        answer = converges(trained or held or [], held)
        return Item(
            key=f"loss-{name}",
            title=title,
            says=f"Losses of the {phase.replace('_', ' ')} over its gradient steps: {answer[1]}",
            experiments=named(finished),
            images={f"{title}: curves over gradient steps": figures.loss_curves(drawn)},
            answer=Answer("Training loss should decrease and converge", answer[0], answer[1]),
            numbers={"curves": drawn},
        )

    return build


def converges(
    curve: Sequence[Sequence[float]], held: Sequence[Sequence[float]] | None
) -> tuple[bool | None, str]:
    """Whether a loss decreased and hardly changes at the end, None if that cannot be said; why."""
    values = [value for _, value in curve]
    if len(values) < 5:
        return None, f"{len(values)} logged losses are too few to tell whether training converged."
    # Means of fifths: the loss of a few batches says little.
    fifth = max(1, len(values) // 5)
    first, before, last = (
        sum(part) / fifth for part in (values[:fifth], values[-2 * fifth : -fifth], values[-fifth:])
    )
    decrease = first - last
    share = abs(before - last) / decrease if decrease > 0 else float("inf")
    text = (
        f"the training loss is {first:.3g} in the first fifth of training, {last:.3g} in the last"
    )
    if held:
        own = [value for _, value in held]
        text += (
            f"; the held-out loss goes from {own[0]:.3g} to {own[-1]:.3g} (least {min(own):.3g})"
        )
    if decrease <= 0:
        return False, f"{text}; it does not decrease."
    part = percent(share) if share >= 0.005 else "less than 1 %"
    text += f"; from the fifth before to the last the former changes by {part} of the decrease."
    if share <= CONVERGED:
        return True, text
    # Two standard errors: of losses that scatter by more, nothing is known.
    ends = (values[-2 * fifth : -fifth], values[-fifth:])
    error = (sum(map(statistics.variance, ends)) / fifth) ** 0.5 if fifth > 1 else 0.0
    if abs(before - last) <= 2.0 * error:
        return None, f"{text[:-1]}, which is less than two standard errors of what is logged."
    return False, text


def prediction(names: Sequence[str], title: str, *, answer: bool) -> Build:
    """Error of open-loop prediction on held-out episodes, in one unit for all models."""

    def build(results: Results) -> Item | None:
        chosen = [results[name] for name in names if results.has(name)]
        found = {one.name: analysis.model_on_held_out(one) for one in chosen}
        found = {name: value for name, value in found.items() if value.get("unexplained")}
        if not found:
            return None
        lines: dict[str, list[float | None]] = {}
        sentences = []
        for one in chosen:
            if one.name not in found:
                continue
            label, numbers = one.planned.label, found[one.name]["unexplained"]
            kind = "images and poses" if "dreamer" in one.name else "poses"
            lines[f"{kind}: {label}"] = numbers["per_step"]
            lines[f"keeping the last observation ({kind})"] = numbers["still_per_step"]
            sentences.append(
                f"{one.name} has a mean squared error of {numbers['mean']:.2f} of the variance of "
                f"{kind} over {numbers['horizon']} imagined steps, where keeping the last "
                f"observation has {numbers['still_mean']:.2f}"
            )
        first = found[next(iter(found))]
        miss = first["unexplained"]
        better = miss["mean"] < min(1.0, miss["still_mean"])
        what = f"episode{'s' * (first['episodes'] > 1)} "
        what += "held out" if first["held_out"] else "it was trained on"
        said = "; ".join(sentences) + "."
        return Item(
            key=f"prediction-{names[0]}",
            title=title,
            says=f"Open loop along recorded actions, on {first['episodes']} {what}: {said}",
            experiments=named(*(one for one in chosen if one.name in found)),
            images={
                f"{title}: error over imagined steps": figures.by_step(
                    lines, "squared error / variance", "no better than the mean"
                )
            },
            answer=Answer(
                "Model predictions should reasonably match ground truth poses", better, said
            )
            if answer
            else None,
            numbers={name: value["unexplained"] for name, value in found.items()},
        )

    return build


def reconstructions(name: str, other: str) -> Build:
    """Decoded images beside recorded ones, the best and the worst, of held-out episodes."""

    def build(results: Results) -> Item | None:
        if not results.has(name):
            return None
        finished = results[name]
        found = analysis.model_on_held_out(finished)
        if not found["strips"]:
            return None
        shares = next(iter(found["reconstruction"].values()))
        error = next(iter(found["windows"]["reconstruction"].values()))
        measured = (
            f"decoded held-out images explain {percent(shares['all'])} of the variance of what was "
            f"recorded (mean squared error {error:.2g} of images in [0, 1]), and "
            f"{percent(shares['moving'])} in the twentieth of the pixels that varies most, which "
            f"holds {percent(shares['moving_variance'])} of the variance and "
            f"{percent(shares['moving_error'])} of the squared error"
        )
        folder = finished.folder / analysis.FOLDER
        images = {
            "The window with the least error: recorded, decoded, absolute error": (
                folder / found["strips"]["good"]
            ).read_bytes(),
            "The window with the largest error, the failed one": (
                folder / found["strips"]["bad"]
            ).read_bytes(),
        }
        experiments = [finished]
        if results.has(other):
            experiments.append(results[other])
            more = next(iter(analysis.model_on_held_out(results[other])["reconstruction"].values()))
            measured += (
                f"; {results[other].name} ({results[other].planned.label}) explains "
                f"{percent(more['all'])} and {percent(more['moving'])}"
            )
        return Item(
            key="reconstructions",
            title="Reconstructions, good and failed",
            says=(
                f"Each column is a frame of an episode, whose window with the least and with the "
                f"largest error are shown: {measured}."
            ),
            experiments=named(*experiments),
            images=images,
            answer=Answer(
                "Reconstructions are recognisable (at least half of the variance explained)",
                shares["all"] >= RECOGNISABLE,
                f"{measured}.",
            ),
            numbers={"shares": shares, "mean_squared_error": error},
        )

    return build


def training_table(names: Sequence[str]) -> Build:
    """Part 3's comparison of the two world models."""

    def build(results: Results) -> Item | None:
        chosen = [results[name] for name in names if results.has(name)]
        if len(chosen) < 2:
            return None
        rows, numbers = [], {}
        for one in chosen:
            info, loss = one.info, _last_loss(one)
            model = info.parameters.get("world_model", 0)
            rows.append([
                one.planned.label, f"{info.train_seconds / 60:.1f} min", f"{info.env_steps:,}",
                "-" if loss is None else f"{loss:.3g}", rate(one), millions(model),
            ])  # fmt: skip
            numbers[one.name] = {
                "train_seconds": info.train_seconds, "held_out_loss": loss,
                "parameters": info.parameters, "env_steps": info.env_steps,
            }  # fmt: skip
        slow = chosen[1].info.train_seconds / max(chosen[0].info.train_seconds, 1e-9)
        return Item(
            key="training-table",
            title="The two world models",
            says=(
                f"Training the model of images, and what belongs to its method, took {slow:.1f} "
                "times as long. The losses are of different quantities and cannot be compared."
            ),
            experiments=named(*chosen),
            header=["model", "training", "recorded steps", "held-out loss", "success [95 %]",
                    "model parameters"],
            rows=rows,
            numbers=numbers,
        )  # fmt: skip

    return build


def _last_loss(finished: Finished) -> float | None:
    metrics: Mapping[str, Any] = finished.info.metrics
    value = metrics.get("held_out/world_model/loss", metrics.get("train/world_model/loss"))
    return None if value is None else float(value)


__all__ = [
    "MODEL_PANELS",
    "POLICY_PANELS",
    "converges",
    "losses",
    "prediction",
    "reconstructions",
    "training_table",
]
