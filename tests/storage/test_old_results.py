"""Results of earlier versions are read as this one writes them."""

import json

import pytest

from bertsmith.errors import UserError
from bertsmith.storage.results import read_glue_results, read_run_results, read_search_results

SCORES = {"median": 0.5, "mean": 0.5}


def results_of(summary, seeds=1):
    trials = [{"seed": seed, "metrics": {"accuracy": 0.5}} for seed in range(seeds)]
    return {"task": "rte", "trials": trials, "summary": {"accuracy": dict(summary)}}


@pytest.mark.parametrize("summary", [SCORES | {"std": None}, SCORES | {"std": 0.0}, SCORES])
def test_one_seed_has_no_deviation_whichever_version_wrote_it(tmp_path, summary):
    path = tmp_path / "results.json"
    row = results_of(summary)
    path.write_text(json.dumps(row))
    assert read_run_results(path)["summary"] == {"accuracy": SCORES | {"std": None}}
    path.write_text(json.dumps({"metric": "accuracy", "chosen": "a", "chosen_by": "", "grid": {"a": row}}))
    assert read_search_results(path)["grid"]["a"]["summary"]["accuracy"]["std"] is None
    path.write_text(json.dumps({"tasks": {"rte": row | {"from_mnli": False}}, "absent": {}, "averages": {}}))
    assert read_glue_results(path)["tasks"]["rte"]["summary"]["accuracy"]["std"] is None


@pytest.mark.parametrize("summary", [SCORES | {"std": None}, SCORES])
def test_several_seeds_have_a_deviation(tmp_path, summary):
    (tmp_path / "results.json").write_text(json.dumps(results_of(summary, seeds=2)))
    with pytest.raises(UserError, match="'accuracy' has no 'std'"):
        read_run_results(tmp_path / "results.json")
