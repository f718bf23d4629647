"""`edgepress export`: folders of C that compile and pass their own self-test, and refusals that write nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from building_c import CORES, LINUX, STRICT, emulate, missing, selftest_output
from c99_graphs import graph

from edgepress.converters.contract.hints import Hints
from edgepress.converters.to_c.footprint import compute_footprint
from edgepress.converters.to_c.lowering import lower
from edgepress.toolkit.cli.main import main
from edgepress.toolkit.conversion.inspection import annotate
from edgepress.toolkit.errors import InputError, ModelFileError
from edgepress.toolkit.shipping.exporting.c99 import library_name
from edgepress.toolkit.shipping.exporting.export import Exported, export
from edgepress.toolkit.shipping.exporting.folder import BUILD_FILES
from edgepress.toolkit.shipping.exporting.job import MICROCONTROLLERS

CHAIN = "chain-0"
"""A graph that takes uint8 images of 12 x 10 x 3 and has six outputs."""
FILES = {"README.md", "model.c", "model.h", "report.json", "selftest.c", *BUILD_FILES}
LABELS = ('a "cat"', "b\\", "<c>", "d|e", "\N{SNOWMAN}", "??/")


def exported(folder: Path, name: str = CHAIN, **options: Any) -> Exported:
    path = folder / f"{name}.tflite"
    path.write_bytes(graph(name))
    return export(path, out=folder / "c", **options)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A file with labels, and data with the same ones."""
    folder = tmp_path_factory.mktemp("labelled")
    plain = folder / "plain.tflite"
    plain.write_bytes(graph(CHAIN))
    (folder / "labels.txt").write_text("\n".join(LABELS))
    source = lower(plain).input
    low, high = (source.scale * (pixel - source.zero_point) for pixel in (0, 255))  # a pixel is stored as it is
    hints = Hints(labels=folder / "labels.txt", color="rgb", task="softmax", input_range=f"{low},{high}")
    annotate(plain, folder / "model.tflite", hints=hints)
    chance = np.random.default_rng(0)
    items = chance.integers(0, 256, (60, 12, 10, 3)).astype(np.uint8)
    np.savez(folder / "data.npz", x=items, y=np.arange(60) % 6, labels=np.array(LABELS))
    return folder / "model.tflite", folder / "data.npz"


@pytest.mark.slow
@pytest.mark.skipif(missing("gcc") != "", reason="gcc is not installed")
@pytest.mark.parametrize("specialize", [False, True])
def test_a_folder_compiles_and_passes_its_self_test(specialize: bool, tmp_path: Path) -> None:
    made = exported(tmp_path, specialize=specialize)
    assert files_in(made.folder) == FILES
    sanitized = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    assert selftest_output(made.folder, "gcc", *sanitized) == "8 of 8 items have the expected answer\n"
    report = json.loads((made.folder / "report.json").read_text())
    assert report == made.report
    assert report["selftest"] == {"source": "random", "items": 8, "right": None}
    assert report["ram"]["arena"] == int((made.folder / "model.h").read_text().split("ARENA_BYTES ")[1].split()[0])
    assert report["macs"] == sum(step["macs"] for step in report["steps"]) > 0


@pytest.mark.skipif(missing("gcc") != "", reason="gcc is not installed")
def test_a_changed_answer_fails_the_self_test(tmp_path: Path) -> None:
    """The self-test can fail: here the rounding is altered."""
    made = exported(tmp_path)
    source = made.folder / "model.c"
    text = source.read_text()
    rounded = "ep_high_small(acc, s->multiplier[channel])"
    assert rounded in text
    source.write_text(text.replace(rounded, f"{rounded} + 1"))
    with pytest.raises(AssertionError, match="of 8 items have the expected answer"):
        selftest_output(made.folder, "gcc")


@pytest.mark.skipif(missing("gcc") != "", reason="gcc is not installed")
def test_items_of_data_go_into_the_self_test_as_the_file_stores_them(
    labelled: tuple[Path, Path], tmp_path: Path
) -> None:
    model, data = labelled
    made = export(model, out=tmp_path / "c", data=str(data), samples=4)
    selftest = made.report["selftest"]
    assert (selftest["source"], selftest["items"]) == (str(data), 4)
    assert 0 <= selftest["right"] <= 4
    assert selftest_output(made.folder, "gcc").startswith("4 of 4")
    text = (made.folder / "selftest.c").read_text()
    with np.load(data) as arrays:
        rows = {tuple(row) for row in arrays["x"].reshape(60, -1).tolist()}
    first = text.split("MODEL_INPUT_BYTES] = {\n{")[1].split("}")[0]
    assert tuple(int(number) for number in first.split(",")) in rows


@pytest.mark.skipif(missing("gcc") != "", reason="gcc is not installed")
def test_labels_are_strings_of_c_and_text_of_markdown(labelled: tuple[Path, Path], tmp_path: Path) -> None:
    made = export(labelled[0], out=tmp_path / "c")
    program = tmp_path / "labels.c"
    program.write_text(
        '#include "c/model.h"\n#include <stdio.h>\n'
        "int main(void) { for (int i = 0; i < MODEL_LABELS; i++) puts(model_labels[i]); return 0; }\n"
    )
    command = ["gcc", *STRICT, str(program), str(made.folder / "model.c"), "-o", str(tmp_path / "labels")]
    subprocess.run(command, check=True)
    printed = subprocess.run([tmp_path / "labels"], capture_output=True, text=True, check=True).stdout
    assert printed.splitlines() == list(LABELS)
    assert "&lt;c&gt;" in (made.folder / "README.md").read_text()


def test_a_board_that_is_too_small_is_named_and_nothing_is_written(tmp_path: Path, monkeypatch: Any) -> None:
    small = MICROCONTROLLERS["pico"]._replace(ram=500)
    monkeypatch.setitem(MICROCONTROLLERS, "pico", small)
    with pytest.raises(InputError, match=r"needs \d+ bytes for its tensors .* pico has 500 bytes of memory"):
        exported(tmp_path, board="pico")
    monkeypatch.setitem(MICROCONTROLLERS, "pico", small._replace(ram=10**6, flash=1000))
    with pytest.raises(InputError, match=r"needs about \d+ bytes of flash; pico has 1000") as caught:
        exported(tmp_path, board="pico")
    assert caught.value.hint.endswith("edgepress compress MODEL --max-ram 1000000B --max-flash 1000B")
    monkeypatch.setitem(MICROCONTROLLERS, "pico", small._replace(ram=512 * 1024, flash=1024))
    with pytest.raises(InputError, match=r"bytes of flash; pico has 1024") as caught:
        exported(tmp_path, board="pico")
    assert caught.value.hint.endswith("edgepress compress MODEL --max-ram 512KiB --max-flash 1KiB")
    assert not (tmp_path / "c").exists()
    assert exported(tmp_path, board="pico2").report["board"]["ram"] == MICROCONTROLLERS["pico2"].ram


def test_the_footprint_of_a_file_is_that_of_its_export(tmp_path: Path) -> None:
    takes, report = compute_footprint((made := exported(tmp_path)).folder.with_name(f"{CHAIN}.tflite")), made.report
    assert takes.ram == sum(report["ram"].values())
    assert takes.flash == report["flash"]["total"]


def test_arguments_that_are_wrong_are_named(tmp_path: Path) -> None:
    for options, text in (({"board": "pico3"}, "Did you mean 'pico"), ({"samples": 0}, ""), ({"to": "c98"}, "c99")):
        with pytest.raises(InputError) as caught:
            exported(tmp_path, **options)
        assert text in str(caught.value)
    assert not (tmp_path / "c").exists()


def test_a_float_file_is_refused_with_the_command_that_makes_one_that_fits(run: Any, tmp_path: Path) -> None:
    for scheme in ("tflite-float32", "tflite-dynamic", "tflite-int16x8"):
        with pytest.raises(ModelFileError) as caught:
            export(run.variants[scheme], out=tmp_path / "c")
        assert "--target integer-only" in caught.value.hint
    with pytest.raises(ModelFileError, match="is an ONNX model"):
        export(run.variants["onnx-int8"], out=tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_the_command_prints_what_the_board_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(graph(CHAIN))
    with pytest.raises(SystemExit, match="0"):
        main(["export", str(path), "--board", "uno-r4"])
    shown = capsys.readouterr().out
    assert "Arena" in shown
    assert "Share of uno-r4" in shown
    with pytest.raises(SystemExit, match="0"):
        main(["export", str(path), "--json", "--samples", "2", "--out", str(tmp_path / "c")])
    document = json.loads(capsys.readouterr().out)
    assert document["folder"] == str(tmp_path / "c")
    assert document["selftest"]["items"] == 2


ARDUINO = """
#include <cstdio>
#include <cstdlib>
static unsigned long micros() { return 7; }
static unsigned long millis() { return 0; }
struct Port {
  void begin(long) {}
  explicit operator bool() const { return true; }
  void print(const char *text) { std::fputs(text, stdout); }
  void print(long number) { std::printf("%ld", number); }
  void print(int number) { std::printf("%d", number); }
  void print(unsigned long number) { std::printf("%lu", number); }
  void println(const char *text) { std::puts(text); }
};
static Port Serial;
static void delay(unsigned long) { std::exit(0); }
"""
"""What the Arduino core declares, for a sketch that ends after its first round."""


@pytest.mark.skipif(missing("gcc", "g++") != "", reason="gcc or g++ is not installed")
def test_an_arduino_library_runs_its_example(tmp_path: Path) -> None:
    made = exported(tmp_path, layout="arduino", samples=3)
    files = {str(path.relative_to(made.folder)) for path in made.folder.rglob("*") if path.is_file()}
    sketch = {"examples/selftest/selftest.ino", "examples/selftest/vectors.h"}
    assert files == {"library.properties", "README.md", "report.json", "src/model.c", "src/model.h"} | sketch
    properties = dict(line.split("=", 1) for line in (made.folder / "library.properties").read_text().splitlines())
    required = {"name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url", "architectures"}
    assert properties.keys() == required | {"includes"}
    assert (properties["name"], properties["includes"]) == (CHAIN, "model.h")
    (tmp_path / "Arduino.h").write_text(ARDUINO)
    main = tmp_path / "main.cpp"
    example = made.folder / "examples" / "selftest" / "selftest.ino"
    main.write_text(f'#include <Arduino.h>\n#include "{example}"\nint main() {{ setup(); for (;;) loop(); }}\n')
    source = str(made.folder / "src")
    subprocess.run(["gcc", *STRICT, "-c", f"{source}/model.c", "-o", str(tmp_path / "model.o")], check=True)
    command = ["g++", "-Wall", "-Wextra", "-Werror", f"-I{source}", f"-I{tmp_path}", str(main)]
    subprocess.run([*command, str(tmp_path / "model.o"), "-o", str(tmp_path / "sketch")], check=True)
    printed = subprocess.run([tmp_path / "sketch"], capture_output=True, text=True, check=True).stdout
    assert printed == "3 of 3 items have the expected answer; one takes up to 0 us\n"


def test_names_of_files_become_names_that_arduino_accepts() -> None:
    assert library_name("model int8 (2)\nname=x") == "model-int8-2-name-x"
    assert library_name("_\N{SNOWMAN}") == "model"
    assert library_name("a" * 80) == "a" * 63
    assert library_name("123") == "model-123"
    assert library_name(f"{'1' * 70}a") == f"model-{'1' * 57}"


def test_the_default_folder_has_a_name_that_arduino_accepts(tmp_path: Path) -> None:
    for stem, name in (
        ("my m\N{LATIN SMALL LETTER O WITH DIAERESIS}del (2)", "my-m-del-2-arduino"),
        ("7", "model-7-arduino"),
    ):
        path = tmp_path / f"{stem}.tflite"
        path.write_bytes(graph(CHAIN))
        assert export(path, samples=1, layout="arduino").folder == tmp_path / name


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_files_of_an_earlier_export_do_not_stay_and_those_of_the_user_do(tmp_path: Path) -> None:
    """The Arduino IDE compiles everything in src/."""
    folder = exported(tmp_path, layout="arduino", samples=1).folder
    (folder / "src" / "mine.c").write_text("int mine;")
    sketch = folder / "examples" / "selftest" / "selftest.ino"
    sketch.write_text("/* changed */")
    made = exported(tmp_path, samples=1)
    changed = "examples/selftest/selftest.ino"
    assert files_in(folder) == FILES | {"src/mine.c", changed}
    assert [note for note in made.notes if changed in note]
    assert json.loads((folder / "report.json").read_text())["files"].keys() == FILES - {"report.json"}
    (folder / "mine.h").write_text("")
    forged = {"mine.h": "", "../chain-0.tflite": "", "model.c": 1, "README.md": [], "src/mine.c": None}
    (folder / "report.json").write_text(json.dumps({"files": forged}))
    with pytest.raises(InputError, match=r"README\.md, .*report\.json"):
        exported(tmp_path, layout="arduino", samples=1)
    exported(tmp_path, layout="arduino", samples=1, overwrite=True)
    assert {"mine.h", "src/mine.c", "model.c", "README.md", "src/model.c"} <= files_in(folder)
    assert (tmp_path / "chain-0.tflite").exists()


def test_files_of_the_user_stop_an_export_of_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "chain.tflite").write_bytes(graph(CHAIN))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "CMakeLists.txt").write_text("project(mine)")
    command = ["export", str(tmp_path / "chain.tflite"), "--samples", "1", "--out", str(tmp_path / "c")]
    with pytest.raises(SystemExit, match="1"):
        main(command)
    assert "CMakeLists.txt" in (printed := capsys.readouterr().err)
    assert "--overwrite" in printed
    assert files_in(tmp_path / "c") == {"CMakeLists.txt"}
    with pytest.raises(SystemExit, match="0"):
        main([*command, "--overwrite"])
    assert files_in(tmp_path / "c") == FILES


def test_a_layout_is_for_c99_alone(tmp_path: Path) -> None:
    for options, text in (({"layout": "arduino", "to": "tflm"}, "layout arduino is for C99"), ({"layout": "ide"}, "")):
        with pytest.raises(InputError, match=text):
            exported(tmp_path, **options)
    assert not (tmp_path / "c").exists()


@pytest.mark.slow
@pytest.mark.skipif(missing("cmake") != "", reason="cmake is not installed")
def test_cmake_builds_and_tests_a_folder(tmp_path: Path) -> None:
    made = exported(tmp_path)
    for command in (["cmake", "-B", "b"], ["cmake", "--build", "b"], ["ctest", "--test-dir", "b"]):
        subprocess.run(command, cwd=made.folder, check=True, capture_output=True)


@pytest.mark.slow
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("name", [CHAIN, "wide-0", "conv-4", "softmax-rows"])
def test_emulated_cores_give_the_answers_within_the_stack_that_is_reported(
    core: str, name: str, tmp_path: Path
) -> None:
    if absent := missing("arm-none-eabi-gcc", "qemu-system-arm"):
        pytest.skip(f"{absent} is not installed")
    made = exported(tmp_path, name, samples=8)
    for flags in ((), ("-DEP_NO_DSP",), ("-DEP_SPECIALIZE=1",)):
        result = emulate(made.folder, core, *flags)
        assert result.wrong == 0, flags
        assert result.arena == made.report["ram"]["arena"]
    assert emulate(made.folder, core).stack <= made.report["ram"]["stack"] + 160, "the test's own frames and memcpy's"


@pytest.mark.slow
@pytest.mark.parametrize("machine", LINUX)
def test_other_machines_give_the_answers(machine: str, tmp_path: Path) -> None:
    compiler, emulator = LINUX[machine]
    if absent := missing(compiler[0], emulator[0]):
        pytest.skip(f"{absent} is not installed")
    made = exported(tmp_path, samples=20)
    assert selftest_output(made.folder, *compiler, run=tuple(emulator)).startswith("20 of 20")


@pytest.mark.slow
def test_the_table_of_sizes_is_what_the_compiler_makes(tmp_path: Path, monkeypatch: Any) -> None:
    if absent := missing("arm-none-eabi-gcc"):
        pytest.skip(f"{absent} is not installed")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks" / "microcontrollers"))
    from c99_sizes import measure

    from edgepress.converters.to_c.footprint import kernel_sizes

    for kernel, sizes in kernel_sizes().items():
        code, stack = measure(kernel, tmp_path)
        assert code == pytest.approx(sizes["code"], rel=0.1, abs=16), kernel
        assert stack == pytest.approx(sizes["stack"], rel=0.2, abs=32), kernel


@pytest.mark.slow
def test_a_trained_net_answers_the_same_from_training_to_an_emulated_board(run: Any, tmp_path: Path) -> None:
    from edgepress.toolkit.conversion.convert import convert

    if absent := missing("arm-none-eabi-gcc", "qemu-system-arm"):
        pytest.skip(f"{absent} is not installed")
    model = tmp_path / "model.keras"
    shutil.copyfile(run.model, model)
    convert(model, "tflite-int8", target="integer-only", out=tmp_path)
    made = export(tmp_path / "model-int8-integer-only.tflite", out=tmp_path / "c", data="digits", samples=20)
    assert made.report["selftest"]["right"] >= 18
    assert emulate(made.folder, "m4").wrong == 0
