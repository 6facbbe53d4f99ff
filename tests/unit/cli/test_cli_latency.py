"""`holdfast latency`: the table, its small plots, folders, and what goes wrong."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli.exits import Exit
from holdfast.cli.latency import PLOT_CHARS, Axis, refused, seconds, table
from holdfast.cli.main import main
from holdfast.engine.latencies import Place
from holdfast.engine.learning import row_of
from holdfast.policy.sketch import Sketch
from holdfast.store.latency import put_sketches
from holdfast.store.lock import DataFolder
from holdfast.store.sqlite import SqliteStore
from holdfast.types import Tier
from holdfast.wire.latency import LatencyReport, LatencyRow, LatencyShare


def a_row(**overrides: Any) -> LatencyRow:
    """A line of a report."""
    values: dict[str, Any] = {
        "model": "nano-banana-pro",
        "size": "4K",
        "upstream": "google",
        "window": "1h",
        "is_used": True,
        "count": 1312,
        "timed_out": 2,
        "p50_s": 118.2,
        "p95_s": 171.0,
        "p99_s": 244.5,
        "prior_share": 0.038,
        "updated_at": None,
        "distribution": tuple(
            LatencyShare(until_s=until_s, share=share)
            for until_s, share in ((100.0, 0.01), (125.0, 0.6), (150.0, 0.3), (250.0, 0.09))
        ),
    }
    return LatencyRow(**values | overrides)


def a_report(*rows: LatencyRow) -> LatencyReport:
    """A report of these."""
    return LatencyReport(at="2026-11-27T12:00:00.000Z", prior_weight=50.0, data=rows)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder in which a thousand calls of an hour ago are written down."""
    monkeypatch.chdir(tmp_path)
    for name in ("GEMINI_API_KEY", "OPENAI_API_KEY", "HOLDFAST_DATA", "HOLDFAST_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    sketch = Sketch()
    for each in range(1000):
        sketch.add(100.0 + each / 10)
    now_s = datetime.now(UTC).timestamp()
    place = Place(upstream="google", model="nano-banana-pro", tier=Tier.K4, hour=int(now_s // 3600))
    with DataFolder(tmp_path / "data") as made, closing(SqliteStore(made.paths.database, "me")) as store:
        store.write_sync(put_sketches, [row_of(place, sketch, now_s)], 0)
    return tmp_path / "data"


def test_a_block_for_each_model_and_size() -> None:
    """A line for each upstream and window; what is used is marked."""
    lines = table(
        a_report(
            a_row(upstream=None),
            a_row(),
            a_row(window="24h", is_used=False, prior_share=1.0, count=0),
            a_row(size="1K"),
        )
    )
    assert lines[0] == "nano-banana-pro 4K"
    assert lines[1].split()[:9] == ["upstream", "window", "calls", "timed", "out", "p50", "p95", "p99", "prior"]
    assert lines[2].startswith("  all       1h *    1,312")
    assert "118 s  171 s  244 s     4%" in lines[2]
    assert "24h " in lines[4]
    assert "*" not in lines[4]
    assert "100%" in lines[4]
    assert lines[6] == "nano-banana-pro 1K"
    assert lines[-1].startswith("* is what estimates and deadlines are made from. Published figures count as 50 calls")


def test_nothing_to_tell_is_said() -> None:
    """An empty table would look like a fault."""
    assert table(a_report()) == ["No model is served there, and nothing was measured."]


def test_a_plot_is_highest_where_most_images_come() -> None:
    """And shows what is seldom as well."""
    row = a_row()
    axis = Axis.of([row])
    drawn = axis.plot(row)
    assert len(drawn) == PLOT_CHARS
    assert drawn[0] == "▁"
    assert 0 < drawn.count("█") < 8
    assert " " not in drawn
    assert axis.told().startswith("89 s")
    assert axis.told().endswith("250 s")
    assert len(axis.told()) == PLOT_CHARS


def test_lines_of_a_block_share_their_axis() -> None:
    """Two plots can be compared by eye."""
    fast = a_row(distribution=(LatencyShare(until_s=10.0, share=1.0),))
    slow = a_row(distribution=(LatencyShare(until_s=1000.0, share=1.0),))
    axis = Axis.of([fast, slow])
    assert axis.plot(fast) == "█"
    assert axis.plot(slow) == " " * (PLOT_CHARS - 1) + "█"
    assert axis.told() == "8.9 s" + "1,000 s".rjust(PLOT_CHARS - 5)


def test_a_row_without_a_distribution_has_no_plot() -> None:
    """As from a gateway that was not asked for it."""
    assert Axis.of([a_row(distribution=())]).plot(a_row(distribution=())) == ""


@pytest.mark.parametrize(
    ("value", "said"), [(0.0123, "0.012 s"), (1.26, "1.3 s"), (118.4, "118 s"), (86_400.0, "86,400 s")]
)
def test_times_are_spelled_as_they_are_read(value: float, said: str) -> None:
    """Three figures are enough."""
    assert seconds(value) == said


def test_a_folder_is_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Models that were measured are told of, whether they are still served or not."""
    assert main(["latency", "--data", str(folder), "--json"]) == Exit.OK
    document = json.loads(capsys.readouterr().out)
    (row,) = [
        row for row in document["data"] if (row["size"], row["window"], row["upstream"]) == ("4K", "24h", "google")
    ]
    assert (row["count"], row["is_used"]) == (1000, False)
    assert row["p50_s"] == pytest.approx(150.0, rel=0.02)
    (hour,) = document["hours"]
    assert hour["count"] == 1000


def test_a_folder_is_drawn(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The picture is where it was asked for, and the table is told all the same."""
    picture = folder.parent / "latency.svg"
    assert main(["latency", "--data", str(folder), "--plot", str(picture)]) == Exit.OK
    out = capsys.readouterr().out
    assert out.endswith(f"wrote {picture}\n")
    assert "nano-banana-pro 4K" in picture.read_text("utf-8")


def test_one_model_and_size_of_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing else is told."""
    words = ["latency", "--data", str(folder), "--model", "nano-banana-pro", "--size", "4K", "--window", "1h"]
    assert main(words) == Exit.OK
    out = capsys.readouterr().out
    assert out.startswith("nano-banana-pro 4K\n")
    assert "24h" not in out
    assert "1K" not in out


def test_a_model_that_is_nowhere_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the near one."""
    assert main(["latency", "--data", str(folder), "--model", "nano-banana-por"]) == Exit.NO_SUCH_MODEL
    assert "Did you mean 'nano-banana-pro'?" in capsys.readouterr().err


def test_no_folder_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is made there."""
    assert main(["latency", "--data", str(tmp_path / "nowhere")]) == Exit.FOLDER_LOCKED
    assert "There is no database" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_and_a_gateway_are_one_too_many(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Which of them would be meant?"""
    assert main(["latency", "--data", str(folder), "--base-url", "http://127.0.0.1:1"]) == Exit.USAGE
    assert "Leave out" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--size", "8K"], ["--window", "1d"], ["--plot"], ["everything"]])
def test_what_cannot_be_asked_is_a_mistake(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """In one line."""
    assert main(["latency", *words]) == Exit.USAGE
    assert capsys.readouterr().err.count("\n") == 1


def test_a_picture_that_cannot_be_written_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By its name."""
    assert main(["latency", "--data", str(folder), "--plot", str(folder / "no" / "x.svg")]) == Exit.USAGE
    assert "x.svg" in capsys.readouterr().err


def test_refusals_of_a_gateway_are_told_in_its_words() -> None:
    """A model that is none, a key that is wrong, an answer of somebody else."""
    model = refused(400, b'{"detail": "There is no model", "code": "invalid_request", "param": "model"}')
    assert (model.code, model.message) == (Exit.NO_SUCH_MODEL, "There is no model")
    key = refused(401, b'{"detail": "No.", "code": "invalid_api_key"}')
    assert (key.code, key.message) == (Exit.KEY_WRONG, "No.")
    other = refused(404, b"<html>")
    assert (other.code, other.message.startswith("HTTP 404")) == (Exit.USAGE, True)
    assert refused(500, b"{}").message == "HTTP 500"
