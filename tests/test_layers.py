"""The shape of the project: imports run one way, and no folder is forgotten by the wheel."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the bottom up; a file may import its own layer and those below (docs: CONTRIBUTING.md).
LAYERS = [
    """compiled errors files yaml_files interfaces graph build radix edges edge_files ids storage
    board_sizes plain_text fingerprint description convert tables pin_images images datasets splits
    mixed_split leaks tags icons world scenes inspection folder_checks interrupts pruning progress
    devices cores""",
    "samplers",
    """encoders objectives losses false_negatives embedding_bank batch_alignments views codes
    neighbor_context tokenization pixel_store content augmentation
    joined_reader training_pins walk_spectrum
    batches pin_counts gathering feature_files feature_key feature_store
    frozen_features""",
    "run_files weights mistakes parsing data module audits",
    """metrics bootstrap relevance embeddings evaluation baselines results grid runs queries
    ranking propagation popularity edge_masking stability compatibility served approximate
    significance planar knn latex jackknife geometry geometry_intervals graph_agreement graph_ranks
    vector_files subject judging explain lab report pictures export explore""",
    """fit fit_options fit_failures resuming run_callbacks experiment commands cli __main__
    experiments methods""",
]
TORCH = ("torch_", "pyg_adapter", "dgl_adapter")  # samplers that are about tensors
# They install as pingraph.samplers, …
TOP_FOLDERS = ("samplers", "encoders", "experiments", "experiments/methods")
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names.split()}


def sources():
    """Return the Python files with what each is called in LAYERS; a package counts as one."""
    for path in sorted((ROOT / "pingraph").glob("*.py")):
        yield path, path.stem
    folders = [path.parent for path in (ROOT / "pingraph").glob("*/__init__.py")]
    for folder in [*sorted(folders), *(ROOT / name for name in TOP_FOLDERS)]:
        for path in sorted(folder.glob("*.py")):
            yield path, folder.name


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            if node.module == "pingraph":
                names = [f"pingraph.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "pingraph")


@pytest.mark.parametrize(
    ("path", "name"), [pytest.param(*s, id=s[1] + ":" + s[0].stem) for s in sources()]
)
def test_imports_run_one_way(path, name):
    if path == ROOT / "pingraph" / "__init__.py":
        return  # the table of contents
    assert name in LEVEL, f"{path} has no layer yet: give it one in {__file__}"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    guarded = typing_only(tree)
    for module in imported(tree):
        other = module.split(".")[1]
        # Two names of one protocol's type are known below its layer.
        if module in guarded:
            continue
        assert LEVEL[other] <= LEVEL[name], f"{path} imports {module}, which is above it"


def typing_only(tree):
    """Return the modules that are imported for annotations alone."""
    return {
        node.module
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
    }


def test_encoders_know_no_graph_and_samplers_no_torch():
    for path, package in sources():
        text = path.read_text(encoding="utf-8")
        if package in ("encoders", "objectives"):
            assert "pingraph.graph" not in text
            assert "lightning" not in text
            other = {"encoders": "objectives", "objectives": "encoders"}[package]
            assert f"pingraph.{other}" not in text
        if package == "samplers":
            assert "import torch" not in text or path.name.startswith(TORCH)
            assert "encoders" not in text


def test_every_folder_with_code_is_in_the_wheel():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "setuptools"
    ]
    listed = {
        ROOT / settings["package-dir"].get(name, name.replace(".", "/")): name
        for name in settings["packages"]
    }
    for folder in ("pingraph", *TOP_FOLDERS):
        for path in (ROOT / folder).rglob("*.py"):
            if "benchmarks" not in path.parts:
                assert path.parent in listed, f"{path} would be missing in the wheel"
    assert all((folder / "__init__.py").is_file() for folder in listed)
    for folder, name in listed.items():
        carried = settings["package-data"].get(name, [])
        for path in folder.iterdir():
            if path.is_file() and path.suffix != ".py":
                assert any(path.match(form) for form in carried), f"{path} would be missing there"
