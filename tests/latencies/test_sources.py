"""Sources of latencies: tables that are damaged, commands that misbehave, recipes that name what they must not."""

import csv
import sys
import time
from pathlib import Path

import pytest
from torch import nn

from vkdnw_search.contracts import LatencyContext, NeedsContext, TimesNetworks
from vkdnw_search.errors import LatencyError, LatencyUnknown, RecipeError, RunFolderError
from vkdnw_search.latencies.pytorch import TorchLatency
from vkdnw_search.latencies.repeated_runs import timed
from vkdnw_search.latencies.table import MeasuredTable, TableLatency, read_table
from vkdnw_search.recipe.recipe import load_recipe
from vkdnw_search.records import Timing


def never():
    raise AssertionError("a table makes no module")


def linear():
    return nn.Linear(3, 2), (3,)


def table(folder: Path, *rows: str, head: str = "number,part,input_shape,file,milliseconds,spread") -> Path:
    path = folder / "measured.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def test_the_median_and_the_quartiles_of_the_runs_are_told() -> None:
    ticks = iter(x for run in range(11) for x in (100.0 * run, 100.0 * run + 1 + run))  # runs of 1, 2, …, 11 seconds
    assert timed(lambda: None, clock=lambda: next(ticks)) == Timing(6.0, (8.5 - 3.5) / 6.0)


def test_pytorch_times_a_batch_in_another_type_and_leaves_the_threads_as_they_were() -> None:
    import torch

    before, seen = torch.get_num_threads(), []

    class Spy(nn.Conv2d):
        def forward(self, x):
            seen.append((x.shape, x.dtype, torch.get_num_threads(), x.is_contiguous(memory_format=torch.channels_last)))
            return super().forward(x)

    source = TorchLatency(threads=2, batch=5, channels_last=True, dtype="bfloat16")
    assert source.timing("a part", lambda: (Spy(3, 4, 1), (3, 8, 8))).seconds > 0
    assert set(seen) == {((5, 3, 8, 8), torch.bfloat16, 2, True)} and torch.get_num_threads() == before


def test_a_table_gives_its_milliseconds_in_seconds(tmp_path: Path) -> None:
    table(tmp_path, "1,\"('conv', 3) (8, 16)\",1x8x4x4,0001.onnx,2.5,0.1", "2,whole,1x3x8x8,0002.onnx,40,")
    found = TableLatency(correction=1).within(LatencyContext(tmp_path))
    assert found.timing("('conv', 3) (8, 16)", never) == Timing(0.0025, 0.1)
    assert found.timing("whole", never) == Timing(0.04) and found.correction == 1
    assert isinstance(TableLatency(), NeedsContext) and isinstance(found, TimesNetworks)
    with pytest.raises(LatencyUnknown, match=r"measured\.csv has no row for it"):
        found.timing("another", never)


@pytest.mark.parametrize("value", ["", "-1", "fast", "nan", "inf", "1 ms"])
def test_a_part_without_a_usable_time_is_named(tmp_path: Path, value: str) -> None:
    table(tmp_path, "1,good,1,a,1,0", f"2,bad,1,b,{value},0", "3,good,1,c,1,0")
    with pytest.raises(LatencyError) as caught:
        read_table(tmp_path / "measured.csv")
    assert f"2 do not: bad (milliseconds {value!r}); good (a second row)" in str(caught.value)


def test_a_file_that_is_no_such_table_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(LatencyError, match="No such file"):
        read_table(tmp_path / "measured.csv")
    with pytest.raises(LatencyError, match="lacks milliseconds"):
        read_table(table(tmp_path, "a", head="part"))
    (tmp_path / "measured.csv").write_bytes(b"part,milliseconds\n\xff\xfe,1\n")
    with pytest.raises(LatencyError, match="CSV in UTF-8"):
        read_table(tmp_path / "measured.csv")


@pytest.mark.parametrize("file", ["/etc/passwd", "../measured.csv", "parts/../../measured.csv"])
def test_a_recipe_names_no_file_outside_its_folder(tmp_path: Path, file: str) -> None:
    table(tmp_path, "a,1", head="part,milliseconds")
    (tmp_path / "inner").mkdir()
    recipe = load_recipe("nb201", ["limits.latency=1ms", f"latency={{use: table, file: {file}}}"])
    with pytest.raises(RecipeError, match=r"latency \(table\): file: must be a file in the folder of the recipe"):
        recipe.build_latency(LatencyContext(tmp_path / "inner"))


def test_a_link_beside_a_recipe_is_not_followed(tmp_path: Path) -> None:
    outside = table(tmp_path, "a,1", head="part,milliseconds")
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "measured.csv").symlink_to(outside)
    with pytest.raises(RunFolderError, match="symbolic link"):
        TableLatency().within(LatencyContext(inner))


def test_what_a_run_needs_and_a_table_lacks_is_named_before_it_begins() -> None:
    with pytest.raises(LatencyError, match="2 of the 3 parts of random candidates are missing: b; c"):
        MeasuredTable({"a": Timing(1.0)}, "measured.csv").require(["a", "b", "c"])


# ---------------------------------------------------------------------------------------------- commands

MISBEHAVING = {
    "import time; time.sleep(60)": "the command took more than 0.5 s",
    "pass": "must print milliseconds on its last line, but printed nothing",
    "print('3 ms')": "printed '3 ms'",
    "print(-3)": "printed '-3'",
    "print('nan')": "printed 'nan'",
    "import sys; print(3); sys.exit('no device')": "ended with exit code 1: no device",
}


@pytest.fixture
def commands():
    pytest.importorskip("onnx")
    from vkdnw_search.latencies import command

    return command


@pytest.mark.parametrize("program", MISBEHAVING)
def test_a_command_that_misbehaves_is_told_and_is_ended(commands, program: str) -> None:
    source = commands.GivenCommand((sys.executable, "-c", program), seconds=0.5 if "sleep" in program else 60)
    started = time.monotonic()
    with pytest.raises(LatencyUnknown) as caught:
        source.timing("a part", linear)
    assert MISBEHAVING[program] in str(caught.value) and time.monotonic() - started < 50


def test_a_command_that_is_not_there_is_told(commands) -> None:
    with pytest.raises(LatencyUnknown, match="'no-such-program' cannot be run"):
        commands.GivenCommand(("no-such-program",)).timing("a part", linear)


@pytest.mark.parametrize("words", [("{}",), ()])
def test_a_command_is_given_the_file_and_its_last_line_is_milliseconds(commands, words: tuple[str, ...]) -> None:
    program = "import onnx, sys; onnx.checker.check_model(onnx.load(sys.argv[1])); print('ready\\n12.5')"
    source = commands.GivenCommand((sys.executable, "-c", program, *words))
    assert source.timing("a part", linear) == Timing(0.0125)


def test_a_recipe_never_names_a_command(commands) -> None:
    with pytest.raises(RecipeError, match=r"words: is not a known key"):
        load_recipe("nb201", ["latency={use: command, words: [rm]}"])
    recipe = load_recipe("nb201", ["latency={use: command, seconds: 5}"])
    with pytest.raises(RecipeError, match=r"latency \(command\): a recipe never names a command"):
        recipe.build_latency(LatencyContext())
    given = recipe.build_latency(LatencyContext(command=("true",)))
    assert given == commands.GivenCommand(("true",), seconds=5.0)


# ---------------------------------------------------------------------------------------------- ONNX Runtime


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_onnx_runtime_runs_a_part_and_what_ignores_its_input(precision: str) -> None:
    pytest.importorskip("onnxruntime")
    import torch

    from vkdnw_search.latencies.onnx_runtime import OnnxRuntimeLatency

    class Nothing(nn.Module):
        def forward(self, x):
            return torch.zeros(1, 2)

    source = OnnxRuntimeLatency(precision=precision)
    block = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    assert source.timing("a part", lambda: (block, (3, 32, 32))).seconds > 0
    if precision == "float32":
        assert source.timing("nothing", lambda: (Nothing(), (3, 4, 4))).seconds >= 0


def test_a_part_in_onnx_computes_what_the_module_does(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    import numpy as np
    import torch

    from vkdnw_search.latencies.onnx_files import write_part

    block = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).eval()
    write_part(block, (3, 9, 9), tmp_path / "part.onnx")
    session = runtime.InferenceSession(str(tmp_path / "part.onnx"), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).standard_normal((1, 3, 9, 9), dtype=np.float32)
    assert np.allclose(session.run(None, {"images": x})[0], block(torch.from_numpy(x)).detach(), atol=1e-5)


def test_a_provider_that_is_not_installed_is_told_the_choices() -> None:
    pytest.importorskip("onnxruntime")
    from vkdnw_search.latencies.onnx_runtime import OnnxRuntimeLatency

    with pytest.raises(LatencyError, match=r"providers: must be among .*CPUExecutionProvider.*'Moon' is not"):
        OnnxRuntimeLatency(providers=("Moon",))


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from vkdnw_search.latencies.onnx_files import must_have_extra

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(LatencyError, match=r"pip install 'vkdnw-search\[onnx\]'"):
        must_have_extra()


def test_the_script_of_a_device_times_a_folder_and_goes_on_where_it_was_cut_off(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("onnxruntime")
    from vkdnw_search.latencies.onnx_files import nothing, write_part
    from vkdnw_search.latencies.templates import time_parts

    write_part(*nothing(), tmp_path / "nothing.onnx")
    write_part(*linear(), tmp_path / "0001.onnx")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("number,part,input_shape,file\n1,first,1x3,0001.onnx\n2,second,1x3,0002.onnx\n")
    arguments = ["time_parts.py", "--manifest", str(manifest), "--out", str(tmp_path / "m.csv"), "--seconds", "0"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert time_parts.main() == 1  # the second is not there
    first = read_table(tmp_path / "m.csv")
    write_part(*linear(), tmp_path / "0002.onnx")
    assert time_parts.main() == 0
    both = read_table(tmp_path / "m.csv")
    assert [*both] == ["first", "second"] and both["first"] == first["first"]
    with (tmp_path / "m.csv").open() as file:
        assert csv.DictReader(file).fieldnames == ["number", "part", "input_shape", "file", "milliseconds", "spread"]
