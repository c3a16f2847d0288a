"""The sections of figures of a report: plots, tables and what they mean, from the numbers."""

from __future__ import annotations

from typing import Any

from pingraph.metrics import METRICS
from pingraph.relevance import leaves_out_known
from pingraph.report.layout import Block, Plot, Section, block, blocks_of, looks_of, plot_of
from pingraph.report.measures import MAIN, UNIFORM, bucket_names, named_groups
from pingraph.report.plots import Mark, Series, dots, lines, steps, swatch
from pingraph.report.served import served_section
from pingraph.report.sheets import (
    audit_sheet,
    board_sheet,
    counts_sheet,
    difference_sheet,
    group_sheet,
    methods,
    retrieval_sheets,
    values_sheet,
)
from pingraph.report.stability import stability_section
from pingraph.report.words import spoken_part
from pingraph.results import PARTS, TASKS

_GROUPS = (  # key, title, the axis of the plot, where there is one, and notes
    ("by_degree", f"{MAIN} by boards of the query", "boards of the query", ()),
    ("reach", "Found, by boards of who is to be found", "boards in training", ()),
    ("by_content", f"{MAIN} by what the query has", "", ()),
    ("by_words", f"{MAIN} by how many words of the query training has seen", "", ()),
    (
        "by_age",
        f"{MAIN} by age of the query",
        "",
        (
            "Age: from the first save of a pin to the last save of all, in the unit of the times; "
            "youngest first. Where the young do worse, what is new is hard to place.",
        ),
    ),
)
EXPOSURE = {  # of `pingraph.popularity.exposure`: what it is called, and what it means
    "popularity": (
        "average popularity",
        "boards in training of the pins that are found, a mean over the lists of 10.",
    ),
    "popularity_of_relevant": (
        "… of the relevant pins",
        "what a fair list would show; more than this favors popular pins.",
    ),
    "popularity_of_all": ("… of all pins", "what random lists would show."),
    "coverage": ("coverage", "share of the pins that are on any list."),
    "coverage_possible": ("… possible", "the share that so many places could hold."),
    "gini": ("Gini", "0 where all pins are shown alike, near 1 where few get all places."),
    "gini_even": ("… at least", "what the most even lists with so many places would have."),
}
GEOMETRY = {  # of `pingraph.geometry`: what it is called, and what it means
    "alignment": ("alignment", "mean squared distance of board-mates; 0 is together."),
    "uniformity": (
        "uniformity",
        "lower is more even; about -4 where nothing is alike. "
        f"Of {UNIFORM:,} drawn pins where there are more.",
    ),
    "effective_rank": ("effective rank", "directions that are in use (RankMe)."),
    "anisotropy": ("anisotropy", "mean cosine of all pairs; 0 where directions are even."),
    "hubness_skew": ("hubness skew", "of how often pins are found; 0 where nobody is a hub."),
    "robin_hood": ("Robin Hood", "share of the finds that would have to move to be even."),
    "anti_hubs": ("anti-hubs", "share of the pins that nobody finds."),
    "largest_hub": ("largest hub", "share of the pins that find the pin which is found most."),
    "modality_gap": ("modality gap", "distance of the mean image vector and the mean text vector."),
}
AGREEMENT = {  # of `pingraph.graph_agreement`, likewise
    "overlap@10": ("overlap@10", "share of the 10 nearest that walks find too."),
    "rbo@10": ("rank-biased overlap", "the same, where the first places weigh more."),
    "board_purity@10": ("board purity@10", "share of the 10 nearest that share a board."),
    "board_purity_chance@10": ("… of random pins", "the same for pins drawn at random."),
    "trustworthiness@10": ("trustworthiness", "1 where who is near is near in the graph."),
    "continuity@10": ("continuity", "1 where who is near in the graph is near."),
    "dirichlet_energy": ("Dirichlet energy", "how rough the vectors are over the edges."),
}


def sections(numbers: dict[str, Any]) -> list[Section]:
    """Return the sections before the map and the cases, and the audit after them."""
    return [
        _retrieval(numbers),
        _whom(numbers),
        _geometry(numbers),
        _agreement(numbers),
        *([stability_section(numbers, spoken_part(numbers))] if numbers["stability"] else []),
        served_section(numbers),
        _audit(numbers),
    ]


def _retrieval(numbers: dict[str, Any]) -> Section:
    named, part = methods(numbers), spoken_part(numbers)
    looks = looks_of(numbers)
    places = [
        (one, task)
        for one in ("cold", "warm")
        for task in TASKS
        if any((metrics[one].get(task) or {}).get("queries") for metrics in named.values())
    ]
    plots = []
    if places:
        series = [
            Series(
                name=name,
                look=looks[name],
                marks=[Mark.of((metrics[one].get(task) or {}).get(MAIN)) for one, task in places],
            )
            for name, metrics in named.items()
        ]
        names = [f"{TASKS[task]}, {one}" for one, task in places]
        plots.append(
            plot_of(dots(names, series, title=f"{MAIN} by task"), f"{MAIN} by task", series)
        )
    if part is not None:
        series = [
            Series(
                name=name,
                look=looks[name],
                marks=[Mark.of((metrics[part]["pin_to_pin"] or {}).get(key)) for key in METRICS],
            )
            for name, metrics in named.items()
        ]
        title = f"All metrics of pin → pin, {part} pins"
        plots.append(plot_of(dots(METRICS, series, title=title), title, series))
    blocks = [block(sheet, folded=True) for sheet in retrieval_sheets(numbers)]
    return Section(
        key="retrieval",
        title="Retrieval",
        lead=(
            f"The whole corpus is ranked for each query. {_relevant(numbers)} "
            "Whiskers are 95% intervals over the queries; they say nothing of the luck of a seed."
        ),
        plots=plots,
        blocks=[*blocks_of(difference_sheet(numbers)), *blocks],
    )


def _relevant(numbers: dict[str, Any]) -> str:
    """Say who is relevant to a pin."""
    if leaves_out_known(numbers["split"]["kind"]):
        return (
            "Relevant to a pin are the board-mates that training did not know; known ones are left "
            "out."
        )
    return "Relevant to a pin are its board-mates."


def _whom(numbers: dict[str, Any]) -> Section:
    plots, blocks = [], []
    runs, looks = numbers["runs"], looks_of(numbers)
    for part in PARTS:
        for key, title, axis, notes in _GROUPS:
            found = {name: named_groups(_groups_of(run, part, key)) for name, run in runs.items()}
            sheet = group_sheet(f"{title}, {part} queries", found, list(notes))
            if sheet is None:
                continue
            blocks.append(block(sheet, folded=True))
            if axis:
                one = next(iter(found.values()))
                used = [place for place, group in enumerate(one) if group["queries"]]
                names = [group["name"] for group in one[: used[-1] + 1]]
                series = [
                    Series(
                        name=name,
                        look=looks[name],
                        marks=[Mark.of(group) for group in groups[: len(names)]],
                    )
                    for name, groups in found.items()
                ]
                svg = lines(names, series, title=sheet.title, axis=axis)
                plots.append(plot_of(svg, sheet.title, series))
        blocks += _exposure(runs, part)
    spoken = spoken_part(numbers)
    if spoken is not None:
        for name, run in runs.items():
            blocks += blocks_of(board_sheet(run, spoken, name))
    return Section(
        key="whom",
        title="For whom it is good",
        lead=(
            "Pin → pin, by how many boards a pin is on. Whoever asks: all boards of the query, "
            "held-out ones included. Whoever is to be found: the boards that training saw."
        ),
        plots=plots,
        blocks=blocks,
    )


def _groups_of(run: dict[str, Any], part: str, key: str) -> list[dict[str, Any]] | None:
    if key != "by_age":
        return run[part][key]
    return run["by_age"] and run["by_age"][part]["pin_to_pin"]  # None for data without times


def _exposure(runs: dict[str, Any], part: str) -> list[Block]:
    shown = {name: run[part]["exposure"] for name, run in runs.items()}
    if not all(shown.values()):
        return []
    rows = {title: [one[key] for one in shown.values()] for key, (title, _) in EXPOSURE.items()}
    notes = [f"{title}: {meaning}" for title, meaning in EXPOSURE.values()]
    return [block(values_sheet(f"Who is shown to {part} queries", rows, list(runs), notes))]


def _geometry(numbers: dict[str, Any]) -> Section:
    runs, looks = numbers["runs"], looks_of(numbers)
    plots = []
    for name, run in runs.items():
        found = run["similarities"]
        title = f"Cosine of pairs: {name}"
        shares = {"board-mates": found["mates"], "random pairs": found["random"]}
        svg = steps(found["edges"], shares, title=title, axis="cosine")
        legend = [(swatch(0), "board-mates"), (swatch(-1), "random pairs")]
        caption = "The less the two overlap, the more the vectors say of boards."
        plots.append(Plot(svg=svg, title=title, caption=caption, legend=legend))
    series = [
        Series(
            name=name,
            look=looks[name],
            marks=[Mark(share) for share in run["occurrences"]["shares"]],
        )
        for name, run in runs.items()
    ]
    title = "How often a pin is found"
    axis = "times among the 10 nearest of others"
    svg = lines(bucket_names(), series, title=title, axis=axis)
    caption = (
        "Share of the pins. Those at the left are found by nobody, those at the right are hubs."
    )
    plots.append(plot_of(svg, title, series, caption))
    plots += _spectra(runs, looks)
    notes = [f"{title}: {meaning}" for title, meaning in GEOMETRY.values()]
    notes.append("Intervals: leaving out groups of pins, of boards (alignment) or of lists (hubs).")
    sheet = values_sheet("Geometry", _rows(runs, "geometry", GEOMETRY), list(runs), notes)
    return Section(
        key="geometry",
        title="How the vectors lie",
        lead="The shape of the space of the fused vectors, whatever is searched in it.",
        plots=plots,
        blocks=[block(sheet)],
    )


def _agreement(numbers: dict[str, Any]) -> Section:
    runs = numbers["runs"]
    notes = [f"{title}: {meaning}" for title, meaning in AGREEMENT.values()]
    sheet = values_sheet(
        "Agreement with the graph", _rows(runs, "agreement", AGREEMENT), list(runs), notes
    )
    return Section(
        key="agreement",
        title="How far the graph agrees",
        lead=(
            "Whether who is near in the space is near in the graph of all edges, held-out ones "
            "included. Formulas and sources are in docs/neighborhoods.md."
        ),
        plots=[],
        blocks=[block(sheet)],
    )


def _rows(
    runs: dict[str, Any], key: str, shown: dict[str, tuple[str, str]]
) -> dict[str, list[Any]]:
    return {
        title: [run[key].get(name) for run in runs.values()] for name, (title, _) in shown.items()
    }


def _spectra(runs: dict[str, Any], looks: dict[str, int]) -> list[Plot]:
    longest = max((run["spectrum"]["first"] for run in runs.values()), key=len)
    if not longest:
        return []
    places = [str(one["directions"]) for one in longest]
    series = []
    for name, run in runs.items():
        marks = {str(one["directions"]): Mark(one["share"]) for one in run["spectrum"]["first"]}
        found = [marks.get(place) for place in places]
        series.append(Series(name=name, look=looks[name], marks=found))
    title = "Variance by direction"
    svg = lines(places, series, title=title, axis="principal directions, the first …")
    caption = "Share of the variance. A curve that is high at the left tells of unused space."
    return [plot_of(svg, title, series, caption)]


def _audit(numbers: dict[str, Any]) -> Section:
    audit = numbers["audit"]
    return Section(
        key="audit",
        title="Leak audit",
        lead=(
            "Whether the held-out answers can be known from training. The guard is a proof on the "
            "graph; the other checks count what content gives away, which no split can forbid."
        ),
        plots=[],
        blocks=[block(audit_sheet(audit)), block(counts_sheet(audit["counts"]))],
    )
