"""The winner → model.py: one readable file that needs torch alone, checked against the network that was searched."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vkdnw_search.atomic_files import write_whole
from vkdnw_search.contracts import SearchSpace
from vkdnw_search.cost.counter import free_operators
from vkdnw_search.determinism import forked_generators, one_thread, seed_generators
from vkdnw_search.errors import ExportError, named
from vkdnw_search.fisher.likelihood import likelihood_of
from vkdnw_search.optimizers.variation import random_genome
from vkdnw_search.output.backbone import Layout, layout_of, stage_outputs, with_backbone
from vkdnw_search.proxies.initialization import initialize
from vkdnw_search.recipe.recipe import Recipe
from vkdnw_search.runs.contents import PROGRAMS
from vkdnw_search.runs.result import FoundNetwork, build
from vkdnw_search.source_rules import defined_by, must_import_torch_alone

TEMPLATES = Path(__file__).with_name("templates")
"""Where the programs are that are written beside every model.py as they are."""
CHECK_BATCH = 2
CHECK_SEED = 0
LOOK = 0.1
"""Seconds from one look whether the check shall go on to the next."""


def export(found: FoundNetwork, path: str | Path, *, recipe: Recipe | None = None, backbone: bool = False) -> Path:
    """Write ``found`` as a Python module and its description beside it; beside ``model.py`` also what trains it.

    A ``train.py`` or ``train_data.py`` that is there already is left as it is: users change them.

    The module imports torch alone and defines ``Network(num_classes=…)``. Before it is kept it is imported in another
    interpreter and must equal the searched network: parameter names and shapes, outputs on the same weights, FLOPs.

    Args:
        found: a network from a search.
        path: of the module; its folder is made if needed.
        recipe: named in the header.
        backbone: also define ``Backbone``, which gives the feature maps of the stages, as timm's ``features_only=True``
            does. It is checked as well: trained weights load, and the features are those within the network.

    Returns:
        ``path``.

    Raises:
        ExportError: the module differs from the searched network, or the network names no stages. Nothing is written
            then.
    """
    return export_all([(found, Path(path))], recipe=recipe, backbone=backbone)[0]


def must_have_source(space: SearchSpace[Any], *, seed: int) -> None:
    """Make a random network from its source, so that a space which has none is refused before a search, not after.

    Raises:
        SpaceError: whatever the space says.
        ExportError: the source imports anything but torch, or does not make a network.
    """
    architecture = space.decode(random_genome(space.genes, np.random.default_rng(seed)))
    source = space.source(architecture)
    must_import_torch_alone(source, space.name, architecture.key)
    try:
        with forked_generators():
            defined_by(source)["Network"](num_classes=space.num_classes)
    except Exception as error:
        raise ExportError(
            f"{space.name}.source({architecture.key}): must define Network(num_classes=…), but running it raises "
            f"{named(error)}"
        ) from error


def description_of(module: Path) -> Path:
    """The path of the file that describes an exported module: architecture.json beside model.py, other.json beside
    other.py.
    """
    return module.with_name("architecture.json") if module.name == "model.py" else module.with_suffix(".json")


def export_all(
    networks: Sequence[tuple[FoundNetwork, Path]],
    *,
    recipe: Recipe | None = None,
    check: Callable[[], None] = lambda: None,
    within: Path | None = None,
    backbone: bool = False,
) -> list[Path]:
    """Write several networks, (network, path), as :func:`export` does; one other interpreter checks all of them.

    Args:
        networks: each with the path of its module.
        recipe: named in the headers.
        check: called again and again on the way; what it raises ends the writing, between two files.
        within: a folder that all paths are in, and in which no link is followed; by default that of each path.
        backbone: as of :func:`export`.

    Raises:
        RunFolderError: a link or something else is in the way.
    """
    layouts = [_layout(found) if backbone else None for found, _ in networks]
    sources = [
        f"{_header(found, recipe)}\n{_source(found, layout)}"
        for (found, _), layout in zip(networks, layouts, strict=True)
    ]
    for source, (found, _) in zip(sources, networks, strict=True):
        must_import_torch_alone(source, found.space.name, found.key)
    _must_equal([(s, found, layout) for s, (found, _), layout in zip(sources, networks, layouts, strict=True)], check)
    for source, (found, path) in zip(sources, networks, strict=True):
        files = [(path, source), (description_of(path), _description(found, recipe))]
        programs = [path.with_name(name) for name in PROGRAMS if path.name == "model.py"]
        files += [(p, (TEMPLATES / p.name).read_text(encoding="utf-8")) for p in programs if not os.path.lexists(p)]
        for target, text in files:
            check()
            write_whole(target, text, within=within)
    return [path for _, path in networks]


def _layout(found: FoundNetwork) -> Layout:
    with forked_generators():
        return layout_of(build(found), found.input_shape)


def _source(found: FoundNetwork, layout: Layout | None) -> str:
    source = found.space.source(found.architecture)
    return source if layout is None else with_backbone(source, layout)


def _header(found: FoundNetwork, recipe: Recipe | None) -> str:
    """Comment lines; text that comes from outside stands in JSON form, so that it cannot leave its line."""
    shape = "×".join(map(str, found.input_shape))
    score = found.score
    lines = [
        f"By vkdnw-search {version('vkdnw-search')}: a network of the search space {json.dumps(found.space.name)}.",
        f"architecture  {json.dumps(found.key)}",
        f"FLOPs         {found.cost.flops:,} at {shape}, as fvcore counts them in eval() (a multiply-add is 1)",
        f"multiply-adds {found.cost.macs:,} in convolutions and linear layers",
        f"parameters    {found.cost.parameters:,} in {found.cost.tensors} tensors",
    ]
    if found.evaluation.score is not None:
        error = f" ± {score.standard_error:.2g}" if score.standard_error > 0 else ""
        lines.append(f"score         {score.value!r}{error}")
    if recipe is not None:
        lines.append(f"recipe        {json.dumps(recipe.name)}, seed {recipe.seed}")
    return "".join(f"# {line}\n" for line in lines)


def _description(found: FoundNetwork, recipe: Recipe | None) -> str:
    # a network given as text may have no genome
    genes = {g.name: g.choices[i] for g, i in zip(found.space.genes, found.evaluation.genome, strict=False)}
    cost, score = found.cost, found.score
    content: dict[str, Any] = {
        "architecture": found.key,
        "space": found.space.name,
        "input_shape": list(found.input_shape),
        "num_classes": found.space.num_classes,
        "likelihood": likelihood_of(found.space),
        "score": {"value": score.value, "standard_error": score.standard_error, **score.terms},
        "cost": {name: getattr(cost, name) for name in cost.__dataclass_fields__},
        "evaluation": found.evaluation.number,
        "genome": list(found.evaluation.genome),
        "genes": genes,
        "recipe": None if recipe is None else {"name": recipe.name, "seed": recipe.seed},
        "version": version("vkdnw-search"),
    }
    return json.dumps(_finite(content), indent=2) + "\n"


def _finite(value: Any) -> Any:
    """JSON has no NaN: null in its place."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and value != value else value


def _must_equal(modules: Sequence[tuple[str, FoundNetwork, Layout | None]], check: Callable[[], None]) -> None:
    """Compare each module, in an interpreter of its own, with what was searched."""
    with one_thread(), forked_generators(), tempfile.TemporaryDirectory() as folder:
        for number, (source, found, layout) in enumerate(modules):
            (Path(folder) / f"{number}.py").write_text(source, encoding="utf-8")
            check()
            torch.save(_expected(found, layout), whole := io.BytesIO())  # a file would say RuntimeError of a full disk
            (Path(folder) / f"{number}.pt").write_bytes(whole.getbuffer())
        code, said, errors = _verified(folder, check)
    if code != 0:
        which, _, why = said.partition(" ")
        found = modules[int(which) if which.isdecimal() else 0][1]
        raise ExportError(
            f"the module made of {found.key} ({found.space.name}) is not the network searched: "
            f"{why.strip() or errors.strip()}"
        )


def _verified(folder: str, check: Callable[[], None]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the interpreter that compares the modules in ``folder``."""
    command = [sys.executable, "-P", "-m", "vkdnw_search.output.verify", folder]  # -P: nothing of the user's folder
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a Ctrl-C is this process's own to react to
    ) as process:
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    said, errors = process.communicate(timeout=LOOK)
                    return process.returncode, said, errors
                check()
        except BaseException:
            process.kill()
            raise


def _expected(found: FoundNetwork, layout: Layout | None) -> dict[str, Any]:
    """What the module must have and compute."""
    seed_generators(CHECK_SEED)
    model = build(found).eval()
    initialize(model, seed=CHECK_SEED)
    images = torch.randn(CHECK_BATCH, *found.input_shape)
    with torch.no_grad():
        logits = model(images)
    free = sorted(free_operators(found.space))
    whole = {
        "num_classes": found.space.num_classes,
        "state": model.state_dict(),
        "images": images,
        "logits": logits,
        "flops": found.cost.flops,
        "free": free,
    }
    return whole if layout is None else {**whole, "features": _expected_features(model, images, layout)}


def _expected_features(model: nn.Module, images: torch.Tensor, layout: Layout) -> list[tuple[torch.Tensor, Any]]:
    """Images, and the feature maps that the network makes of them; also of wide ones, if it takes such."""
    modules = [feature.module for feature in layout.features]
    pairs = [(images, stage_outputs(model, modules, images))]
    with contextlib.suppress(RuntimeError):
        wide = torch.cat([images, images], dim=-1)
        pairs.append((wide, stage_outputs(model, modules, wide)))
    return pairs
