from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from search_spaces.nasbench201 import NasBench201
from vkdnw_search import score
from vkdnw_search.commands.main import main
from vkdnw_search.contracts import Likelihood
from vkdnw_search.cost.counter import CostCounter
from vkdnw_search.proxies.vkdnw import VkdnwSingle
from vkdnw_search.quantities import score_text

CELL = "|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
SMALL = ["vkdnw_single.images=16", "vkdnw_single.parameters=16"]
NETWORK = """
from torch import nn

class Network(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(48, 8), nn.ReLU(), nn.Linear(8, 3))

class Square(Network):
    def forward(self, x):
        return super().forward(x)[:, :, None]

small = Network()
number = 5

def broken():
    raise RuntimeError("no such layer")

def text():
    return "a network"
"""


def told(out: str) -> dict[str, str]:
    return {line.split()[0]: line.split(maxsplit=1)[1] for line in out.splitlines()}


def test_an_architecture_of_a_space_scores_as_from_python(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "nasbench201", "--text", CELL, "space.cells=1", *SMALL]) == 0
    space = NasBench201(cells=1)
    expected = score(space.build(space.parse(CELL)), (3, 32, 32), proxy=VkdnwSingle(images=16, parameters=16))
    out = told(capsys.readouterr().out)
    assert out["vkdnw_single"] == f"{expected.value:.4f} ± {expected.standard_error:.2g}"
    assert "at 3×32×32" in out["FLOPs"]


def test_a_large_score_is_spelled_as_everywhere_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "nasbench201", "--text", CELL, "--proxy", "flops"]) == 0
    out = capsys.readouterr().out
    flops = told(out)["FLOPs"].split()[0]
    assert flops.count(",") == 2 and f"\nflops        {flops}\n" in out  # a term of this name follows


def test_a_proxy_that_compares_networks_gives_a_single_one_terms_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(NETWORK)
    plugin = tmp_path / "sizes.py"
    plugin.write_text(
        "from vkdnw_search.proxies.aggregate import RankSum\nfrom vkdnw_search.proxies.size import Flops\n\n"
        "def make():\n    return RankSum(proxies={'flops': Flops()})\n\nPROXIES = {'sizes': make}\n"
    )
    words = [str(tmp_path / "mine.py"), "--input-shape", "3,4,4", "--proxy", "sizes", "--plugin", str(plugin)]
    assert main(["score", *words]) == 0
    out = told(capsys.readouterr().out)
    assert out["sizes"] == "compares networks with one another; a single one has terms, no value"
    assert float(out["flops"]) == 48 * 8 + 8 * 3


def test_a_file_scores_by_its_network_and_several_seeds_by_their_mean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(NETWORK)
    assert main(["score", str(file), "--input-shape", "3, 4, 4", "vkdnw_single.parameters=4", "--seeds", "3"]) == 0
    out = told(capsys.readouterr().out)
    assert out["network"] == "Network" and out["vkdnw_single"].endswith("over 3 initializations")
    assert out["parameters"] == str(48 * 8 + 8 + 8 * 3 + 3)


AS_BUILT = """
import torch
from torch import nn


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.positions = nn.Parameter(torch.randn(12, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 5)

    def forward(self, ids):
        x = self.embed(ids) + self.positions
        return self.head((x + self.attention(x, x, x, need_weights=False)[0]).mean(dim=1))


made = Network()
"""


@pytest.mark.parametrize("name", ["Network", "made"])
def test_weights_that_a_score_leaves_as_built_are_those_of_the_seed(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tokens.py"
    file.write_text(AS_BUILT)

    def shown(*words: str) -> str:
        torch.rand(1 + len(words))  # what was drawn before does not matter
        assert main(["score", f"{file}:{name}", "--input-shape", "12", "vkdnw_single.images=8", *words]) == 0
        return capsys.readouterr().out

    one, other = shown(), shown("--seed", "1")
    assert one == shown("--seed", "0") and other == shown("--seed", "1")
    assert one != other


def test_an_exported_network_is_scored_at_the_resolution_it_was_searched_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.py").write_text(NETWORK)
    (tmp_path / "architecture.json").write_text('{"input_shape": [3, 4, 4]}')
    assert main(["score", f"{tmp_path / 'model.py'}:small", "--proxy", "flops"]) == 0
    assert told(capsys.readouterr().out)["FLOPs"] == "408 at 3×4×4"
    (tmp_path / "architecture.json").write_text("[" * 100_000)  # then it is that of ImageNet
    assert main(["score", f"{tmp_path / 'model.py'}:small", "--proxy", "flops"]) == 1
    assert "must accept an input of shape (1, 3, 224, 224)" in capsys.readouterr().err


def test_flops_of_a_network_with_operators_that_nobody_declared_free_are_told_with_their_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = NasBench201(cells=1)
    (tmp_path / "model.py").write_text(space.source(space.parse(CELL)))
    assert main(["score", str(tmp_path / "model.py"), "--input-shape", "3,32,32", *SMALL]) == 0
    flops = CostCounter(space).cost(space.parse(CELL)).flops
    assert told(capsys.readouterr().out)["FLOPs"].startswith(f"{flops:,} at 3×32×32, without aten::add")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["gone.py"], 2, "gone.py: must be a Python file, an importable module or a search space"),
        (["mine.py:Nothing"], 2, "Nothing must be a torch.nn.Module or make one, but is not there"),
        (
            ["mine.py:Squar"],
            2,
            "but is not there. Did you mean 'Square'? It defines Network, Square. Say which with mine.py:",
        ),
        (["mine.py:text"], 2, "but makes something else (str). It defines Network, Square"),
        (
            ["torch.nn.functional"],
            2,
            "Network must be a torch.nn.Module or make one, but is not there. It defines no class",
        ),
        (["mine.py:number"], 1, "number() must make a network without arguments"),
        (["mine.py:broken"], 1, "RuntimeError: no such layer"),
        (["mine.py:Square", "--input-shape", "3,4,4"], 1, "must come with a likelihood"),
        (["mine.py", "--input-shape", "3,5,5"], 1, "must accept inputs of shape (2, 3, 5, 5)"),
        (["mine.py", "--text", CELL], 2, "--text and space.… are for search spaces"),
        (["nasbench201"], 2, "must have --text"),
        (["nasbench201", "--text", "|conv~0|"], 2, "conv"),
        (["nasbench201", "--text", CELL, "zen.alpha=1"], 2, "settings must begin with 'space' or 'vkdnw_single'"),
        (["nasbench201", "--text", CELL, "--proxy", "zenn"], 2, "Did you mean 'zen'?"),
    ],
)
def test_what_cannot_be_scored_is_told_in_words(
    words: list[str],
    code: int,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(NETWORK)
    assert main(["score", *words]) == code
    assert says in capsys.readouterr().err


def test_the_file_of_a_search_space_is_told_from_that_of_a_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.py"
    file.write_text("class Network:\n    def __init__(self, width): ...\n\nSPACES = {'mine': Network}\n")
    assert main(["score", str(file)]) == 1
    assert f"--plugin {file} mine --text" in capsys.readouterr().err


@pytest.mark.parametrize("description", ["[1]", "not JSON", '{"input_shape": "wide"}', "{}"])
def test_another_json_file_beside_a_network_is_no_description(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], description: str
) -> None:
    (tmp_path / "mine.py").write_text(NETWORK)
    (tmp_path / "mine.json").write_text(description)
    assert main(["score", str(tmp_path / "mine.py")]) == 1
    assert "must accept inputs of shape (2, 3, 224, 224)" in capsys.readouterr().err


def test_a_setting_that_the_network_cannot_take_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(NETWORK)
    shape = ["--input-shape", "3,4,4", "vkdnw_single.parameters=4", "vkdnw_single.resolution=8"]
    assert main(["score", str(tmp_path / "mine.py"), *shape]) == 1
    assert "Network: cannot be scored with VkdnwSingle(" in capsys.readouterr().err


ANY = """
import torch
from torch import nn

class Dense(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 1))

class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Embedding(7, 8), nn.Linear(8, 7)

    def forward(self, tokens):
        return {"logits": self.head(torch.relu(self.words(tokens))), "tokens": tokens}
"""


def test_how_outputs_and_inputs_are_read_is_told_and_may_be_chosen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(ANY)
    small = ["vkdnw_single.images=16", "vkdnw_single.parameters=4"]
    for likelihood, outputs in {
        None: "categorical, 4 classes at each of 9 positions",
        "gaussian": "gaussian, 4×3×3 numbers",
    }.items():
        chosen = [] if likelihood is None else ["--likelihood", likelihood]
        assert main(["score", f"{file}:Dense", "--input-shape", "3,5,5", *small, *chosen]) == 0
        assert told(capsys.readouterr().out)["outputs"] == outputs
    (tmp_path / "mine.json").write_text('{"input_shape": [3, 5, 5], "likelihood": "bernoulli"}')
    assert main(["score", f"{file}:Dense", *small]) == 0
    assert told(capsys.readouterr().out)["outputs"] == "bernoulli, 4×3×3 times yes or no"
    (tmp_path / "mine.json").unlink()
    words = ["score", f"{file}:Words", "--input-shape", "5", *small]
    assert main(words) == 1
    assert "returns 'logits' (2, 5, 7), 'tokens' (2, 5). Say which counts" in capsys.readouterr().err
    assert main([*words, "--output", "logits", "--class-axis", "-1"]) == 0
    out = told(capsys.readouterr().out)
    assert out["outputs"].startswith("categorical, 7 classes at each of 5 positions (logits); tokens drawn uniformly")
    assert out["FLOPs"].startswith(f"{5 * 8 * 7} at 5")


HEADS = """
from torch import nn

class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.label, self.depth = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 5, 1), nn.Conv2d(6, 1, 1)

    def forward(self, x):
        y = self.body(x).relu()
        return {"label": self.label(y).mean((2, 3)), "depth": self.depth(y)}
"""


def test_several_heads_are_scored_as_from_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.py"
    file.write_text(HEADS)
    words = ["score", f"{file}:Heads", "--input-shape", "3,6,6", "vkdnw_single.images=16", "vkdnw_single.parameters=6"]
    scope: dict[str, Any] = {}
    exec(HEADS, scope)
    small = VkdnwSingle(images=16, parameters=6)
    heads: dict[str | int, Likelihood] = {"label": "categorical", "depth": "gaussian"}
    expected = score(scope["Heads"](), (3, 6, 6), proxy=small, likelihood=heads)
    for likelihood in ("label=categorical,depth=gaussian", "0=categorical, -1=gaussian"):
        assert main([*words, "--likelihood", likelihood]) == 0
        out = told(capsys.readouterr().out)
        assert out["vkdnw_single"] == score_text(expected.value, expected.standard_error)
    assert out["outputs"] == "categorical, 5 classes (output 0); gaussian, 1×4×4 numbers (output -1)"
    assert main(words) == 1
    says = capsys.readouterr().err
    assert "output='label' (--output label)" in says and "(--likelihood label=categorical,…)" in says
    assert main([*words, "--output", "lable"]) == 1
    assert "Did you mean 'label'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("likelihood", "says"),
    [
        ("gausian", "must be one of auto, categorical, gaussian, bernoulli, or one for each output such as"),
        ("gausian", "but is 'gausian'. Did you mean 'gaussian'?"),
        ("label=categorial", "but is 'categorial'. Did you mean 'categorical'?"),
        ("label=gaussian,gaussian", "must name each output once"),
        ("a=gaussian,a=bernoulli", "must name each output once"),
        ("a=gaussian,", "but is ''"),
    ],
)
def test_a_likelihood_that_is_none_is_told_with_those_there_are(
    likelihood: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["score", "mine.py", "--likelihood", likelihood])
    assert says in capsys.readouterr().err
