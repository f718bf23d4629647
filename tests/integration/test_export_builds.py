"""A folder of C99 is a component of ESP-IDF, a library of PlatformIO and a module of Zephyr.

Their tools need toolchains from the network, so the folder is built by CMake with stand-ins for the functions by which
ESP-IDF and Zephyr take sources.
"""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
from pathlib import Path

import pytest
from building_c import missing
from c99_graphs import graph

from edgepress.toolkit.shipping.exporting.export import export

STAND_INS = """
cmake_minimum_required(VERSION 3.13)
project(app C)
function(idf_component_register)
  cmake_parse_arguments(ARG "" "" "SRCS;INCLUDE_DIRS" ${ARGN})
  add_library(taken STATIC ${ARG_SRCS})
  target_include_directories(taken PUBLIC ${ARG_INCLUDE_DIRS})
endfunction()
function(zephyr_library_named name)
  set(TAKEN ${name} PARENT_SCOPE)
endfunction()
function(zephyr_library_sources)
  add_library(taken STATIC ${ARGN})
  target_include_directories(taken PUBLIC ${INCLUDED})
endfunction()
function(zephyr_include_directories folder)
  set(INCLUDED ${CMAKE_CURRENT_SOURCE_DIR}/${folder} PARENT_SCOPE)
endfunction()
function(zephyr_library_compile_options)
  target_compile_options(taken PRIVATE ${ARGN})
endfunction()
"""
MAIN = '#include "front.h"\nint main(void) { front_run(); return 0; }\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / 'a "b" $c\\d.tflite'
    path.write_bytes(graph("chain-0"))
    return export(path, out=tmp_path / "c", name="front").folder


@pytest.mark.skipif(missing("cmake") != "", reason="cmake is not installed")
@pytest.mark.parametrize(
    ("settings", "place"),
    [("set(ESP_PLATFORM 1)", ""), ("set(CONFIG_EDGEPRESS_FRONT y)", "zephyr"), ("add_library(taken ALIAS front)", "")],
    ids=["esp-idf", "zephyr", "cmake"],
)
def test_a_project_takes_the_folder(settings: str, place: str, folder: Path, tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    (app / "main.c").write_text(MAIN)
    added = f'add_subdirectory("{folder / place}" front)\n'
    order = (added, settings) if "ALIAS" in settings else (settings, added)
    lines = (STAND_INS, *order, "add_executable(app main.c)", "target_link_libraries(app taken)")
    (app / "CMakeLists.txt").write_text("\n".join(lines))
    build = app / "build"
    for command in (["cmake", "-S", app, "-B", build], ["cmake", "--build", build]):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    subprocess.run([build / "app"], check=True)
    assert not list(build.rglob("selftest*"))


@pytest.mark.skipif(missing("cmake") != "", reason="cmake is not installed")
def test_a_module_of_zephyr_that_is_off_adds_nothing(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text(f'{STAND_INS}\nadd_subdirectory("{folder / "zephyr"}" front)\n')
    subprocess.run(["cmake", "-S", tmp_path, "-B", tmp_path / "build"], check=True, capture_output=True)
    assert not list((tmp_path / "build").rglob("*taken*"))


def test_manifests_name_the_model_and_nothing_of_its_file_leaves_its_text(folder: Path) -> None:
    about = "a ?b? ?c?d.tflite as C99"
    library = json.loads((folder / "library.json").read_text())
    assert library["name"] == "front"
    assert library["description"].startswith(about)
    assert library["headers"] == ["front.h"]
    kept = [name[2:-1] for name in library["build"]["srcFilter"] if name[0] == "+"]
    dropped = [name[2:-1] for name in library["build"]["srcFilter"] if name[0] == "-"]
    sources = [path.name for path in folder.iterdir()]
    compiled = [
        name
        for name in sources
        if any(fnmatch.fnmatch(name, each) for each in kept)
        and not any(fnmatch.fnmatch(name, each) for each in dropped)
    ]
    assert compiled == ["front.c"]
    (described,) = re.findall(r"^description: (.*)$", (folder / "idf_component.yml").read_text(), re.MULTILINE)
    assert json.loads(described).startswith(about)
    kconfig = (folder / "zephyr" / "Kconfig").read_text()
    assert kconfig.splitlines()[0] == "config EDGEPRESS_FRONT"
    (prompt,) = re.findall(r"^\tbool (.*)$", kconfig, re.MULTILINE)
    assert json.loads(prompt) == json.loads(described)
    readme = (folder / "README.md").read_text()
    assert all(name in readme for name in ("ESP-IDF", "PlatformIO", "Zephyr", "`front.c`"))


def test_a_later_export_of_another_layout_removes_them(folder: Path, tmp_path: Path) -> None:
    path = next(tmp_path.glob("*.tflite"))
    export(path, out=folder, name="front", layout="arduino")
    assert not [path for path in folder.rglob("*") if path.name in ("module.yml", "Kconfig", "library.json")]
