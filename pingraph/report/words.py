"""Says in plain words what the numbers of a report mean: what is good, what is bad, for whom."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

from pingraph.folder_checks import count
from pingraph.relevance import leaves_out_known
from pingraph.report.measures import LEAST_QUERIES, MAIN, K, named_groups
from pingraph.results import METHODS, TASKS

Kind = Literal["good", "bad", "note"]
# The rules by which a number is called good or bad; docs/report.md lists them.
SURE = 0.05  # p after correction
APART = 3  # standard errors of a difference between the best and the worst of some groups
FEW, MANY = 0.10, 0.30  # share of pins that nobody finds
COLLAPSED = 0.05  # share of the directions that hold half of the variance
OVERFITTED = 0.5  # cold over warm
TOLD_APART = 4 * LEAST_QUERIES  # queries of a group, to be spoken of
CHEAP = 0.02  # relative loss of a stored form
_EASY = 0.25  # recall by chance above which nothing is told from it
_HELD, _ALONE = 0.5, 5  # of image ↔ text: recall that is good, multiple of chance that is not bad


class Sentence(NamedTuple):
    """A finding, and whether it is good or bad news."""

    kind: Kind
    text: str


def compare_runs(numbers: dict[str, Any]) -> list[Sentence]:
    """Say which run is best, and whether it is beyond chance; nothing of a single run."""
    runs = numbers["runs"]
    part = spoken_part(numbers)
    if len(runs) < 2 or part is None:
        return []
    values = {name: run["metrics"][part]["pin_to_pin"][MAIN]["value"] for name, run in runs.items()}
    order = sorted(values, key=lambda name: -values[name])
    listed = ", ".join(f"{name} {values[name]:.3f}" for name in order)
    out = [Sentence("note", f"{MAIN} of {part} pins, pin → pin, best first: {listed}.")]
    for one in numbers["differences"]:
        if (one["part"], one["task"]) != (part, "pin_to_pin"):
            continue
        gain, first, second = one["difference"], one["first"], one["second"]
        numbers_said = f"{_signed(gain, one['ci95'])}; p = {one['p_holm']:.4f}, Holm"
        if one["p_holm"] >= SURE:
            text = f"{second} and {first} do not differ beyond chance ({numbers_said})."
            out.append(Sentence("note", text))
        else:
            way = "is ahead of" if gain > 0 else "is behind"
            kind: Kind = "good" if gain > 0 else "bad"
            out.append(Sentence(kind, f"{second} {way} {first} beyond chance ({numbers_said})."))
    return out + [_changed(pair) for pair in numbers["stability"]]


def also_framed(numbers: dict[str, Any]) -> list[str]:
    """Say of the queries shown that known pairs are framed too, where nothing is asked of them."""
    if not leaves_out_known(numbers["split"]["kind"]):
        return []
    return ["Board-mates that training knew are framed too, but count for no figure."]


def describe_split(numbers: dict[str, Any]) -> list[Sentence]:
    """Say what stands above all figures where nothing was held out; nothing else."""
    if numbers["split"]["kind"] != "none":
        return []
    text = (
        "Nothing was held out of the embeddings: all figures are of pins that they may have been "
        "trained on, which flatters them."
    )
    return [Sentence("note", text)]


def describe_run(numbers: dict[str, Any], name: str) -> list[Sentence]:
    """Say what is good and bad of one run."""
    run, part = numbers["runs"][name], spoken_part(numbers)
    out = [*_vectors(numbers, run), *(Sentence("note", note) for note in run["notes"])]
    if part is None:
        return [*out, *_mates(numbers), *_neighborhoods(run)]
    out += _baselines(numbers, name, part)
    out += _images_and_texts(run, part)
    out += _cold_and_warm(numbers, run)
    for key, what in (("by_degree", "boards"), ("by_content", ""), ("by_words", "")):
        out += _groups(named_groups(run[part][key]), what)
    out += _boards(run, part)
    out += _neighborhoods(run)
    out += _served(run, part)
    order = ("bad", "good", "note")
    return [
        *_headline(numbers, run, part),
        *sorted(out, key=lambda one: order.index(one.kind)),
    ]


def describe_data(numbers: dict[str, Any]) -> list[Sentence]:
    """Say whether the figures can be trusted: leaks, broken images, what was left out."""
    data, out = numbers["data"], []
    checks = numbers["audit"]["checks"]
    for check in checks:
        if check["verdict"] == "fail":
            out.append(Sentence("bad", f"Leak: {check['means']}"))
        elif check["verdict"] == "warn":
            share = f"{check['found']:,} of {check['of']:,}"
            out.append(
                Sentence(
                    "bad", f"Leak through content ({check['name']}), {share}: {check['means']}"
                )
            )
    if not out and any(check["verdict"] == "pass" for check in checks):
        out.append(
            Sentence("good", "The leak audit found nothing that gives held-out answers away.")
        )
    elif not out:
        out.append(Sentence("note", "The leak audit had nothing to check."))
    if data["broken_images"]:
        text = f"{data['broken_images']:,} of {data['with_image']:,} images cannot be decoded."
        out.append(Sentence("bad", text))
    out += _missing(data)
    return out + [Sentence("note", note) for note in numbers["notes"]]


def caveats(numbers: dict[str, Any]) -> list[str]:
    """Return what is wrong or missing in the data or in what was held out, as the page says it."""
    vectors = [
        f"{name}: {one.text}"
        for name, run in numbers["runs"].items()
        for one in _vectors(numbers, run)
    ]
    data = [one.text for one in describe_data(numbers) if one.kind == "bad"]
    first = [one.text for one in (*describe_split(numbers), *_mates(numbers))]
    return [*first, *vectors, *data, *(one.text for one in _missing(numbers["data"]))]


def spoken_part(numbers: dict[str, Any]) -> str | None:
    """Return "cold" or "warm", whichever has queries first, or None."""
    run = next(iter(numbers["runs"].values()))
    for part in ("cold", "warm"):
        task = run["metrics"][part].get("pin_to_pin")
        if task and task["queries"]:
            return part
    return None


def compared_pins(pair: dict[str, Any]) -> str:
    """Say of two runs which pins are compared, where some have no vector in both; else nothing."""
    if pair["compared"] == pair["pins"]:
        return ""
    return (
        f"{pair['first']} and {pair['second']} are compared over the {pair['compared']:,} of "
        f"{pair['pins']:,} pins that have a vector in both; {pair['only_first']:,} have one in "
        f"{pair['first']} alone, {pair['only_second']:,} in {pair['second']} alone."
    )


def _mates(numbers: dict[str, Any]) -> list[Sentence]:
    if spoken_part(numbers) is not None:
        return []
    text = "has a board-mate that could be found, so nothing can be said of retrieval."
    return [Sentence("bad", f"None of the {numbers['data']['pins']:,} pins {text}")]


def _missing(data: dict[str, Any]) -> list[Sentence]:
    """Say how many pins lack an image, and how many a text."""
    counts = {kind: data["pins"] - data[f"with_{kind}"] for kind in ("image", "text")}
    return [
        Sentence("note", f"{count:,} of {data['pins']:,} pins have no {kind}.")
        for kind, count in counts.items()
        if count
    ]


def _vectors(numbers: dict[str, Any], run: dict[str, Any]) -> list[Sentence]:
    if not run["without_vector"]:
        return []
    count = f"{run['without_vector']:,} of {numbers['data']['pins']:,} pins"
    return [Sentence("bad", f"{count} have no vector (zero), and are never found.")]


def _headline(numbers: dict[str, Any], run: dict[str, Any], part: str) -> list[Sentence]:
    task, chance = run["metrics"][part]["pin_to_pin"], numbers["chance"][part]
    rate, main = task["hit_rate@10"], task[MAIN]
    times = f", {main['value'] / chance:,.1f} times chance ({chance:.4f})" if chance else ""
    whom, among = "a board-mate", f"among their {K} nearest pins"
    if part == "warm" and leaves_out_known(numbers["split"]["kind"]):
        whom, among = f"{whom} that training did not know", f"{among}, known ones left out"
    text = (
        f"Of {task['queries']:,} {part} pins, {rate['value']:.0%}{_percents(rate['ci95'])} have "
        f"{whom} {among}; {MAIN} is {_valued(main)}{times}."
    )
    if chance is not None and chance > _EASY:
        return [Sentence("note", f"{text} Of so few pins chance finds many too.")]
    lowest = main["ci95"][0] if main["ci95"] else 0
    better = chance is not None and lowest > 2 * chance
    return [Sentence("good" if better else "bad", text)]


def _baselines(numbers: dict[str, Any], name: str, part: str) -> list[Sentence]:
    out = []
    for rival, tests in numbers["over_baselines"][name].items():
        if part not in tests:
            continue
        one = tests[part]
        reached = f"{METHODS[rival]} alone ({MAIN} {one['means'][0]:.3f})"
        said = f"{_signed(one['difference'], one['ci95'])}; p = {one['p']:.4f}"
        if one["p"] >= SURE:
            out.append(Sentence("bad", f"No better than {reached} beyond chance ({said})."))
        elif one["difference"] < 0:
            out.append(Sentence("bad", f"Worse than {reached}, which learns nothing ({said})."))
        else:
            out.append(Sentence("good", f"Better than {reached} ({said})."))
    return out


def _images_and_texts(run: dict[str, Any], part: str) -> list[Sentence]:
    out = []
    for name in ("image_to_text", "text_to_image"):
        task = run["metrics"][part].get(name)
        if not task or not task["queries"]:
            continue
        value, chance = task[MAIN]["value"], min(1.0, K / task["corpus"])
        kind: Kind = "good" if value >= _HELD else "bad" if value < _ALONE * chance else "note"
        if chance > _EASY or task["queries"] < LEAST_QUERIES:
            kind = "note"
        text = (
            f"{TASKS[name]}, {task['queries']:,} queries: {value:.0%} of what could be found "
            f"stands among the {K} nearest of {task['corpus']:,} (chance: {chance:.1%})."
        )
        out.append(Sentence(kind, text))
    return out


def _cold_and_warm(numbers: dict[str, Any], run: dict[str, Any]) -> list[Sentence]:
    tasks = [run["metrics"][part].get("pin_to_pin") for part in ("cold", "warm")]
    if numbers["split"]["kind"] != "pin" or not all(task and task["queries"] for task in tasks):
        return []
    cold, warm = (task[MAIN]["value"] for task in tasks)
    seen = "which may have been trained on"  # of vectors in a file nobody here knows
    text = f"Cold pins reach {MAIN} {cold:.3f}, warm ones, {seen}, {warm:.3f}."
    if warm and cold < OVERFITTED * warm:
        return [Sentence("bad", f"{text} What was learned holds for warm pins above all.")]
    return [Sentence("note", text)]


def _groups(entries: list[dict[str, Any]], what: str) -> list[Sentence]:
    """Say for which group of pins it is worst, if beyond chance."""
    known = [one for one in entries if one["queries"] >= TOLD_APART and one["ci95"]]
    if len(known) < 2:
        return []
    worst, best = (choose(known, key=lambda one: one["value"]) for choose in (min, max))
    names = [f"pins with {_counted(one['name'], what)}" for one in (worst, best)]
    text = (
        f"{MAIN} {worst['value']:.3f} for the {worst['queries']:,} {names[0]}, "
        f"{best['value']:.3f} for the {best['queries']:,} {names[1]}"
    )
    if best["value"] - worst["value"] > APART * math.hypot(_error(worst), _error(best)):
        return [Sentence("bad", f"Not alike for all pins: {text}.")]
    return [Sentence("note", f"No difference that is sure between pins: {text}.")]


def _counted(name: str, what: str) -> str:
    return f"{name} {what if name != '1' else what.removesuffix('s')}".rstrip()


def _error(entry: dict[str, Any]) -> float:
    """Return the standard error that an interval of 95% tells of."""
    return (entry["ci95"][1] - entry["ci95"][0]) / (2 * 1.96)


def _boards(run: dict[str, Any], part: str) -> list[Sentence]:
    worst, best = run[part]["worst_boards"][:3], run[part]["best_boards"][:3]
    if len(worst) < 3 or not best:
        return []

    def listed(boards: list[dict[str, Any]]) -> str:
        return ", ".join(f"“{one['title']}” {one['value']:.2f}" for one in boards)

    return [Sentence("note", f"Worst boards: {listed(worst)}. Best: {listed(best)}.")]


def _neighborhoods(run: dict[str, Any]) -> list[Sentence]:
    out = []
    hubs, half = run["occurrences"], run["spectrum"]["half"]
    if hubs["k"]:
        kind: Kind = "good" if hubs["never"] < FEW else "bad" if hubs["never"] > MANY else "note"
        having = " with a vector" if run["without_vector"] else ""
        text = (
            f"{hubs['never']:.0%} of the pins{having} are among nobody's {hubs['k']} nearest; the "
            f"most frequent one is among those of {count(hubs['most'], 'pin')}."
        )
        out.append(Sentence(kind, text))
    if half is not None:
        narrow = half <= COLLAPSED * run["dimensions"]
        text = f"{half} of {run['dimensions']} directions hold half of the variance"
        text += ": the vectors use little of their space." if narrow else "."
        out.append(Sentence("bad" if narrow else "note", text))
    return out


def _served(run: dict[str, Any], part: str) -> list[Sentence]:
    """Say what int8 and binary codes cost."""
    out = []
    for form in run["served"]["forms"]:
        task = form["parts"][part].get("pin_to_pin")
        if form["dim"] < run["dimensions"] or not task or not task[MAIN]["lift_ci95"]:
            continue
        change, (low, high) = task[MAIN]["lift"], task[MAIN]["lift_ci95"]
        lossy = high < -CHEAP and form["code"] == "int8"
        kind: Kind = "good" if low >= -CHEAP else "bad" if lossy else "note"
        kept = form["neighbors_kept"]["value"]
        stay = "" if kept is None else f", and {kept:.0%} of the {K} nearest pins stay"
        size = count(form["bytes_per_pin"], "byte")
        text = (
            f"Stored as {form['code']}, {size} a pin, {MAIN} changes "
            f"by {change:+.1%} (95%: {low:+.1%} to {high:+.1%}){stay}."
        )
        out.append(Sentence(kind, text))
    return out


def _changed(pair: dict[str, Any]) -> Sentence:
    churn, pins = pair["neighbors"]["churn"], compared_pins(pair)
    if churn["value"] is None:
        text = f"{pair['second']} and {pair['first']} have no neighbors. {pins}"
        return Sentence("note", text.rstrip())
    likeness = pair["cka"]["value"]
    said = "" if likeness is None else f" The spaces are alike to {likeness:.2f} (CKA)."
    text = (
        f"From {pair['first']} to {pair['second']}, {churn['value']:.0%}{_percents(churn['ci95'])} "
        f"of the {K} nearest neighbors of a pin are replaced by others.{said} {pins}"
    )
    return Sentence("note", text.rstrip())


def _valued(entry: dict[str, Any]) -> str:
    ends = entry["ci95"]
    return f"{entry['value']:.3f}" + (f" (95%: {ends[0]:.3f} to {ends[1]:.3f})" if ends else "")


def _percents(ends: list[float] | None) -> str:
    return f" (95%: {ends[0]:.0%} to {ends[1]:.0%})" if ends else ""


def _signed(gain: float, ends: list[float] | None) -> str:
    return f"{gain:+.3f}" + (f", 95%: {ends[0]:+.3f} to {ends[1]:+.3f}" if ends else "")
