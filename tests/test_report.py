"""The report holds the figures it was made of, as text; no pin's words become a part of the page."""

import json
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from pingraph.datasets import open_dataset
from pingraph.errors import PinGraphError
from pingraph.evaluation import evaluate_table
from pingraph.report import write_report
from pingraph.splits import NoSplit, PinSplit
from pingraph.subject import Subject
from tests.test_evaluation import make_table

HOSTILE = [
    "</script><script>document.title = 'owned'</script>",
    "<img src=x onerror=\"document.title = 'owned'\">",
    "\"' onmouseover='document.title=1' x=\"",
    "{{ 7 * 7 }} {% raw %} <!-- ]]> &lt;b&gt; \u2028 \x07 & | \\ $x$ =1+1",
]


def subject(dataset, split=None, name="mine", seed=0, **changes):
    table = make_table(dataset, seed=seed, **changes)
    split = split or PinSplit(0.3).split(dataset)
    return Subject(
        name=name, dataset=dataset, split=split, run=None, notes=(), make_table=lambda: table
    )


class Page(HTMLParser):
    """The elements of a page, and what stands in its scripts and its visible text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.scripts, self.words, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        inside = self.open[-1:] or [""]
        if inside == ["script"]:
            self.scripts.append(data)
        elif inside != ["style"]:
            self.words.append(data)


def made(tmp_path, *subjects, **options):
    out, numbers = write_report(subjects, tmp_path / "report.html", **options)
    text = out.read_text(encoding="utf-8")
    return Page(text), json.loads(numbers.read_text(encoding="utf-8")), text


def test_the_figures_are_those_of_the_evaluation(tiny, tmp_path):
    mine = subject(tiny)
    page, numbers, _ = made(tmp_path, mine)
    expected = evaluate_table(mine.table, tiny, mine.split).to_dict()
    assert numbers["runs"]["mine"]["metrics"] == json.loads(json.dumps(expected))
    value = expected["cold"]["pin_to_pin"]["recall@10"]["value"]
    assert f"recall@10 is {value:.3f}" in " ".join(page.words)
