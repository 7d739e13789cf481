"""Networks that are awkward in other forms are written so that they come back, or refused in words."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.support import awkward_plugin
from tests.support.generated_source import load
from vkdnw_search.commands.main import main
from vkdnw_search.recipe import registry

PLUGIN = ["--plugin", awkward_plugin.__file__]
TEXT = ["--text", "w8k1d1"]


@pytest.fixture(autouse=True)
def leave_no_plugin_behind(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_joined", {kind: {} for kind in registry.KINDS})
    monkeypatch.setattr(registry, "_sources", [])
    monkeypatch.setattr("vkdnw_search.output.module._must_equal", lambda *_: None)
    yield


def test_tied_weights_are_written_and_come_back_in_a_fresh_network(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    path = tmp_path / "tied.py"
    assert main(["export", "tied", *TEXT, *PLUGIN, "--weights", "safetensors", "--seed", "3", "--to", str(path)]) == 0
    weights = safetensors.load_file(tmp_path / "tied.safetensors")
    network = load(path).Network()
    network.load_state_dict(weights)
    assert network.second.weight is network.first.weight
    torch.manual_seed(3)
    for name, tensor in load(path).Network().state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor)


@pytest.mark.parametrize("form", ["torch-export", "onnx"])
def test_a_network_that_cannot_be_traced_is_refused_in_words_and_nothing_is_kept(
    form: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if form == "onnx":
        pytest.importorskip("onnxruntime"), pytest.importorskip("onnxscript")
    before = logging.root.manager.disable
    words = ["export", "untraceable", *TEXT, *PLUGIN, "--format", form, "--to", str(tmp_path / "new/model")]
    assert main(words) == 1
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1
    assert err.startswith("model: the network cannot be written in this form: ") and "--format python" in err
    assert not list(tmp_path.iterdir()) and logging.root.manager.disable == before
    assert main(["export", "untraceable", *TEXT, *PLUGIN, "--to", str(tmp_path / "new/model.py")]) == 0
