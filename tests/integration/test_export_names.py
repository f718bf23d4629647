"""`export --name`: several models in one firmware, several instances of one, and names that would not compile."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from building_c import STRICT, missing
from c99_graphs import graph

from edgepress.toolkit.errors import InputError
from edgepress.toolkit.shipping.exporting.export import export

pytestmark = pytest.mark.skipif(missing("gcc") != "", reason="gcc is not installed")
GRAPHS = {"front": "chain-0", "rear_2": "chain-1", "top": "depthwise-3"}
SELFTESTS = """
#include <stdio.h>
{declarations}
int main(void)
{{
    const int wrong = {sum};
    printf("%d wrong\\n", wrong);
    return wrong != 0;
}}
"""
THREADS = """
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include "front.h"

#define ITEMS 400
static unsigned char expected[ITEMS][FRONT_OUTPUT_BYTES];

static void item_of(int number, unsigned char *item)
{
    unsigned state = 12345u + (unsigned)number;
    for (int i = 0; i < FRONT_INPUT_BYTES; i++) {
        state = state * 1664525u + 1013904223u;
        item[i] = (unsigned char)(state >> 24);
    }
}

static void *answer(void *arena)
{
    for (int i = 0; i < ITEMS; i++) {
        item_of(i, (unsigned char *)front_input_in(arena));
        front_run_in(arena);
        if (memcmp(front_output_in(arena), expected[i], FRONT_OUTPUT_BYTES) != 0) return arena;
    }
    return NULL;
}

int main(void)
{
    static int arenas[2][(FRONT_ARENA_BYTES + 3) / 4];
    pthread_t threads[2];
    void *wrong[2];
    for (int i = 0; i < ITEMS; i++) {
        item_of(i, (unsigned char *)front_input_in(arenas[0]));
        front_run_in(arenas[0]);
        memcpy(expected[i], front_output_in(arenas[0]), FRONT_OUTPUT_BYTES);
    }
    for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, answer, arenas[i]);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], &wrong[i]);
    printf("%d\\n", memcmp(expected[0], expected[1], FRONT_OUTPUT_BYTES) != 0);
    return wrong[0] != NULL || wrong[1] != NULL;
}
"""


def exported(folder: Path, name: str, **options: Any) -> Path:
    path = folder / f"{name}.tflite"
    path.write_bytes(graph(GRAPHS.get(name, "chain-0")))
    return export(path, out=folder / name, name=name, **options).folder


def compiled(folder: Path, *sources: Path, flags: tuple[str, ...] = ()) -> Path:
    program = folder / "program"
    subprocess.run(["gcc", *STRICT, "-O1", *flags, "-o", program, *sources, "-lm"], check=True)
    return program


@pytest.mark.parametrize("specialize", [False, True])
def test_three_models_of_one_program_answer_as_each_alone(specialize: bool, tmp_path: Path) -> None:
    folders = [exported(tmp_path, name, specialize=specialize) for name in GRAPHS]
    main = tmp_path / "main.c"
    declarations = "".join(f"int {name}_selftest(void);\n" for name in GRAPHS)
    main.write_text(
        SELFTESTS.format(declarations=declarations, sum=" + ".join(f"{name}_selftest()" for name in GRAPHS))
    )
    sources = [path for folder in folders for path in folder.glob("*.c")]
    macros = tuple(f"-D{name.upper()}_NO_MAIN" for name in GRAPHS)
    program = compiled(tmp_path, main, *sources, flags=(*macros, *(f"-I{folder}" for folder in folders)))
    done = subprocess.run([program], capture_output=True, text=True, check=True)
    assert done.stdout == "0 wrong\n"


def test_two_instances_in_two_threads_answer_as_one(tmp_path: Path) -> None:
    folder = exported(tmp_path, "front")
    main = tmp_path / "main.c"
    main.write_text(THREADS)
    flags = (f"-I{folder}", "-DFRONT_NO_ARENA", "-pthread", "-fsanitize=address,undefined")
    program = compiled(tmp_path, main, folder / "front.c", flags=flags)
    assert subprocess.run([program], capture_output=True, text=True, check=True).stdout == "1\n"
    symbols = subprocess.run(["nm", program], capture_output=True, text=True, check=True).stdout
    assert "front_arena" not in symbols


def test_nothing_is_called_model_but_words_and_texts_of_strangers(tmp_path: Path) -> None:
    path = tmp_path / "model_run.tflite"
    path.write_bytes(graph("chain-0"))
    made = export(path, out=tmp_path / "c", name="front")
    build_files = ("CMakeLists.txt", "idf_component.yml", "library.json", "zephyr/CMakeLists.txt", "zephyr/Kconfig")
    written = {path.relative_to(made.folder).as_posix() for path in made.folder.rglob("*") if path.is_file()}
    assert written == {
        *("README.md", "front.c", "front.h", "report.json", "selftest.c", "zephyr/module.yml", *build_files)
    }
    for name in ("front.h", "front.c", "selftest.c", *build_files):
        text = (made.folder / name).read_text().replace("model_run.tflite", "")
        assert "model_" not in text
        assert "MODEL_" not in text
    readme = (made.folder / "README.md").read_text()
    assert "`front_run` is not reentrant" in readme
    assert "model\\_run.tflite" in readme or "model_run.tflite" in readme
    again = export(path, out=tmp_path / "c", name="rear")
    assert not (made.folder / "front.c").exists(), "a build would compile both"
    assert again.report["name"] == "rear"
    assert (made.folder / "rear.c").exists()


@pytest.mark.parametrize(
    "name",
    ["", "Front", "2front", "a-b", "a b", "a" * 32, "stdint", "string", "selftest", "ep", "../a", "a\n", "\N{SNOWMAN}"],
)
def test_names_that_are_none_are_refused_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tflite"
    path.write_bytes(graph("chain-0"))
    with pytest.raises(InputError, match="name") as caught:
        export(path, out=tmp_path / "c", name=name)
    assert "lower-case letter" in caught.value.hint
    assert not (tmp_path / "c").exists()


def test_the_longest_name_compiles(tmp_path: Path) -> None:
    folder = exported(tmp_path, "a" * 31)
    compiled(tmp_path, folder / f"{'a' * 31}.c", folder / "selftest.c", flags=(f"-I{folder}",))


def test_a_name_is_for_c99(tmp_path: Path) -> None:
    path = tmp_path / "a.tflite"
    path.write_bytes(graph("chain-0"))
    with pytest.raises(InputError, match="--name is for c99"):
        export(path, "tflm", out=tmp_path / "c", name="front")


@pytest.mark.skipif(missing("cmake") != "", reason="cmake is not installed")
def test_a_folder_is_part_of_another_project(tmp_path: Path) -> None:
    """Its self-test is not: two would have one name."""
    for name in ("front", "rear_2"):
        exported(tmp_path, name)
    (tmp_path / "main.c").write_text(
        '#include "front.h"\n#include "rear_2.h"\nint main(void) { front_run(); rear_2_run(); return 0; }\n'
    )
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.13)\nproject(app C)\nadd_subdirectory(front)\nadd_subdirectory(rear_2)\n"
        "add_executable(app main.c)\ntarget_link_libraries(app front rear_2)\n"
    )
    build = tmp_path / "build"
    for command in (["cmake", "-S", tmp_path, "-B", build], ["cmake", "--build", build]):
        subprocess.run(command, check=True, capture_output=True)
    subprocess.run([build / "app"], check=True)
    assert not list(build.rglob("selftest*"))


def test_what_makes_the_input_has_the_name_of_the_model(tmp_path: Path) -> None:
    """Frames of a camera and real values, in files of their own, also after an export by another name."""
    from edgepress.converters.contract.hints import Hints
    from edgepress.converters.to_c.lowering import lower
    from edgepress.toolkit.conversion.inspection import annotate

    plain = tmp_path / "plain.tflite"
    plain.write_bytes(graph("chain-0"))
    source = lower(plain).input
    low, high = (source.scale * (pixel - source.zero_point) for pixel in (0, 255))
    (tmp_path / "labels.txt").write_text("\n".join("abcdef"))
    hints = Hints(labels=tmp_path / "labels.txt", color="rgb", task="softmax", input_range=f"{low},{high}")
    annotate(plain, tmp_path / "model.tflite", hints=hints)
    for name in ("front", "rear"):
        folder = export(tmp_path / "model.tflite", out=tmp_path / "c", name=name).folder
        frames = {path.name for path in folder.glob("*_frame.*")}
        assert frames == {f"{name}_frame.c", f"{name}_frame.h"}
        assert f"int {name}_input_from_rgb888(" in (folder / f"{name}_frame.h").read_text()
        sources = [folder / f"{name}.c", folder / f"{name}_frame.c", folder / "selftest.c"]
        compiled(tmp_path, *sources, flags=(f"-I{folder}",))
        assert f"`{name}_input_from_rgb888`" in (folder / "README.md").read_text()
