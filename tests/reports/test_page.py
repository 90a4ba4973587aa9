"""The page holds what the runs say, as text, and fetches nothing."""

import base64
import hashlib
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import plotly.graph_objects
import pytest

from bertsmith.errors import UserError
from bertsmith.reports.charts import COLORS
from bertsmith.reports.page import write_page
from bertsmith.reports.runs import measure_title
from bertsmith.storage.manifests import read_manifest, write_manifest

HOSTILE = "<script>alert(1)</script>"
VOID = {"meta", "input"}


class Page(HTMLParser):
    """What a browser makes of the page, as far as we look."""

    def __init__(self, path: Path):
        super().__init__()
        self.open, self.tags, self.attributes = [], Counter(), []
        self.texts, self.scripts, self.identifiers = [], [], []
        self.html = path.read_text(encoding="utf-8")
        self.feed(self.html)
        self.close()
        assert not self.open, "unclosed elements"

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["script"]:
            self.scripts[-1] += data
        elif self.open[-1:] != ["style"]:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)

    @property
    def charts(self) -> dict:
        return json.loads(self.scripts[0])


@pytest.fixture
def write(tmp_path):
    return lambda *runs: Page(write_page(runs, tmp_path / "report.html"))


def test_a_pretraining_run_is_told_whole(write, pretrain_run):
    page = write(pretrain_run)
    for words in ("small", "finished", "data/owt", "8.1 G tokens", "30,522", "12 layers × 256, embedding 128",
                  "128 rows of 128 tokens", "64.0 k tokens/s", "30% of the measured peak", "4 min 10 s", "a GPU",
                  "torch 2.13.0", "schedule.learning_rate", "0.0005", "Masked-token loss, nats", "Learning rate",
                  "Tokens a second", "Word order accuracy"):  # fmt: skip
        assert words in page.text, words
    assert "Skipped steps" not in page.text
    assert page.tags["figure"] == len(page.charts) == 7


def test_scores_stand_beside_published_ones_with_their_protocol(write, finetune_run):
    page = write(finetune_run)
    for words in ("45.6", "median of 3 seeds", "Matthews correlation", "46.2", "43.10", "ELECTRA-Small-OWT", "56.8",
                  "dev set, median of at least 10 seeds", "BERT-Base", "52.1", "test set", "runs/small",
                  "3 min 0 s"):  # fmt: skip
        assert any(words in text for text in page.texts), words


def test_a_trial_that_learnt_nothing_is_said(write, finetune_run):
    results = [("seed-1", {"constant": True}), ("seed-2", {"cautions": ["mcc <b>0.0</b> is no better", "stood still"]})]
    for name, content in results:
        (finetune_run / "trials" / name / "results.json").write_text(json.dumps(content))
    said = ["seed 1: every dev prediction is the same", "seed 2: mcc <b>0.0</b> is no better", "seed 2: stood still"]
    assert [text for text in write(finetune_run).texts if text.startswith("seed ")] == said  # a line each


def test_published_scores_are_shown_in_their_own_metric(write, make_finetune, tmp_path):
    scores = {"f1": [0.9, 0.91], "accuracy": [0.86, 0.87]}
    page = write(make_finetune(tmp_path / "mrpc", "mrpc", scores))
    assert "mrpc: Accuracy × 100" in page.texts
    assert "86.3" in page.texts and "BERT-Base" not in page.texts


def test_each_of_several_tasks_stands_beside_a_run_of_its_own(write, make_finetune, tmp_path):
    scores = {"rte.accuracy": [0.6, 0.62], "squad-v1.1.exact_match": [0.3, 0.4], "squad-v1.1.f1": [0.5, 0.52]}
    several = make_finetune(tmp_path / "several", "several", scores)
    tasks = {"tasks": {"rte": {}, "squad-v1.1": {}}}
    write_manifest(several, "finetune", read_manifest(several, "finetune") | tasks)
    page = write(several, make_finetune(tmp_path / "alone", "rte", {"accuracy": [0.7]}))
    for words in ("rte, squad-v1.1", "rte: Accuracy × 100", "squad-v1.1: Exact match × 100", "61.0", "35.0", "70.0",
                  "dev set, median of 2 seeds, learnt with other tasks", "ELECTRA-Small"):  # fmt: skip
        assert words in page.texts, words
    assert "squad-v1.1: F1 51.0 (mean 51.0 ± 1.0)" in page.texts
    together = page.text.split("rte: Accuracy × 100")[1].split("squad-v1.1: Exact match × 100")[0]
    assert "several" in together and "alone" in together


def test_what_was_held_out_is_called_and_counted_as_the_scores_are(write, make_finetune, tmp_path):
    run = make_finetune(tmp_path / "stopped", "custom", {"f1_micro": [0.8]})
    with (run / "trials" / "seed-0" / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"split": "heldout", "step": 50, "f1_micro": 0.7, "mcc": 0.5}) + "\n")
    page = write(run)
    assert page.texts.count("Micro F1") >= 2 and "Matthews correlation" in page.texts
    percent = [chart["figure"]["layout"]["yaxis"].get("tickformat") for chart in page.charts.values()]
    assert percent.count("~p") == 1


def test_of_one_seed_there_is_no_spread(write, make_finetune, tmp_path):
    page = write(make_finetune(tmp_path / "one", "squad-v2.0", {"best_f1": [0.5], "exact": [0.25]}))
    assert "±" not in page.text.replace("Mean ± std", "") and "median" not in page.text
    assert {"F1 at its best threshold 50.0", "Exact match 25.0", "squad-v2.0: F1 at its best threshold"} <= set(
        page.texts
    )


def test_a_search_is_its_combinations_the_best_first_and_what_its_choice_is_worth(write, make_finetune, tmp_path):
    grid = {}
    for name, score in {"lr-0.1": 0.5, "lr-0.2": 0.7, "lr-0.3": 0.6}.items():
        run = make_finetune(tmp_path / "search" / "grid" / name, "rte", {"accuracy": [score]})
        grid[name] = json.loads((run / "results.json").read_text())
    write_manifest(tmp_path / "search", "search", {"finished": True})
    with pytest.raises(UserError, match="search: a search that has no scores yet"):
        write(tmp_path / "search")
    results = {"metric": "accuracy", "chosen": "lr-0.2", "chosen_by": "the mean of accuracy on dev", "grid": grid}
    (tmp_path / "search" / "results.json").write_text(json.dumps(results))
    page = write(tmp_path / "search")
    places = [page.texts.index(name) for name in ("lr-0.2", "lr-0.3", "lr-0.1")]
    assert places == sorted(places)
    assert page.texts.count("dev set, 1 seed, chosen there") == 1
    assert "by the mean of accuracy on dev, as the best of 3, so its score there is optimistic" in page.texts


def test_a_task_that_nobody_published_has_its_own_scores_alone(write, make_finetune, tmp_path):
    page = write(make_finetune(tmp_path / "mine", "custom", {"accuracy": [0.5]}))
    assert "50.0" in page.texts and "ELECTRA-Small" not in page.texts


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("accuracy_mismatched", "Accuracy mismatched"), ("best_f1", "F1 at its best threshold"),
        ("f1_micro", "Micro F1"),
        ("mcc", "Matthews correlation"), ("mean", "Mean over the tasks"), ("squad-v1.1.f1", "squad-v1.1: F1"),
        ("sts-b.pearson", "sts-b: Pearson correlation"),
    ],
)  # fmt: skip
def test_measures_are_called_as_people_write_them(name, title):
    assert measure_title(name) == title


def test_runs_stand_side_by_side_and_what_differs_is_named(write, make_pretrain, finetune_run, pretrain_run, tmp_path):
    other = make_pretrain(tmp_path / "wider", {"batch_size": 256, "plan": {"steps": 1000}})
    page = write(pretrain_run, other, finetune_run)
    differing = page.text.split("Settings that differ")[1].split("All settings")[0]
    assert "batch_size" in differing and "plan.steps" not in differing
    loss = next(iter(page.charts.values()))["figure"]["data"]
    assert [trace["name"] for trace in loss] == ["small", "small · held-out", "wider", "wider · held-out"]
    assert len({trace["line"]["color"] for trace in loss}) == 2


def test_runs_of_one_name_are_told_apart_and_a_run_named_twice_is_shown_once(write, make_pretrain, tmp_path):
    first, second = (make_pretrain(tmp_path / parent / "run") for parent in ("a", "b"))
    page = write(first, second, tmp_path / "a" / ".." / "a" / "run")
    assert "2 runs side by side" in page.texts
    assert {"a/run", "b/run"} <= set(page.texts)


def test_hostile_names_stay_text(write, make_pretrain, make_finetune, tmp_path):
    folder = tmp_path / "</script><img src=x onerror=alert(1)>"
    settings = {"data": HOSTILE, f'"{HOSTILE}': [HOSTILE], "plan": {"steps": 1000}}
    page = write(
        make_pretrain(folder, settings),
        make_finetune(tmp_path / "tuned", HOSTILE, {HOSTILE: [0.5, 0.6]}, {"model": f"&lt;{HOSTILE}", "task": HOSTILE}),
    )
    assert page.tags["script"] == 3 and page.tags["img"] == 0
    assert HOSTILE in page.texts and f"&lt;{HOSTILE}" in page.texts and f'"{HOSTILE}' in page.texts
    assert "script><img src=x onerror=alert(1)>" in page.texts
    # plotly reads markup in its labels, so there it is escaped once more
    assert "<img" not in page.scripts[0] and "\\u003cimg" not in page.scripts[0]


def test_names_that_utf8_cannot_hold_are_written(write, make_pretrain, tmp_path):
    page = write(make_pretrain(tmp_path / "caf\udce9"))
    assert "caf?" in page.texts


def test_nothing_is_fetched_and_no_foreign_script_may_run(write, pretrain_run):
    page = write(pretrain_run)
    assert not [item for item in page.attributes if item[1] in ("src", "href", "srcset", "data", "action")]
    style = re.search(r"<style>(.*?)</style>", (pretrain_run.parent / "report.html").read_text(), re.DOTALL)[1]
    assert "url(" not in style and "@import" not in style
    policy = next(value for tag, name, value in page.attributes if tag == "meta" and "default-src" in value)
    assert "default-src 'none'" in policy and "script-src 'sha256" in policy
    for script in page.scripts[1:]:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_charts_are_what_plotly_understands(write, pretrain_run, finetune_run):
    for chart in write(pretrain_run, finetune_run).charts.values():
        plotly.graph_objects.Figure(chart["figure"])  # raises on a property that does not exist
        for positions in chart["axes"].values():
            assert [len(row) for row in positions] == [len(trace["y"]) for trace in chart["figure"]["data"]]


def test_the_style_holds_a_dark_mode_and_tables_scroll_in_their_own_box(write, pretrain_run):
    page = write(pretrain_run)
    html = (pretrain_run.parent / "report.html").read_text()
    assert "prefers-color-scheme: dark" in html and "width=device-width" in html
    assert page.tags["table"] == sum(item == ("div", "class", "scroll") for item in page.attributes)


def test_a_run_that_was_killed_or_has_not_begun_has_a_page(write, make_pretrain, make_finetune, tmp_path):
    killed = make_pretrain(tmp_path / "killed", num_steps=500)
    with open(killed / "metrics.jsonl", "a") as file:
        file.write('{"split": "train", "st')
    empty = make_pretrain(tmp_path / "empty", num_steps=0)
    (empty / "metrics.jsonl").unlink()
    (empty / "recipe.toml").unlink()
    untried = make_finetune(tmp_path / "untried", "rte", {})
    (untried / "results.json").unlink()
    page = write(killed, empty, untried)
    assert "Pre-training, unfinished: step 500 of 1,000" in page.texts
    assert "Pre-training, unfinished: step 0" in page.texts
    assert "Nothing measured yet." in write(empty).texts


def test_stages_of_a_damaged_recipe_are_left_out(write, make_pretrain, tmp_path):
    last = {"batch_size": 8, "rows": {"length": 64}}
    whole = write(make_pretrain(tmp_path / "whole", last | {"stages": [{"tokens": 2_000, "length": 16}]}))
    assert "8 rows of 16 tokens for 2,000 tokens, then 8 rows of 64 tokens" in whole.texts
    odd = [[{"length": 16}], [{"tokens": "many"}], [{"tokens": 9, "batch_size": [8]}], [5], 5, {"tokens": 9}]
    runs = [make_pretrain(tmp_path / f"odd-{number}", last | {"stages": stages}) for number, stages in enumerate(odd)]
    page = write(*runs)
    assert page.texts.count("Pre-training, finished") == 6
    assert "Batch" not in page.texts and "8 rows" not in page.text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "not a run folder"),
        ('{"kind": "data"}', "a data folder"),
        ("{", r"damaged \(line 1: not JSON .*; make the folder again"),
        ("[]", r"must hold an object, not \[\]"),
        ('{"kind": "pretrain", "format_version": 999}', "format 999"),
    ],
)
def test_what_is_no_run_is_refused_and_nothing_is_written(tmp_path, content, words):
    folder, out = tmp_path / "folder", tmp_path / "report.html"
    folder.mkdir()
    if content is not None:
        (folder / "manifest.json").write_text(content)
    with pytest.raises(UserError, match=words) as caught:
        write_page([folder], out)
    assert str(folder) in str(caught.value)
    assert not out.exists()


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(UserError, match=rf"^{tmp_path}/nope: no such folder; give the folder of a run$"):
        write_page([tmp_path / "nope"], tmp_path / "page.html")


def test_a_file_is_no_run(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file: not a run folder"):
        write_page([tmp_path / "file"], tmp_path / "report.html")


def test_a_page_that_cannot_be_written_is_said_and_a_folder_for_it_is_made(pretrain_run, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"Not a directory|File exists"):
        write_page([pretrain_run], tmp_path / "file" / "report.html")
    assert write_page([pretrain_run], tmp_path / "new" / "folder" / "report.html").is_file()


def with_measure(run: Path, **measures: float) -> Path:
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"split": "heldout", "step": 7, "tokens": 70, "seconds": 1.0, **measures}) + "\n")
    return run


def test_a_perplexity_is_named_by_whose_it_is(write, pretrain_run, make_pretrain, tmp_path):
    recipe = {"objective": {"kind": "rtd"}}
    electra = with_measure(make_pretrain(tmp_path / "electra", recipe), rtd_loss=0.3, mlm_perplexity=9.0)
    page = write(pretrain_run)
    assert "held-out masked-token perplexity" in page.texts and "Masked-token perplexity" in page.texts
    page = write(electra)
    assert (
        "held-out generator's masked-token perplexity" in page.texts
        and "Generator's masked-token perplexity" in page.texts
    )
    assert "Masked-token perplexity / Generator's masked-token perplexity" in write(pretrain_run, electra).texts


@pytest.mark.parametrize(("measure", "value"), [("blimp", 0.5), ("mlm_perplexity", 50.0)])
def test_one_evaluation_is_a_point_on_axes_that_begin_at_zero(write, make_pretrain, tmp_path, measure, value):
    run = make_pretrain(tmp_path / "once", num_steps=0)
    page = write(with_measure(run, **{measure: value}))
    (chart,) = page.charts.values()
    layout, (trace,) = chart["figure"]["layout"], chart["figure"]["data"]
    assert (trace["x"], trace["y"], trace["mode"]) == ([7], [value], "lines+markers")
    assert layout["xaxis"]["rangemode"] == layout["yaxis"]["rangemode"] == "tozero"
    assert layout["yaxis"].get("type") != "log"


def test_the_newest_step_is_that_of_a_checkpoint_or_of_a_line(write, make_pretrain, tmp_path):
    early = make_pretrain(tmp_path / "early", num_steps=0)
    late = make_pretrain(tmp_path / "late", num_steps=500)
    for folder in (early / "checkpoints" / "step-00000002", early / "checkpoints" / "step-9", late / "checkpoints"):
        folder.mkdir(parents=True)
    (late / "checkpoints" / "step-00000400").mkdir()
    page = write(early, late)
    for words in ("step 2 of 1,000", "step 500 of 1,000"):
        assert f"Pre-training, unfinished: {words}" in page.texts


def test_a_run_has_one_colour_on_a_page_that_it_shares(write, pretrain_run, make_finetune, tmp_path):
    page = write(make_finetune(tmp_path / "tuned", "rte", {"accuracy": [0.5, 0.6]}), pretrain_run)
    first, second = COLORS[:2]
    colors = {"tuned": first, "small": second}
    drawn = {
        (trace["name"].split(" · ")[0], trace["line"]["color"])
        for chart in page.charts.values()
        for trace in chart["figure"]["data"]
        if trace["mode"] != "markers"
    }
    assert drawn == set(colors.items())
    swatches = set(re.findall(r'background:(#\w+)"></span>([\w-]+)<', page.html))
    assert swatches == {(color, name) for name, color in colors.items()}


def test_an_official_test_file_is_said_to_be_what_was_scored(write, make_finetune, tmp_path):
    run = make_finetune(tmp_path / "chunks", "chunk", {"f1": [0.5]})
    assert "dev set, 1 seed" in write(run).texts  # of an earlier version, which did not say
    write_manifest(run, "finetune", read_manifest(run, "finetune") | {"scored_on": "test"})
    page = write(run)
    assert "official test set, 1 seed" in page.texts and "dev set" not in page.text
    assert "8,551 in train, 1,043 in the official test file, which is what is scored" in page.texts
    several = make_finetune(tmp_path / "several", "several", {"rte.accuracy": [0.6], "chunk.f1": [0.5]})
    tasks = {"tasks": {"rte": {"scored_on": "dev"}, "chunk": {"scored_on": "test"}}}
    write_manifest(several, "finetune", read_manifest(several, "finetune") | tasks)
    texts = write(several).texts
    assert "8,551 in train, 1,043 in dev (of chunk in the official test file)" in texts
    assert {"dev set, 1 seed, learnt with other tasks", "official test set, 1 seed, learnt with other tasks"} <= set(
        texts
    )


def test_an_electric_has_a_headline_and_measures_have_a_line_each(write, make_pretrain, tmp_path):
    run = make_pretrain(tmp_path / "electric", {"objective": {"kind": "electric"}}, num_steps=0)
    page = write(with_measure(run, cloze_perplexity=1064.5, rtd_auc=0.5, hidden_cosine=0.8))
    assert {"1,064.5", "held-out perplexity of the two towers", "perplexity of the two towers: 1064"} <= set(page.texts)
    assert "mean cosine of different tokens' hidden vectors (near 1: all alike): 0.8" in page.texts


def test_one_epoch_is_one_and_shares_are_percent(write, make_finetune, pretrain_run, tmp_path):
    page = write(make_finetune(tmp_path / "one", "cola", {"mcc": [0.0]}, {"epochs": 1.0}), pretrain_run)
    assert "1 epoch, 32 examples a step" in page.text and "cola: Matthews correlation" in page.texts
    peak = next(chart for chart in page.charts.values() if chart["figure"]["data"][0].get("y", [None])[0] == 0.3)
    assert peak["figure"]["layout"]["yaxis"]["tickformat"] == "~p"


def test_each_seed_has_a_colour_and_is_in_the_legend(write, make_finetune, tmp_path):
    first, second = (make_finetune(tmp_path / name, "rte", {"accuracy": [0.5, 0.6, 0.7]}) for name in ("a", "b"))
    page = write(first)
    loss = next(chart for chart in page.charts.values() if len(chart["figure"]["data"]) == 3)["figure"]["data"]
    assert len({trace["line"]["color"] for trace in loss}) == 3
    assert [trace["name"] for trace in loss] == [f"a · seed-{seed}" for seed in range(3)]
    assert {"seed-0", "seed-1", "seed-2"} <= set(page.texts)
    both = next(chart for chart in write(first, second).charts.values() if len(chart["figure"]["data"]) == 6)
    lines = [trace["line"] for trace in both["figure"]["data"]]
    assert len({line["color"] for line in lines}) == 2
    assert len({(line["color"], line["dash"]) for line in lines}) == 6


def test_runs_that_do_not_compare_are_said_to(write, make_pretrain, make_finetune, tmp_path):
    def pretrained(name: str, data_hash: str, words: str) -> Path:
        run = make_pretrain(tmp_path / name)
        manifest = read_manifest(run, "pretrain")
        write_manifest(run, "pretrain", manifest | {"data": manifest["data"] | {"hash": data_hash}})
        (run / "vocab.txt").write_text(words)
        return run

    first, same = pretrained("first", "1", "a\nb\n"), pretrained("same", "1", "a\nb\n")
    other_data, other_words = pretrained("data", "2", "a\nb\n"), pretrained("words", "3", "a\nc\n")
    assert "caution" not in write(first, same).html.split("</style>")[1]
    assert "different data" in write(first, other_data).text
    page = write(first, other_data, other_words)
    assert "different vocabularies" in page.text and "different data" not in page.text

    def tuned(name: str, dev: str) -> Path:
        run = make_finetune(tmp_path / name, "custom", {"accuracy": [0.5]})
        write_manifest(run, "finetune", read_manifest(run, "finetune") | {"identity": {"data": ["train", dev]}})
        return run

    assert "different dev sets" not in write(tuned("x", "1"), tuned("y", "1")).text
    assert "custom: these runs were scored on different dev sets" in write(tuned("v", "1"), tuned("w", "2")).text


def test_paper_is_white_holds_tables_whole_and_charts_in_their_cards(write, pretrain_run):
    html = write(pretrain_run).html
    paper = html[html.index("@media print") : html.index("</style>")]
    for rule in ("--page: #ffffff", "overflow: visible", "break-after: avoid", "break-inside: avoid"):
        assert rule in paper, rule
    assert '"viewBox", `0 0 ${width} ${height}`' in html and ".main-svg) { width: 100% !important" in paper
    assert 'addEventListener("beforeprint"' in html and 'addEventListener("afterprint"' in html
