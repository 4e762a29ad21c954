"""What a script says of an epoch, in its files and in what it prints."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pytest

from hpo.run.scripts.report_rows import CsvRows, JsonLines, PrintedLines, ReportRow


def row(epoch: int | None, **metrics: float) -> ReportRow:
    return ReportRow(epoch, metrics)


class TestJsonLines:
    def test_a_line_counts_once_it_is_whole(self, tmp_path: Path) -> None:
        path, said = tmp_path / "metrics.jsonl", list[str]()
        source = JsonLines(path, said.append)
        assert not list(source.rows())
        path.write_text('{"epoch": 1, "acc": 0.5}\n{"epoch": 2, "a')
        assert list(source.rows()) == [row(1, acc=0.5)]
        with path.open("a") as file:
            file.write('cc": "0.75"}\n\n')
        assert list(source.rows()) == [row(2, acc=0.75)]
        assert said == []

    def test_garbage_is_named_with_its_line(self, tmp_path: Path) -> None:
        path, said = tmp_path / "metrics.jsonl", list[str]()
        path.write_bytes(
            b'{"epoch": 1, "acc": NaN, "name": "x", "on": true, "list": [1]}\n'
            b"\xff\x00 what\n[1]\n"
            b'{"epoch": "three", "acc": 1}\n{"acc": 0.5}\n' + b"[" * 100_000 + b"\n"
        )
        first, second = JsonLines(path, said.append).rows(final=True)
        assert first.epoch == 1
        assert math.isnan(first.metrics["acc"])
        assert first.metrics.keys() == {"acc"}
        assert second == row(None, acc=0.5)
        assert [text.split()[0] for text in said] == [
            *("metrics.jsonl:2", "metrics.jsonl:3", "metrics.jsonl:4", "metrics.jsonl:6")
        ]
        assert "three" in said[2]
        assert all(len(text) < 200 for text in said)


class TestPrintedLines:
    @pytest.mark.parametrize(
        ("printed", "expected"),
        [
            (b"epoch 3: acc 0.5\n", [row(3, acc=0.5)]),
            (b"\x1b[32mepoch 3: \x1b[1macc 9.1e-1\x1b[0m\n", [row(3, acc=0.91)]),
            (
                b"  1%|#\r 50%|###\repoch 1: acc 0.1\repoch 2: acc 0.2\n",
                [row(1, acc=0.1), row(2, acc=0.2)],
            ),
            (b"epoch 1: acc nan\n", [row(1, acc=math.nan)]),
            (b"epoch 1: acc 91.5%\r\n", [row(1, acc=91.5)]),
            (b"epoch 1: acc none\nacc \xff\xfe\n", []),
            (b"x" * 200_000 + b"epoch 1: acc 0.5\nepoch 2: acc 0.5\n", [row(2, acc=0.5)]),
        ],
    )
    def test_a_pattern_finds_metrics(
        self, tmp_path: Path, printed: bytes, expected: list[ReportRow]
    ) -> None:
        path = tmp_path / "output.log"
        path.write_bytes(printed)
        pattern = r"epoch (?P<epoch>\d+): acc (?P<acc>\S+)"
        found = list(PrintedLines(path, pattern, {}).rows())
        assert str(found) == str(expected)

    def test_a_group_may_stand_for_a_metric_of_another_name(self, tmp_path: Path) -> None:
        path = tmp_path / "output.log"
        path.write_text("loss=2\nloss=1")
        source = PrintedLines(path, "loss=(?P<val_loss>.*)", {"val_loss": "val/loss"})
        assert list(source.rows()) == [ReportRow(None, {"val/loss": 2.0})]
        assert list(source.rows(final=True)) == [ReportRow(None, {"val/loss": 1.0})]


class TestCsvRows:
    def test_rows_of_lightning(self, tmp_path: Path) -> None:
        """The file is rewritten when a column is added, and each version has a folder."""
        said: list[str] = []
        source = CsvRows(tmp_path, "**/metrics.csv", said.append)
        assert not self.read(source)
        first = tmp_path / "lightning_logs/version_0/metrics.csv"
        first.parent.mkdir(parents=True)
        first.write_text("epoch,step,val_acc\n0,9,0.5\n1,19,0.")
        assert self.read(source) == [(0, {"step": 9.0, "val_acc": 0.5})]
        first.write_text("epoch,step,train_loss,val_acc\n0,9,,0.5\n0,9,1.5,\n1,19,,0.6\n")
        assert self.read(source) == [
            (0, {"step": 9.0, "train_loss": 1.5}),
            (1, {"step": 19.0, "val_acc": 0.6}),
        ]
        assert not self.read(source)
        second = tmp_path / "lightning_logs/version_1/metrics.csv"
        second.parent.mkdir()
        second.write_text("epoch,val_acc\n2,0.7\n")
        assert self.read(source) == [(2, {"val_acc": 0.7})]
        assert said == []

    def test_a_file_that_was_begun_anew_is_read_again(self, tmp_path: Path) -> None:
        path = tmp_path / "log.csv"
        source = CsvRows(tmp_path, "log.csv", lambda text: None)
        path.write_text("epoch, acc\n1,0.1\n2,0.2\n")
        assert self.read(source) == [(1, {"acc": 0.1}), (2, {"acc": 0.2})]
        path.write_text("epoch, acc\n3,0.3\n")
        assert self.read(source) == [(3, {"acc": 0.3})]

    def test_no_numbers_are_no_values(self, tmp_path: Path) -> None:
        (tmp_path / "log.csv").write_bytes(b'epoch,acc,note\n1,"x",a\n\xff,\x00,\n"2\n')
        source = CsvRows(tmp_path, "log.csv", lambda text: None)
        assert all(not metrics for _, metrics in self.read(source))

    @staticmethod
    def read(source: CsvRows) -> list[tuple[int | None, Mapping[str, float]]]:
        source._next_at = 0.0
        return [(found.epoch, found.metrics) for found in source.rows()]
