"""What a ratio of the benchmarks is, what is judged, that pages have the program's rows, and that it runs.

Nothing is timed here.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
NAMES = (
    "actors",
    "registry",
    "supervision",
    "throttle",
    "stages",
    "kafka",
    "cluster",
    "control",
    "observer",
    "trees",
    "imports",
)


@pytest.fixture(autouse=True)
def in_the_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])


def part(name: str) -> Any:
    return importlib.import_module(f"benchmarks.{name}")


def room(name: str) -> Any:
    return part("rooms").room(name)


def benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def section(rows: list[Any], **sides: list[Any]) -> Any:
    """A section whose sides see what is given, one figure a repeat."""

    @contextmanager
    def scripted(effort: Any) -> Iterator[Mapping[str, Any]]:
        yield {name: iter(figures).__next__ for name, figures in sides.items()}

    repeats = len(next(iter(sides.values())))
    return part("rows").Section("scripted", "Says nothing.", scripted, rows, repeats)


def measured(row: Any, **sides: list[Any]) -> Any:
    [result] = part("measuring").run(section([row], **sides), [row], part("rows").Effort())
    return result


def compared(bar: Any = None) -> Any:
    return part("rows").Row("it", "ours", "theirs", bar)


# What a row says


def test_a_ratio_is_the_median_of_the_ratios_of_neighbours() -> None:
    result = measured(compared(), ours=[1.0, 10.0, 2.0], theirs=[1.0, 5.0, 4.0])
    assert (result.figure, result.other_figure) == (2.0, 4.0)
    assert result.ratio == 1.0


def test_a_side_may_give_several_figures_of_one_run() -> None:
    row = part("rows").Row("it", "both: long", "both: short", beside={"both: more": "items"})
    result = measured(row, both=[{"long": 6.0, "short": 2.0, "more": 5.0}])
    assert (result.ratio, result.row.title, result.beside) == (3.0, "it / both", {"both: more": 5.0})


def test_what_goes_before_is_not_counted() -> None:
    row = compared()
    scripted = section([row], ours=[9.0, 2.0], theirs=[1.0, 1.0])
    warmed = part("rows").Section("scripted", "Says nothing.", scripted.sides, [row], 1, warm_up=1)
    [result] = part("measuring").run(warmed, [row], part("rows").Effort())
    assert result.ours == (2.0,)


@pytest.mark.parametrize(
    ("promised", "missed"),
    [
        ({"ratio": 2.0}, False),
        ({"ratio": 1.9}, True),
        ({"figure": 4.0}, False),
        ({"figure": 3.9}, True),
        ({"best": 2.0}, False),
        ({"best": 1.9}, True),
        ({"alone": 0.1}, False),
        ({"ratio": 2.0, "figure": 3.9}, True),
        ({}, False),
    ],
)
def test_a_bar_is_missed_by_what_it_speaks_of(promised: dict[str, float], missed: bool) -> None:
    bar = part("rows").Bar(**promised)
    assert measured(compared(bar), ours=[2.0, 4.0, 6.0], theirs=[1.0, 2.0, 3.0]).missed is missed


def test_a_row_without_its_peer_is_judged_by_what_holds_alone() -> None:
    rows = part("rows")
    row = rows.Row("it", "ours", rows.Peer("no_such_library", "it", "Nobody"), rows.Bar(ratio=1.0, alone=3.0))
    result = measured(row, ours=[4.0])
    assert (result.ratio, result.missed, part("printing").promise(result)) == (None, True, "3 us")
    assert part("measuring").can_be_measured(row)


def test_a_row_that_says_nothing_without_its_peer_is_left_out() -> None:
    rows = part("rows")
    row = rows.Row("it", "ours", rows.Peer("no_such_library", "it", "Nobody"), rows.Bar(ratio=1.0))
    assert not part("measuring").can_be_measured(row)


def test_the_last_line_names_what_was_missed_and_what_did_not_run() -> None:
    rows, program = part("rows"), part("__main__")
    result = measured(compared(rows.Bar(ratio=0.5)), ours=[1.0], theirs=[1.0])

    def last_line(effort: Any) -> str:
        run = program.Run([], effort, None, {("a room", "it / theirs"): result}, failed=["a room/broken"])
        return program.last_line(run)

    assert last_line(rows.Effort()) == "did not run: a room/broken; missed: a room: it / theirs"
    assert last_line(rows.Effort(0.01)) == "did not run: a room/broken"


# The tables of the pages


@pytest.mark.parametrize("name", NAMES)
def test_a_page_has_the_rows_that_the_program_declares(name: str) -> None:
    titles = [part("printing").code(row.title) for row in room(name).rows]
    assert list(part("pages").written(room(name))) == titles


@pytest.mark.parametrize("name", NAMES)
def test_rows_and_sections_can_be_told_apart(name: str) -> None:
    titles = [row.title for row in room(name).rows]
    sections = [section.name for section in room(name).sections]
    assert len(set(titles)) == len(titles)
    assert len(set(sections)) == len(sections)


def page_after(
    tmp_path: Path, row: Any, results: dict[str, Any], line: str = "| it / theirs | 3 us | 2 us | 1.5 | 2x |"
) -> str:
    """The row of a page that had such a line, written anew."""
    rows, pages = part("rows"), part("pages")
    one = rows.Room("one", "page.md", [rows.Section("of it", "Says this.", None, [row])])
    page = tmp_path / "page.md"
    page.write_text(f"Before.\n\n<!-- benchmarks: one -->\n{line}\n<!-- end of benchmarks -->\n\nAfter.\n")
    pages.write(one, results, "a machine", tmp_path)
    text = page.read_text()
    assert text.startswith("Before.\n\n<!-- benchmarks: one -->\n")
    assert text.endswith("\n<!-- end of benchmarks -->\n\nAfter.\n")
    [written] = [each for each in text.splitlines() if each.startswith("| it")]
    return written


def test_a_row_that_was_measured_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    result = measured(compared(part("rows").Bar(ratio=2.0)), ours=[1.0], theirs=[4.0])
    assert (
        page_after(tmp_path, compared(), {"it / theirs": result})
        == "| it / theirs | 1 us | 4 us | 0.25 | 2x |"
    )


def test_a_row_that_was_not_measured_stays_and_says_that_it_is_earlier(tmp_path: Path) -> None:
    once = page_after(tmp_path, compared(), {})
    assert once == "| it / theirs | 3 us (earlier) | 2 us | 1.5 | 2x |"
    assert page_after(tmp_path, compared(), {}, once) == once
    bare = page_after(tmp_path, compared(), {}, "| it / theirs |  |  | 1.5 | 2x |")
    assert bare == "| it / theirs | (earlier) |  | 1.5 | 2x |"
    assert page_after(tmp_path, compared(), {}, bare) == bare


def test_the_figure_of_a_peer_that_is_not_here_says_that_it_is_earlier(tmp_path: Path) -> None:
    rows = part("rows")
    row = rows.Row("it", "ours", rows.Peer("no_such_library", "it", "theirs"), rows.Bar(figure=9.0))
    results = {"it / theirs": measured(row, ours=[1.0])}
    once = page_after(tmp_path, row, results)
    assert once == "| it / theirs | 1 us | 2 us (earlier) |  | 9 us |"
    assert page_after(tmp_path, row, results, once) == once


def test_a_new_row_says_that_it_was_not_measured(tmp_path: Path) -> None:
    assert page_after(tmp_path, compared(), {}, "").startswith("| it / theirs | not measured |")


def test_a_page_without_marks_is_an_error_that_names_them(tmp_path: Path) -> None:
    rows = part("rows")
    (tmp_path / "page.md").write_text("No table here.")
    with pytest.raises(LookupError, match="expected `<!-- benchmarks: one -->`"):
        part("pages").tables_of(rows.Room("one", "page.md", []), tmp_path)


# The program


def test_help_names_the_rooms() -> None:
    done = benchmarks("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(name in done.stdout for name in NAMES)


def test_a_quick_run_of_a_room_runs_every_row_that_has_both_sides(tmp_path: Path) -> None:
    done = benchmarks("registry", "--quick", "--json", str(tmp_path / "rows.json"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("every row runs; nothing was judged\n")
    report = json.loads((tmp_path / "rows.json").read_text())
    expected = [row.title for row in room("registry").rows if part("measuring").can_be_measured(row)]
    assert [row["row"] for row in report["rows"]] == expected
    assert all(row["ours"] is not None and row["missed"] is None for row in report["rows"])
    assert set(report["machine"]) == {"cpus", "system", "python", "resprout", "pykka"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["kitchen"],
            f"expected rooms among {', '.join(NAMES)}, got: kitchen",
        ),
        (["--rows", "no such row"], "expected a pattern that finds some row, got: no such row"),
        (["--quick", "--write-docs"], "expected --write-docs without --quick, whose figures mean nothing"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_runs(arguments: list[str], says: str) -> None:
    done = benchmarks(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
