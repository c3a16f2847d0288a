"""Tables hold the figures of the files they show, and the verdict is true in both directions."""

import pytest
from rich.console import Console

from pingraph.metrics import METRICS
from pingraph.results import comparison_sheet, metrics_sheet, verdict

TASKS = ("pin_to_pin", "image_to_text", "text_to_image", "board_to_pins")


def entry(before, after, low, high, **others):
    ends = None if low is None else [low, high]
    lift = after / before - 1 if before else None
    return {"image_text": before, "joint": after, **others, "lift": lift, "ci95": ends}


def comparison(cold, image_to_text=None, warm=None):
    """A comparison whose metrics are all alike within a task."""

    def part(pins, texts):
        tasks = dict(zip(TASKS, (pins, texts, texts, None), strict=True))
        return {task: one and dict.fromkeys(METRICS, one) for task, one in tasks.items()}

    return {
        "data": "things",
        "seed": 0,
        "cold": part(cold, image_to_text),
        "warm": part(warm, None),
    }


@pytest.mark.parametrize(
    ("cold", "sentence"),
    [
        (
            entry(0.25, 0.32, 0.12, 0.45),
            "Neighbor alignment raised recall@10 on cold pins by 28% (95%: 12% to 45%).",
        ),
        (
            entry(0.25, 0.2, -0.3, -0.1),
            "Neighbor alignment lowered recall@10 on cold pins by 20% (95%: 10% to 30%).",
        ),
        (
            entry(0.25, 0.26, -0.05, 0.11),
            "Neighbor alignment made no difference to recall@10 on cold pins beyond chance "
            "(+4%, 95%: -5% to +11%).",
        ),
        (
            entry(0.25, 0.25, 0.0, 0.0),
            "Neighbor alignment made no difference to recall@10 on cold pins beyond chance "
            "(+0%, 95%: +0% to +0%).",
        ),
        (
            entry(0.0, 0.2, None, None),
            "Neighbor alignment brought recall@10 on cold pins from 0 to 0.200.",
        ),
        (entry(0.0, 0.0, None, None), "Neighbor alignment left recall@10 on cold pins at 0."),
        (
            entry(0.1, 0.2, None, None),
            "Neighbor alignment moved recall@10 on cold pins by +100%, on too few queries to tell "
            "it from chance.",
        ),
        (None, "No cold pin has a board-mate to be found, so nothing can be said of pin → pin."),
        (
            entry(None, None, None, None),
            "No cold pin has a board-mate to be found, so nothing can be said of pin → pin.",
        ),
    ],
)
def test_verdict(cold, sentence):
    assert verdict(comparison(cold)) == sentence


def test_verdict_tells_of_losses_elsewhere_and_of_better_baselines():
    cold = entry(0.25, 0.32, 0.12, 0.45, tf_idf=0.9, raw_pixels=0.4)
    told = verdict(comparison(cold, entry(0.2, 0.1, -0.6, -0.4)))
    assert "It lowered that of image → text by 50% (95%: 40% to 60%)." in told
    assert "It lowered that of text → image by 50%" in told
    assert "But TF-IDF alone does better on cold pins: 0.900 where joint reaches 0.320." in told
    assert "But" not in verdict(comparison(entry(0.25, 0.32, 0.1, 0.4, tf_idf=0.3)))


def printed(sheet, width=100):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(sheet.console())
    return console.export_text()


def test_comparison_tables_hold_every_figure():
    cold = entry(0.251, 0.322, 0.12, 0.45, tf_idf=0.111, raw_pixels=None)
    made = comparison(cold, entry(0.4, 0.41, -0.1, 0.1), entry(0.5, 0.6, 0.1, 0.3))
    sheet = comparison_sheet(made)
    for text in (printed(sheet), sheet.markdown()):
        for figure in ("0.251", "0.322", "0.111", "+28% [+12%, +45%]", "+20% [+10%, +30%]"):
            assert figure in text
        for words in (
            "TF-IDF",
            "pixels",
            "image-text",
            "joint",
            "Cold pin → pin",
            "warm pins may have been trained on",
        ):
            assert words in text
        assert text.index("Cold pin → pin") < text.index("Warm pin → pin")
    lines = [line for line in sheet.markdown().splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1


def test_columns_of_baselines_that_were_not_run_are_left_out():
    assert "pixels" not in comparison_sheet(comparison(entry(0.2, 0.3, 0, 1))).columns


def test_a_comparison_without_figures_can_be_shown():
    assert "things" in printed(comparison_sheet(comparison(None)))
    assert "things" in printed(comparison_sheet(comparison(entry(None, None, None, None))))


@pytest.mark.parametrize("kind", ["pin", "edge"])
def test_metrics_table(kind):
    measured = {
        "queries": 1234,
        **{
            metric: {
                "value": 0.5 + place / 100,
                "ci95": [0.25, 1.0],
                "macro": {"value": 0.7 + place / 100, "ci95": None},
            }
            for place, metric in enumerate(METRICS)
        },
    }
    nothing = {"value": None, "ci95": None}
    empty = {"queries": 0, **{key: {**nothing, "macro": nothing} for key in METRICS}}
    sheet = metrics_sheet(
        {
            "data": "things",
            "split": {"kind": kind},
            "cold": {**dict.fromkeys(TASKS), "pin_to_pin": measured},
            "warm": dict.fromkeys(TASKS, empty),
        }
    )
    for text in (printed(sheet), sheet.markdown()):
        assert "0.550 [.250, 1.000]" in text
        assert "0.710" in text  # recall@10 by board
        assert "1,234" in text
        assert ("leaves out pairs" in text) == (kind == "edge")
        assert "could ask" not in text


def test_the_table_of_no_queries_says_why():
    nothing = {"value": None, "ci95": None}
    empty = {"queries": 0, **{key: {**nothing, "macro": nothing} for key in METRICS}}
    parts = {
        part: {**dict.fromkeys(TASKS), "pin_to_pin": {**empty, "queries_without_relevant": count}}
        for part, count in (("cold", 0), ("warm", 1200))
    }
    sheet = metrics_sheet({"data": "things", "split": {"kind": "none"}, **parts})
    assert sheet.notes[-1].startswith("None of the 1,200 pins that could ask has a board-mate")
