# SPDX-License-Identifier: GPL-2.0-only
"""What aggregate() writes: complete, self-contained, and harmless with hostile text."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from analysis.aggregate import Aggregated, aggregate_experiment
from analysis.compare.effect import EQUIVALENT
from analysis.report.html import LOG_HEAD, LOG_TAIL, read_log
from analysis.verdicts.status import HOLDS
from experiments.errors import FormatError
from experiments.model import Metric, Outcome
from experiments.store.experiment import Experiment
from tests.unit import analysis_fixtures as fx

HOSTILE = (
    "<script>alert('x')</script><img src=https://example.org/x> [red]$x$ | {{ 7*7 }}"
)
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """Collects what a browser would act on."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, k, v or "") for k, v in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> out of place"

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def check_self_contained(page: Page) -> None:
    assert not {"script", "link", "iframe", "object", "embed", "img"} & set(page.tags)
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), f"{tag} {name}"
        if name in ("src", "href", "xlink:href", "action", "poster", "srcset"):
            assert value.startswith(("#", "data:")), f"{tag} {name}={value}"
        if not name.startswith("xmlns"):
            assert "http" not in value, f"{tag} {name}={value}"
    for url in re.findall(r"url\(([^)]*)\)", " ".join(a[2] for a in page.attributes)):
        assert url.startswith("#")
    assert page.open == []


def printed(done: Aggregated) -> str:
    out = StringIO()
    console = Console(file=out, width=200)
    console.print(done.summary_table())
    for line in done.verdict_lines() + done.cost_lines() + done.set_aside_lines():
        console.print(line)
    return out.getvalue()


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Aggregated:
    """Two strategies, a lost, an ejected and a corrupt run, and hostile text."""
    path = tmp_path_factory.mktemp("results") / "full"
    facts = {"kernel": {"release": "6.12", "note": HOSTILE}, "cpus": 2, HOSTILE: [1]}
    specs = fx.arms(3, ("control", "test-scan", "test-exit"))
    lab = fx.Lab(path, specs, config={"duration_s": 30, "note": HOSTILE}, facts=facts)
    log = "".join(f"[{i}.0] line {i} {HOSTILE}\n" for i in range(900))
    for spec in specs:
        if (spec.variant, spec.run) == ("test-scan", 2):
            lab.broken(spec, Outcome.EJECTED, HOSTILE, log, f"R task {HOSTILE}\n")
        elif (spec.variant, spec.run) == ("test-exit", 3):
            lab.broken(spec, Outcome.LOST, "no end marker")
        elif (spec.variant, spec.run) == ("control", 3):
            lab.ok_text(spec, "timestamp\n")
        else:
            shape = fx.growing() if spec.variant == "control" else fx.plateau()
            lab.ok(spec, shape, dmesg="\x1b[31mred\x00\n")
    return aggregate_experiment(lab.experiment)


@pytest.fixture(scope="module")
def page(full: Aggregated) -> Page:
    return Page(full.report.read_text())


def test_everything_promised_is_written(full: Aggregated) -> None:
    folder = full.report.parent
    for name in (
        "summary.csv",
        "comparisons.csv",
        "verdicts.csv",
        "summary.md",
        "junit.xml",
    ):
        assert (folder / name).stat().st_size > 100
    plots = sorted(p.name for p in (folder / "plots").iterdir())
    assert plots == [
        f"scx_simple_hackbench_{kind}.svg"
        for kind in (
            *("effects", "entries", "eviction_rate", "evictions", "in_order"),
            *("memory", "metrics"),
        )
    ]
    assert not list(folder.rglob("*.tmp"))


def test_the_report_is_self_contained(page: Page) -> None:
    check_self_contained(page)
    policy = [v for t, k, v in page.attributes if t == "meta" and k == "content"]
    assert any("default-src 'none'" in v for v in policy)


def test_ids_are_unique_and_references_resolve(page: Page) -> None:
    ids = [v for _, name, v in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    refs = [v[1:] for _, k, v in page.attributes if k.endswith("href")]
    refs += re.findall(r"url\(#([^)]*)\)", " ".join(a[2] for a in page.attributes))
    assert refs
    assert set(refs) <= set(ids)


def test_hostile_text_is_shown_as_text(full: Aggregated, page: Page) -> None:
    assert HOSTILE in page.text
    assert "<script" not in full.report.read_text()
    assert "�[31mred�" in page.text
    assert f"R task {HOSTILE}" in page.text, "a dump has names that programs choose"


def test_verdicts_come_first_then_figures_then_tables_then_facts(page: Page) -> None:
    order = ["Verdicts", "Figures", "Tables", "Facts", "Set aside", "Runs"]
    heads = [word for word in page.words if word in order]
    assert heads == order


def test_every_run_is_listed_with_its_log(page: Page) -> None:
    for spec in fx.arms(3, ("control", "test-scan", "test-exit")):
        assert spec.label in page.text
    assert f"{900 - LOG_HEAD - LOG_TAIL} lines left out" in page.text
    assert "line 0 " in page.text and "line 899 " in page.text
    assert "line 500 " not in page.text
    assert "hackbench_run3.csv : the first line is not the header" in page.text
    assert "test-scan 2/3 (1 EJECTED)" in page.text
    assert "control 2/3 (1 set aside)" in page.text


def test_a_figure_follows_the_page_in_ink_and_paper(full: Aggregated) -> None:
    text = full.report.read_text()
    assert "currentColor" in text
    assert "#1c2024" not in text[text.index("<body>") :]


def test_the_plots_are_sound_svg_with_words(full: Aggregated) -> None:
    for path in (full.report.parent / "plots").iterdir():
        root = ET.parse(path).getroot()
        assert root.tag.endswith("svg")
        assert "<metadata" not in path.read_text()


def test_summary_csv(full: Aggregated) -> None:
    table = pd.read_csv(full.report.parent / "summary.csv").set_index("variant")
    assert list(table.index) == ["control", "test-exit", "test-scan"]
    assert list(table["n_used"]) == [2, 2, 2]
    assert list(table["n_planned"]) == [3, 3, 3]
    control = table.loc["control"]
    assert control["n_ok"] == 3
    assert control["growth_entries_per_s"] == pytest.approx(235, rel=0.02)
    assert control["entries_final"] == pytest.approx(7110, rel=0.02)
    assert pd.isna(control["longest_scan_us"])
    assert table.loc["test-scan", "evictions"] == 6500
    assert "workload_forks_per_s" in table.columns


def test_comparisons_and_verdicts_csv_are_tidy(full: Aggregated) -> None:
    folder = full.report.parent
    comparisons = pd.read_csv(folder / "comparisons.csv")
    keys = ["scheduler", "workload", "variant", "source", "metric"]
    assert not comparisons.duplicated(keys).any()
    assert comparisons["unit"].notna().all()
    verdicts = pd.read_csv(folder / "verdicts.csv")
    assert len(verdicts) == 12
    assert set(verdicts["status"]) <= {"holds", "does not hold", "undecided"}


def test_the_markdown_table_is_a_table(full: Aggregated) -> None:
    lines = (full.report.parent / "summary.md").read_text().splitlines()
    bars = {len(re.findall(r"(?<!\\)\|", line)) for line in lines if line[:1] == "|"}
    assert len(bars) == 1
    assert sum(line.startswith("- **") for line in lines) == 12


def test_the_terminal_shows_text_not_markup(tmp_path: Path) -> None:
    lab = fx.Lab(tmp_path / "e", fx.arms(3))
    for spec in lab.specs:
        shape = fx.growing() if spec.variant == "control" else fx.plateau()
        value = 3 + 0.001 * spec.run + 0.0001 * (spec.variant == "test") * spec.run**2
        lab.ok(spec, shape, [Metric("[bold]x", value, "[/]s|", True)])
    done = aggregate_experiment(lab.experiment)
    shown = printed(done)
    assert "[bold]x" in shown and "[/]s|" in shown
    assert "holds" in shown and "control grows" in shown
    assert {v.status for v in done.verdicts} == {HOLDS, EQUIVALENT}
    check_self_contained(Page(done.report.read_text()))


def test_files_that_are_no_data_are_named(full: Aggregated) -> None:
    assert "set aside: scx_simple/control/hackbench_run3.csv" in printed(full)


@pytest.mark.parametrize("outcome", [None, Outcome.FAILED, Outcome.SKIPPED])
def test_without_data_the_report_says_so(
    tmp_path: Path, outcome: Outcome | None
) -> None:
    lab = fx.Lab(tmp_path / "e", fx.arms(1))
    if outcome:
        for spec in lab.specs:
            lab.broken(spec, outcome, "a reason")
    done = aggregate_experiment(lab.experiment)
    page = Page(done.report.read_text())
    check_self_contained(page)
    assert "there is nothing to conclude from" in page.text
    assert "There is nothing to draw" in page.text
    assert "holds 0" in page.text and "undecided" in page.text
    assert printed(done)
    assert not (lab.path / "plots").exists()


def test_an_experiment_without_a_test_variant_has_no_verdict(tmp_path: Path) -> None:
    lab = fx.Lab(tmp_path / "e", fx.arms(2, ("control", "default")))
    done = aggregate_experiment(
        lab.all_ok({"control": fx.growing(), "default": fx.plateau(0)})
    )
    assert done.verdicts == ()
    assert "there is no claim to judge" in done.report.read_text()


def test_a_single_block_is_not_called_an_absent_effect(tmp_path: Path) -> None:
    done = aggregate_experiment(fx.typical(tmp_path / "e", fx.arms(1)))
    text = done.report.read_text()
    assert "Too few blocks to tell an effect on forks" in text
    assert "No clear effect" not in text


def test_an_empty_plan_gives_a_report(tmp_path: Path) -> None:
    done = aggregate_experiment(fx.Lab(tmp_path / "e", []).experiment)
    check_self_contained(Page(done.report.read_text()))
    assert done.summary.empty and done.verdicts == ()


def test_the_same_data_give_the_same_bytes(tmp_path: Path) -> None:
    experiment = fx.typical(tmp_path / "e", fx.arms(2))
    names = ("summary.csv", "comparisons.csv", "verdicts.csv", "summary.md")
    aggregate_experiment(experiment)
    paths = [tmp_path / "e" / n for n in (*names, "report.html")]
    paths += sorted((tmp_path / "e" / "plots").iterdir())
    before = [p.read_bytes() for p in paths]
    aggregate_experiment(experiment)
    assert [p.read_bytes() for p in paths] == before


def test_plots_of_an_earlier_call_do_not_outlive_their_data(tmp_path: Path) -> None:
    experiment = fx.typical(tmp_path / "e", fx.arms(1))
    aggregate_experiment(experiment)
    for spec in experiment.manifest().specs:
        experiment.files(spec).csv.write_text("")
    aggregate_experiment(experiment)
    assert list((tmp_path / "e" / "plots").iterdir()) == []


def test_a_broken_manifest_is_an_error(tmp_path: Path) -> None:
    experiment = fx.typical(tmp_path / "e", fx.arms(1))
    manifest = json.loads(experiment.manifest_path.read_text())
    experiment.manifest_path.write_text(json.dumps({**manifest, "schema": 99}))
    with pytest.raises(FormatError, match="schema 99"):
        aggregate_experiment(Experiment(tmp_path / "e"))


def test_a_short_log_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "dmesg.log"
    path.write_bytes(b"one\n\xfftwo " + b"x" * 1000 + b"\n")
    log = read_log(path)
    assert (log.lines, log.left_out, log.tail) == (2, 0, "")
    assert "more characters]" in log.head
