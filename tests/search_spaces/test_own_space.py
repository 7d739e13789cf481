"""A space of one's own: a file that joins by --plugin, as docs/own-space.md tells it, or an installed package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.support.generated_source import load
from vkdnw_search.recipe import registry as plugins
from vkdnw_search.testing import check_search_space

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def command(*words: str, folder: Path, path: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), path]))}
    return subprocess.run(
        [sys.executable, "-m", "vkdnw_search", *words], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_the_space_of_the_tutorial_keeps_its_contract():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "_joined", {kind: {} for kind in plugins.KINDS})
        patch.setattr(plugins, "_sources", [])
        plugins.load_plugin(EXAMPLES / "my_space.py")
        check_search_space(plugins.find("spaces", "my_space")(), samples=20)


def test_the_tutorial_is_short():
    lines = (EXAMPLES / "my_space.py").read_text().splitlines()
    assert len([line for line in lines if line.strip()]) <= 60


@pytest.mark.slow
def test_the_tutorial_searches_and_leaves_a_network_that_trains_a_step(tmp_path):
    plugin = ["--plugin", str(EXAMPLES / "my_space.py")]
    words = [str(EXAMPLES / "my.yaml"), *plugin, "--out", "found", "-q"]
    run = command(*words, folder=tmp_path)
    assert run.returncode == 0, run.stderr
    assert json.loads((tmp_path / "found/best/architecture.json").read_text())["cost"]["flops"] <= 1_000_000
    assert_trains(load(tmp_path / "found/best/model.py").Network(num_classes=4))
    for again in (["report", "found"], ["export", "found", "--rank", "2", "--to", "second.py"]):
        run = command(*again, *plugin, folder=tmp_path)
        assert run.returncode == 0, run.stderr
    assert_trains(load(tmp_path / "second.py").Network(num_classes=4))


def assert_trains(model: torch.nn.Module) -> None:
    before = next(model.parameters()).detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.nn.functional.cross_entropy(model(torch.randn(4, 3, 32, 32)), torch.arange(4)).backward()
    optimizer.step()
    after = next(model.parameters())
    assert bool(after.isfinite().all()) and not torch.equal(after, before)


@pytest.mark.slow
def test_an_installed_package_is_found_by_its_entry_point(tmp_path):
    target = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target)]
    subprocess.run([*pip, str(ROOT / "tests" / "plugin_package")], check=True, capture_output=True)
    assert "plain_convnets" not in command("list", folder=tmp_path).stdout
    assert "Networks of one or two convolutions" in command("list", folder=tmp_path, path=str(target)).stdout
    (tmp_path / "mine.yaml").write_text(
        "{space: plain_convnets, stop: {evaluations: 4}, executor: inline, finalists: 0, score: trainable_layers}\n"
    )
    run = command("mine.yaml", "--out", "found", "-q", folder=tmp_path, path=str(target))
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "found/best/model.py").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe", ["macro", "resnet_1M", "autoformer_tiny", "stages_mbv2", "mcu_320k", "ofa_mobilenetv3"]
)
def test_the_recipe_of_a_space_finds_a_network_within_its_limits_that_trains_a_step(recipe, tmp_path):
    few = ["stop.evaluations=6", "executor=inline", "finalists=0", "--out", "found", "-q"]
    run = command(recipe, *few, "score=trainable_layers", folder=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert_trains(load(tmp_path / "found/best/model.py").Network(num_classes=4))
