from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
CORPUS = HERE / "public.jsonl"
GENERATED = HERE / "generated.jsonl"
PROCESSES = HERE / "processes.jsonl"


def conformance(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.conformance", *arguments]
    return subprocess.run(
        command, cwd=HERE.parent.parent, capture_output=True, text=True, timeout=110, check=False
    )


@pytest.mark.parametrize("how", [(), ("--inline",), ("--switch", "1e-6", "--jobs", "4")], ids=" ".join)
def test_the_corpus_of_otp_traces_passes(how: tuple[str, ...]) -> None:
    done = conformance(str(CORPUS), *how)
    assert done.stdout.splitlines()[-1:] == ["400 passed, 0 failed"], done.stdout + done.stderr
    assert done.returncode == 0


def test_the_generated_scenarios_pass() -> None:
    done = conformance(str(GENERATED))
    assert done.stdout.splitlines()[-1:] == ["200 passed, 0 failed"], done.stdout + done.stderr


@pytest.mark.parametrize("switch", [(), ("--switch", "1e-6")], ids=" ".join)
@pytest.mark.parametrize("way", [(), ("--inline",), ("--coroutines",)], ids=" ".join)
def test_the_corpus_of_elixir_processes_passes(way: tuple[str, ...], switch: tuple[str, ...]) -> None:
    done = conformance(str(PROCESSES), *way, *switch)
    assert done.stdout.splitlines()[-1:] == ["200 passed, 0 failed"], done.stdout + done.stderr
    assert done.returncode == 0


def test_the_generator_gives_the_same_scenarios_for_the_same_seed() -> None:
    command = [sys.executable, "-m", "tests.conformance.scenarios", "1", "3", "3"]
    runs = [
        subprocess.run(command, cwd=HERE.parent.parent, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    known = {line["name"]: line["scenario"] for line in map(json.loads, GENERATED.read_text().splitlines())}
    made = [json.loads(line) for line in runs[0].splitlines()]
    assert len(made) == 3
    assert all(known.get(line["name"], line["scenario"]) == line["scenario"] for line in made)


@pytest.mark.parametrize(
    ("corpus", "scenario", "right", "wrong", "shown"),
    [
        pytest.param(
            CORPUS,
            '"stop_reverse_order"',
            '["tree_down","normal"]',
            '["tree_down","boom"]',
            ["stop_reverse_order", 'expected ["tree_down", "boom"]'],
            id="of a supervisor",
        ),
        pytest.param(
            PROCESSES,
            '"g221"',
            '["link", "noproc"]',
            '["link", "boom"]',
            ['["link", "boom"]', '["link", "noproc"]'],
            id="of processes",
        ),
    ],
)
def test_a_trace_that_differs_is_shown_and_fails(
    corpus: Path, scenario: str, right: str, wrong: str, shown: list[str], tmp_path: Path
) -> None:
    line = next(line for line in corpus.read_text().splitlines() if scenario in line)
    assert right in line
    file = tmp_path / "wrong.jsonl"
    file.write_text(line.replace(right, wrong) + "\n")
    done = conformance(str(file))
    assert [each for each in shown if each not in done.stdout] == []
    assert done.stdout.splitlines()[-1] == "0 passed, 1 failed"
    assert done.returncode == 1
