"""The race's picture: which arms are better, where their curves run, and that any name is text in it."""

import json
import re
import sys
from xml.etree import ElementTree

import pytest

from benchmarks import race_chart
from benchmarks.race_chart import PALETTE, PANEL, TIE, TOP, WORSE, draw, main, read_rungs

SVG = "{http://www.w3.org/2000/svg}"


def trial(what: str, who: str, number: int, curve: list[list[float]], seconds: float = 100.0) -> dict:
    return {
        "what": what, "who": who, "number": number, "pinned_loss": curve[-1][2], "cpu_seconds": seconds, "curve": curve
    }  # fmt: skip


@pytest.fixture
def race() -> dict:
    """A base of three seeds, 5.0, 5.1 and 5.2: mean 5.1, σ 0.1. Arms 3 σ better, in the noise, and 4 σ worse."""
    base = [trial("A, noise", "base", seed, [[5, 5e5, 6.0], [10, 1e6, 5.0 + seed / 10]]) for seed in range(3)]
    return {
        "trials": [
            *base,
            trial("A, masks", "all <b> & more", 0, [[5, 5e5, 6.5, 20.0], [10, 1e6, 5.5, 80.0]], 80.0),
            trial("A, masks", "30 %", 0, [[5, 5e5, 5.5, 90.0], [10, 1e6, 4.8, 200.0]], 200.0),
            trial("A, rate", "1e-3", 0, [[5, 5e5, 6.1], [10, 1e6, 5.2]]),
            trial("B, noise", "base", 0, [[1, 1e6, 7.0], [2, 2e6, 6.0]]),
            trial("B, masks", "died", 0, [[1, 1e6, 7.0]]) | {"curve": []},
        ]
    }


def test_arms_are_held_to_the_noise_of_the_base(race, monkeypatch):
    first, second = read_rungs(race)
    assert first.name == "A" and first.sigma == pytest.approx(0.1)
    assert [arm.title for arm in first.arms] == ["masks: 30 %", "base", "1e-3", "masks: all <b> & more"]
    assert [first.deviations(arm) for arm in first.arms] == pytest.approx([-3, 0, 1, 4])
    assert race_chart._colors(first) == [PALETTE[0], "#14161a", *PALETTE[1:3]], "few enough for one each"
    monkeypatch.setattr(race_chart, "FEW", 3)
    assert race_chart._colors(first) == [PALETTE[0], "#14161a", TIE, WORSE]
    assert second.sigma is None and second.deviations(second.arms[0]) is None and len(second.arms) == 1


def test_curves_run_where_their_points_are(race):
    picture = ElementTree.fromstring(draw(read_rungs(race)[0]))
    lines = [path for path in picture.iter(f"{SVG}path") if path.get("stroke") == PALETTE[0] and " L" in path.get("d")]
    by_tokens, by_seconds = ([float(number) for number in re.findall(r"[\d.]+", line.get("d"))] for line in lines)
    assert by_tokens[2] - by_tokens[0] == pytest.approx(PANEL[0] / 2, abs=0.2), "the latter half of the tokens"
    assert by_seconds[2] - by_seconds[0] == pytest.approx(PANEL[0] * (200 - 90) / 200, abs=0.2), "of 200 seconds"
    lowest, highest = race_chart._losses_shown(read_rungs(race)[0])
    assert by_tokens[3] == pytest.approx(TOP + PANEL[1] * (highest - 4.8) / (highest - lowest), abs=0.1)
    spread = [
        path for path in picture.iter(f"{SVG}path") if path.get("stroke") == PALETTE[1] and " L" in path.get("d")
    ][1]
    numbers = [float(number) for number in re.findall(r"[\d.]+", spread.get("d"))]
    assert numbers[2] - numbers[0] == pytest.approx(PANEL[0] * 50 / 200, abs=0.2), "seconds spread over the tokens"
    texts = [text.text for text in picture.iter(f"{SVG}text")]
    assert "masks: all <b> & more" in texts and "-3.0" in texts and "+4.0" in texts and "base, 3 seeds" in texts


def test_the_band_is_two_sigma_about_the_mean_of_the_base(race):
    rung = read_rungs(race)[0]
    [band, _] = re.findall(r'd="M([^"]*)Z"', draw(rung))
    points = [tuple(map(float, point.split())) for point in band.split(" L")]
    lowest, highest = race_chart._losses_shown(rung)
    heights = [highest - (y - TOP) * (highest - lowest) / PANEL[1] for _, y in points]
    assert heights == pytest.approx([6.2, 5.3, 4.9, 5.8], abs=0.01)


@pytest.mark.parametrize(
    ("lowest", "highest", "expected"),
    [(0, 296, [0, 100, 200]), (3.88, 4.83, [4, 4.2, 4.4, 4.6, 4.8]), (0, 1.2e6, [0, 5e5, 1e6]), (0, 0.02, None)],
)
def test_ticks_are_round(lowest, highest, expected):
    ticks = race_chart._ticks(lowest, highest)
    assert expected is None or ticks == expected
    assert 3 <= len(ticks) <= 7 and all(lowest <= tick <= highest for tick in ticks)


def test_a_file_a_rung_is_written(race, tmp_path, monkeypatch):
    (tmp_path / "race.json").write_text(json.dumps(race))
    monkeypatch.setattr(sys, "argv", ["race_chart", str(tmp_path / "race.json"), "--out", str(tmp_path)])
    main()
    for name in ("race-a.svg", "race-b.svg"):
        text = (tmp_path / name).read_text()
        ElementTree.fromstring(text)
        assert "http" not in text.replace("http://www.w3.org/2000/svg", ""), "it fetches nothing"
