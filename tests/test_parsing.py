"""Errors of command lines: short, in plain words, with the name that was meant."""

import contextlib
import io
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pingraph.mistakes import dropped_option, explain
from pingraph.parsing import ShortErrors

CANNOT, NO_MODULE = "cannot import ", "No module named 'nowhere'"


class Shape(Protocol):
    def area(self, scale: float) -> float: ...


class Square:
    def __init__(self, side: int = 1, name: str | None = None):
        self.side = side

    def area(self, scale: float) -> float:
        return scale * self.side**2


class Circle(Square):
    """Another class beside the default one."""


class Dot(Square):
    """A class without the options of the default one."""

    def __init__(self):
        super().__init__(side=0)


class Loose:
    def area(self, scale):
        return scale


@dataclass
class Paint:
    """Settings that are nested without a class path."""

    color: Literal["red", "blue"] = "red"
    coats: int = 2


def parser():
    made = ShortErrors(prog="draw", exit_on_error=True)
    made.add_argument("--config", action="config")
    made.add_argument("--width", type=int, default=3)
    made.add_argument("--line_width", type=float, default=0.5)
    made.add_argument("--visible", type=bool, default=True)
    made.add_argument("--title", type=str | None)
    made.add_argument("--paint", type=Paint, default=Paint())
    made.add_subclass_arguments(Square, "square", default={"class_path": f"{__name__}.Square"})
    return made


def refused(args, capsys, given_parser=None):
    """Return the lines of the error; the parser must have exited with 2."""
    with pytest.raises(SystemExit) as end:
        (given_parser or parser()).parse_args(args)
    assert end.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0].startswith("error: ")
    assert lines[-1].startswith("try 'draw")
    return [lines[0].removeprefix("error: "), *lines[1:-1]]


@pytest.mark.parametrize(
    ("args", "lines"),
    [
        (["--width=wide"], ["width is 'wide': expected a whole number"]),
        (["--line_width=wide"], ["line_width is 'wide': expected a number"]),
        (["--visible=perhaps"], ["visible is 'perhaps': expected true or false"]),
        (["--paint.color=green"], ["paint.color is 'green': expected red or blue"]),
        (["--widht=3"], ["unknown option --widht", "did you mean --width?"]),
        (["--coats=3"], ["unknown option --coats", "did you mean --paint.coats?"]),
        (["--paint.coat=3"], ["unknown option --paint.coat", "did you mean --paint.coats?"]),
        (["--wid=3"], ["unknown option --wid", "did you mean --width?"]),
        (["--qqqq=3"], ["unknown option --qqqq"]),
        (["--lw=3"], ["unknown option --lw", "did you mean --line_width?"]),
        (["--paint.qqqq=3"], ["unknown option --paint.qqqq", "--paint has coats, color"]),
        (["picture.png"], ["unexpected argument 'picture.png'"]),
        (["mine.yaml"], ["unexpected argument 'mine.yaml'", "did you mean --config mine.yaml?"]),
        (["--square.side=x"], ["square.side is 'x': expected a whole number"]),
        (["--config=nowhere.yaml"], None),
    ],
)
def test_a_mistake_is_named_in_a_line(args, lines, capsys):
    found = refused(args, capsys)
    assert lines is None or found == lines
    assert len(found) <= 2


def test_a_part_of_a_class_is_named_with_its_place(capsys):
    lines = refused(["--square.sides=3"], capsys)
    assert lines == [
        f"unknown option 'square.sides' of {__name__}.Square",
        "did you mean square.side?",
    ]


def test_a_class_that_is_not_there_is_named_with_one_that_is(capsys):
    lines = refused([f"--square={__name__}.Circel"], capsys)
    assert lines[0].startswith(f"square is '{__name__}.Circel': module ")
    assert lines[1] == f"did you mean {__name__}.Circle?"
    lines = refused(["--square=nowhere.at_all.Square"], capsys)
    assert lines[0].endswith("cannot import nowhere.at_all: No module named 'nowhere'")
    assert lines[1] == f"did you mean {__name__}.Square?"
    lines = refused(["--square=nowhere.at_all.MySquare"], capsys)  # a class of the user's own
    assert lines == [f"square is 'nowhere.at_all.MySquare': {CANNOT}nowhere.at_all: {NO_MODULE}"]


def test_a_module_that_cannot_be_imported_is_told_with_the_reason(capsys, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "lacks_module.py").write_text("import nowhere")
    (tmp_path / "lacks_name.py").write_text("from math import nothing")
    lines = refused(["--square=lacks_module.Mine"], capsys)
    assert lines == [f"square is 'lacks_module.Mine': {CANNOT}lacks_module: {NO_MODULE}"]
    lines = refused(["--square=lacks_name.Mine"], capsys)
    assert len(lines) == 1
    assert "'lacks_name.Mine': cannot import lacks_name: cannot import name 'nothing'" in lines[0]
    for path, words in (
        ("lacks_module.f", f"{CANNOT}lacks_module: {NO_MODULE}"),
        ("math.nothing", "module 'math' has no attribute 'nothing'"),
        ("nothing", "expected the path of a function or class, such as my_module.my_function"),
    ):
        made = ShortErrors(prog="draw")
        made.add_argument("--blend", type=Callable | None)
        assert refused([f"--blend={path}"], capsys, made) == [f"blend is {path!r}: {words}"]


def test_a_class_that_does_not_fit_a_protocol_is_told_the_signature(capsys):
    made = ShortErrors(prog="draw")
    made.add_argument("--shape", type=Shape, default={"class_path": f"{__name__}.Square"})
    assert made.parse_args([f"--shape={__name__}.Circle"]).shape.class_path.endswith("Circle")
    made.add_argument("--shapes", type=list[Shape])
    made.add_argument("--named", type=dict[str, Shape])
    loose = f"{__name__}.Loose"
    for arg in (f"--shape={loose}", f"--shapes+={loose}", f'--named={{"a": "{loose}"}}'):
        lines = refused([arg], capsys, made)
        assert "which does not implement protocol Shape" in lines[0]
        assert lines[1].startswith("  area(self, scale: ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("widht: 3", "unknown option 'widht'"),
        ("paint: {colour: red}", "'paint.colour'"),
        ("width: [1, 2]", "width is '[1, 2]': expected a whole number"),
        ("square: {init_args: {side: x}}", "square.side is 'x': expected a whole number"),
        ("width: {", "line "),
        ("just words", "the configuration file holds no keys with values"),
    ],
)
def test_a_mistake_in_a_file_is_named_by_its_key(text, words, capsys, tmp_path):
    (tmp_path / "mine.yaml").write_text(text)
    lines = refused([f"--config={tmp_path / 'mine.yaml'}"], capsys)
    assert lines[0].startswith(f"{tmp_path / 'mine.yaml'}: ")
    assert words in "\n".join(lines)
    assert "<unicode string>" not in "\n".join(lines)


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (b"width: 3\ntitle: caf\xe9\n", "line 2: byte 0xe9 is no UTF-8: expected a text file in"),
        (b"width: 3\npaint: {coats: 2\n", "not YAML: line 3, column 1: expected ',' or '}'"),
        (b"width: 3\nwidth: 4\n", "line 2: the key 'width' is in line 1 too"),
    ],
)
def test_a_file_that_is_no_yaml_is_named_with_its_line(raw, line, capsys, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_bytes(raw)
    assert refused([f"--config={file}"], capsys)[0].startswith(f"{file}: {line}")


def test_a_file_of_a_class_with_an_unknown_option_is_named(capsys, tmp_path):
    (tmp_path / "dot.yaml").write_text(f"class_path: {__name__}.Square\ninit_args: {{sides: 3}}")
    lines = refused([f"--square={tmp_path / 'dot.yaml'}"], capsys)
    why = "the file holds no class_path whose class has all of its init_args"
    assert lines == [f"square is '{tmp_path / 'dot.yaml'}': {why}"]
    (tmp_path / "dot.yaml").write_text(f"class_path: {__name__}.Square\ninit_args: {{side: 3}}")
    assert parser().parse_args([f"--square={tmp_path / 'dot.yaml'}"]).square.init_args.side == 3


def test_an_option_before_any_class_asks_for_the_class(capsys):
    made = ShortErrors(prog="draw")
    made.add_argument("--shapes", type=list[Shape])
    lines = refused(["--shapes.side=3", f"--shapes+={__name__}.Square"], capsys, made)
    assert lines == ["shapes: choose a class before its options"]


@pytest.mark.parametrize(
    ("args", "lost"),
    [
        (["--square.side=3", f"--square={__name__}.Dot"], "--square.side"),
        (["--square.side=3", f"--square={__name__}.Circle"], None),
        (["--square.side", "3", f"--square={__name__}.Dot"], "--square.side"),
        ([f"--square={__name__}.Square", "--square.side=3"], None),
        (["--width=3", "--paint.color=red"], None),
        (["--shapes+", f"{__name__}.Square", "--shapes.side", "3"], None),
        (["--square.init_args.side=3", f"--square={__name__}.Dot"], "--square.init_args.side"),
        ([f"--square={__name__}.Square", "--square.dict_kwargs.side=3"], None),
    ],
)
def test_an_option_of_a_class_that_gave_way_is_named(args, lost):
    made = parser()
    made.add_argument("--shapes", type=list[Shape])
    told = dropped_option(args, made.parse_args(args))
    line = f"{lost} is no option of {__name__}.Dot, which was chosen after it"
    assert told == (lost and line)


def test_a_mistake_beside_a_file_is_not_said_to_be_in_it(capsys, tmp_path):
    (tmp_path / "mine.yaml").write_text("width: 3")
    for typed in (
        "--widht=3",
        "--width=wide",
        "--square.sides=3",
        "--paint={colour: red}",
        "picture.png",
    ):
        beside = refused([f"--config={tmp_path / 'mine.yaml'}", typed], capsys)
        assert beside == refused([typed], capsys)


def test_of_several_files_the_one_with_the_mistake_is_named(capsys, tmp_path):
    for name, text in (
        ("good", "width: 3"),
        ("bad", "paint: {colour: red}"),
        ("flat", "paint.kind: 1"),
    ):
        (tmp_path / f"{name}.yaml").write_text(text)
    for names, named in ((["bad", "good"], "bad"), (["good", "flat"], "flat")):
        lines = refused([f"--config={tmp_path / name}.yaml" for name in names], capsys)
        assert lines[0].startswith(f"{tmp_path / named}.yaml: unknown option 'paint.")


def test_a_configuration_may_come_through_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_text("width: 7"))
    writer.start()
    assert parser().parse_args([f"--config={tmp_path / 'pipe'}"]).width == 7
    writer.join()


OPTIONS = ["--width", "--line_width", "--visible", "--title", "--paint.color", "--paint.coats"]


@given(st.sampled_from(OPTIONS), st.data())
@settings(deadline=None, max_examples=60)
def test_a_letter_too_few_or_too_many_is_understood(option, data):
    place = data.draw(st.integers(3, len(option) - 1))
    letter = data.draw(st.sampled_from(["", *"abcxyz"]))
    typed = option[:place] + letter + option[place + (letter == "") :]
    if typed in OPTIONS:
        return
    lines = explain(f"unrecognized arguments: {typed}", parser())
    assert lines == [f"unknown option {typed}", f"did you mean {option}?"]


@given(st.lists(st.one_of(st.sampled_from(OPTIONS), st.text(max_size=6)), max_size=4))
@settings(deadline=None, max_examples=150)
def test_whatever_is_typed_is_taken_or_refused_in_plain_words(args):
    hide = contextlib.redirect_stdout(io.StringIO())
    with contextlib.redirect_stderr(io.StringIO()) as err, hide:
        status = 0
        try:
            parser().parse_args(args)
        except SystemExit as end:
            status = end.code
    assert status in (0, 2)
    assert len(err.getvalue().splitlines()) <= 12
    assert "<class" not in err.getvalue()


def test_an_unknown_message_is_passed_on_without_its_wrapping():
    assert explain('Parser key "a.b":\n  something new', parser()) == ["a.b: something new"]
    text = "Call to compute_fn of link 'f(x) --> y' with args (1) failed: x is 1: too small"
    assert explain(text, parser()) == ["x is 1: too small"]


def test_an_unknown_part_of_a_class_that_was_chosen_is_told_with_its_place():
    text = 'Parser key "square":\n  Problem with it:\n    unrecognized arguments: --in.x=3'
    assert explain(text, parser()) == ["unknown option --square.in.x"]


def test_help_shows_neither_types_of_python_nor_lists_of_classes():
    text = " ".join(parser().format_help().split())
    assert "<class" not in text
    assert "default: null" not in text
    assert "(type: str)" in text
    assert "known subclasses" not in text
