from __future__ import annotations

import bz2
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from search_spaces.nasbench201 import NasBench201
from vkdnw_search.errors import RankingError
from vkdnw_search.ranking.nats import read_nats
from vkdnw_search.ranking.tables import AccuracyTable, read_csv, read_macro_json

DATA = Path(__file__).parents[3] / "shared" / "data"
with_data = pytest.mark.skipif(not DATA.is_dir(), reason="the shared data folder is not beside the repository")


def key(text: str) -> str:
    return NasBench201().parse(text).key


def written(folder: Path, text: str, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_csv_table_is_read_as_it_is_written(tmp_path):
    table = read_csv(written(tmp_path, "arch,cifar10,params\n01,90.5,100\n10,0,2e6\n"))
    assert table.architectures == ("01", "10") and len(table) == 2
    assert table.column("cifar10").tolist() == [90.5, 0] and table.column("params").tolist() == [100, 2e6]
    assert table.rows([1]).architectures == ("10",) and table.rows([1]).column("params").tolist() == [2e6]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"table.csv, line 1: must be 'arch'"),
        ("name,cifar10\n", r"line 1: must be 'arch' .* but is 'name,cifar10'"),
        ("arch,cifar10,cifar10\n", r"line 1"),
        ("arch,cifar10\n", r"table.csv: must hold at least one"),
        ("arch,cifar10\na,90\na,91\n", r"line 3: the architecture 'a' stands already at .*line 2"),
        ("arch,cifar10\na,90\n\nb,91,92\n", r"line 4: must have 2 fields, but has 3"),
        ("arch,cifar10\na,high\n", r"line 2, cifar10: must be a number, but is 'high'"),
        ("arch,cifar10\na,\n", r"line 2, cifar10: must be a number"),
        ("arch,cifar10\na,nan\n", r"line 2, cifar10: must be an accuracy in percent"),
        ("arch,cifar10\na,100.1\n", r"line 2, cifar10: .* 0 … 100, but is '100.1'"),
        ("arch,cifar10\na,-1\n", r"0 … 100"),
        ("arch,flops\na,0\n", r"line 2, flops: must be a positive number"),
        ("arch,flops\na,inf\n", r"line 2, flops: must be a positive number"),
        ('arch,cifar10\n"a,90\n', r"is not CSV"),
    ],
)
def test_a_fault_in_a_csv_table_is_named_with_its_file_and_line(tmp_path, text, words):
    with pytest.raises(RankingError, match=words):
        read_csv(written(tmp_path, text))


def test_bytes_that_are_no_text_are_an_error(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b"arch,cifar10\n\xff\xfe,90\n")
    with pytest.raises(RankingError, match=r"table.csv, line .* is not CSV in UTF-8"):
        read_csv(path)


@pytest.mark.parametrize("read", [read_csv, read_macro_json])
def test_a_missing_file_is_named(tmp_path, read):
    with pytest.raises(RankingError, match=r"gone: must be an accuracy table, but there is no such file"):
        read(tmp_path / "gone")


def test_a_missing_column_is_answered_with_those_there_are():
    table = AccuracyTable(("a",), {"cifar10": np.array([90.0])})
    with pytest.raises(RankingError, match=r"'cifar1O', but has cifar10\. Did you mean 'cifar10'\?"):
        table.column("cifar1O")


def test_an_architecture_of_another_space_is_named_with_its_line(tmp_path):
    with pytest.raises(RankingError, match=r"line 2: the architecture is not of this space"):
        read_csv(written(tmp_path, "arch,cifar10\n00112,90\n"), canonical=key)


def test_of_equal_networks_the_one_written_canonically_counts_else_the_first(tmp_path):
    rows = "arch,cifar10\na-,1\nA,2\na+,3\nb-,4\nb+,5\n"
    table = read_csv(written(tmp_path, rows), canonical=lambda text: text.upper().strip("+-"))
    assert table.architectures == ("A", "B") and table.column("cifar10").tolist() == [2, 4]


@with_data
@pytest.mark.slow  # parses 15,625 cells
def test_the_cells_of_nas_bench_201_are_15625_and_9445_networks():
    path = DATA / "nb201_test_accuracy.csv"
    everything, networks = read_csv(path), read_csv(path, canonical=key)
    assert len(everything) == 15625 and len(networks) == 9445
    accuracy = dict(zip(everything.architectures, everything.column("cifar10"), strict=True))
    assert all(accuracy[a] == b for a, b in zip(networks.architectures, networks.column("cifar10"), strict=True))


@with_data
def test_the_macro_table_keeps_leading_zeros():
    table = read_csv(DATA / "nas_bench_macro_2000.csv")
    assert len(table) == 2000 and table.architectures[0] == "00000000"
    assert table.column("flops")[0] == 7713280


def test_the_published_form_of_nas_bench_macro_is_read(tmp_path):
    record = {"test_acc": [40.0, 50.0, 60.0], "std": 8.2, "params": 387882, "flops": 7713280}
    entries = {"00000000": {**record, "mean_acc": 51.0}, "00000002": record}
    table = read_macro_json(written(tmp_path, json.dumps(entries)))
    assert table.architectures == ("00000000", "00000002")
    assert {name: values.tolist() for name, values in table.columns.items()} == {
        "cifar10": [51, 50],
        "params": [387882] * 2,
        "flops": [7713280] * 2,
    }


def test_sizes_that_only_some_architectures_have_are_left_out(tmp_path):
    entries = {"0": {"mean_acc": 1, "params": 5}, "1": {"mean_acc": 2}}
    assert set(read_macro_json(written(tmp_path, json.dumps(entries))).columns) == {"cifar10"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", "must be JSON"),
        ("[]", "must be a JSON object"),
        ("{}", "not empty"),
        ('{"0": {"mean_acc": 1}, "0": {"mean_acc": 2}}', "'0' stands there twice"),
        ('{"0": {"std": 1}}', r"table.json, '0': must be a record with mean_acc or test_acc"),
        ('{"0": 5}', "'0': must be a record"),
        ('{"0": {"mean_acc": "x"}}', "'0', cifar10: must be a number, but is 'x'"),
        ('{"0": {"mean_acc": true}}', "must be a number, but is True"),
        ('{"0": {"mean_acc": 101}}', r"0 … 100"),
        ('{"0": {"test_acc": [1, null]}}', "'0', test_acc: must be a number, but is None"),
        ('{"0": {"mean_acc": 1, "flops": -5}}', "'0', flops: must be a positive number"),
    ],
)
def test_a_fault_in_a_json_table_is_named_with_its_architecture(tmp_path, text, words):
    with pytest.raises(RankingError, match=words):
        read_macro_json(written(tmp_path, text, "table.json"))


@with_data
def test_official_files_and_the_csv_agree():
    pytest.importorskip("nats_bench")
    official = read_nats(DATA / "nats_tss_sample" / "NATS-tss-v1_0-3ffb9-simple")
    ours = read_csv(DATA / "nb201_test_accuracy.csv")
    assert len(official) == 3 and set(official.columns) == {"cifar10", "cifar100", "imagenet16"}
    rows = ours.rows([ours.architectures.index(text) for text in official.architectures])
    for name in ("cifar10", "cifar100"):
        np.testing.assert_allclose(official.column(name), rows.column(name), atol=1e-4)
    assert official.column("imagenet16")[2] == pytest.approx(32.4667, abs=1e-4)  # as the package's own query gives


def test_a_pickle_that_would_run_code_is_refused_before_it_does(tmp_path):
    pytest.importorskip("nats_bench")

    class Attack:
        def __reduce__(self):
            return Path.touch, (tmp_path / "attacked",)

    (tmp_path / "000000.pickle.pbz2").write_bytes(bz2.compress(pickle.dumps({"200": Attack()})))
    with pytest.raises(
        RankingError, match=r"000000\.pickle\.pbz2: is not a file of the benchmark: it asks for pathlib"
    ):
        read_nats(tmp_path)
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no archive", "is damaged"),
        (bz2.compress(b""), "is damaged"),
        (bz2.compress(pickle.dumps({"12": {}})), "must hold results of 200 epochs"),
        (bz2.compress(pickle.dumps({"200": {"arch_index": 0}})), "must hold results of 200 epochs"),
    ],
)
def test_a_damaged_official_file_is_named(tmp_path, content, words):
    pytest.importorskip("nats_bench")
    (tmp_path / "000003.pickle.pbz2").write_bytes(content)
    with pytest.raises(RankingError, match=rf"000003\.pickle\.pbz2: .*{words}"):
        read_nats(tmp_path)


def test_a_folder_without_official_files_is_an_error(tmp_path):
    pytest.importorskip("nats_bench")
    for folder in (tmp_path, tmp_path / "gone"):
        with pytest.raises(RankingError, match="such as 000000"):
            read_nats(folder)


def test_without_the_package_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "nats_bench.api_utils", None)
    with pytest.raises(RankingError, match=r"pip install 'vkdnw-search\[nats\]'"):
        read_nats(tmp_path)


@with_data
def test_a_truncated_official_file_is_damaged(tmp_path):
    pytest.importorskip("nats_bench")
    source = DATA / "nats_tss_sample" / "NATS-tss-v1_0-3ffb9-simple" / "000000.pickle.pbz2"
    shutil.copyfile(source, tmp_path / source.name)
    (tmp_path / source.name).write_bytes(source.read_bytes()[:5000])
    with pytest.raises(RankingError, match="is damaged"):
        read_nats(tmp_path)
