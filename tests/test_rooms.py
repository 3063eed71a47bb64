"""The order of the rooms: each imports from its own floor and from those below, so that data flows one way."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FLOORS = (
    "base",
    "targets",
    "codegen.contract",
    "codegen.model",
    "codegen.formats",
    "codegen.quantise",
    "codegen.reference",
    "codegen.plan",
    "codegen.pack",
    "codegen.words",
    "codegen.render",
    "codegen.compile",
    "codegen.run",
    "codegen.build",
    "codegen.check",
    "trainer.corpus",
    "trainer.data",
    "trainer",
    "trainer.quantize",
    "codegen.bench",
    "codegen.tune",
    "codegen.library",
    "codegen.cli",
)
"""From the ground up. `base` is the package `llgen` itself; `codegen/` reads like the pipeline.
`trainer` is the trainer's folder without its three rooms; it stands above the rooms of `codegen/` that it imports."""

FACES = ("codegen/base/__init__.py", "codegen/base/__main__.py")
"""What `import llgen` and `python -m llgen` open: doors, which lead to every floor."""

TO_THE_TRAINER = ("codegen.formats", "codegen.cli")
"""Rooms that may call the trainer."""


def module_of(path: Path) -> str:
    """The name under `llgen` of a file of the repository."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts[2:] if parts[:2] == ("codegen", "base") else parts
    return ".".join(parts).removesuffix(".__init__")


FILES = [path for folder in ("codegen", "targets", "trainer") for path in (ROOT / folder).rglob("*.py")]
MODULES = {module_of(path): path for path in FILES}


def room_of(module: str) -> str:
    """The floor of `FLOORS`, or the folder, that a module belongs to."""
    parts = module.split(".")
    if parts[0] == "trainer":
        return ".".join(parts[:2]) if ".".join(parts[:2]) in FLOORS else "trainer"
    if parts[0] in ("targets", "templates"):
        return parts[0]
    return ".".join(parts[:2]) if parts[0] == "codegen" else "base"


def is_trainer(module: str) -> bool:
    return module.partition(".")[0] == "trainer"


def imports_of(path: Path, *, at_the_top: bool = False) -> set[str]:
    """The modules of llgen that a file imports, under `llgen`; `at_the_top`: not those inside of functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = path.relative_to(ROOT).parent.parts
    found = set()
    for node in tree.body if at_the_top else ast.walk(tree):
        if not isinstance(node, ast.ImportFrom):
            continue
        if node.level:
            parent = package[: len(package) - node.level + 1]
            start = module_of(ROOT.joinpath(*parent, *(node.module or "").split("."), "__init__.py"))
        elif node.module and node.module.partition(".")[0] == "llgen":
            start = node.module.removeprefix("llgen").lstrip(".")
        else:
            continue
        names = [f"{start}.{alias.name}".lstrip(".") for alias in node.names]
        found |= {name if name in MODULES else start for name in names}
    return found


def test_every_file_stands_on_a_floor():
    rooms = {room_of(module) for module in MODULES} - {"codegen.__init__"}
    assert rooms - {"codegen"} == set(FLOORS)


@pytest.mark.parametrize("floor", FLOORS)
def test_a_room_imports_from_below(floor):
    below = {*FLOORS[: FLOORS.index(floor) + 1], "codegen", "templates"}
    upward = {
        f"{path.relative_to(ROOT)} -> {imported}"
        for module, path in MODULES.items()
        if room_of(module) == floor and str(path.relative_to(ROOT)) not in FACES
        for imported in imports_of(path)
        if room_of(imported) not in below and not (floor in TO_THE_TRAINER and is_trainer(imported))
    }
    assert upward == set()


def test_targets_know_nothing_of_codegen():
    imported = {each for module, path in MODULES.items() if room_of(module) == "targets" for each in imports_of(path)}
    assert {room_of(each) for each in imported} <= {"base", "targets"}


def test_rooms_other_than_formats_and_commands_do_without_the_trainer():
    for module, path in MODULES.items():
        if not is_trainer(module) and room_of(module) not in TO_THE_TRAINER:
            assert not set(filter(is_trainer, imports_of(path))), path


def test_formats_import_the_trainer_inside_of_functions_alone():
    for module, path in MODULES.items():
        if room_of(module) == "codegen.formats":
            assert not set(filter(is_trainer, imports_of(path, at_the_top=True))), path


def test_no_two_files_import_each_other():
    graph = {module: imports_of(path, at_the_top=True) & set(MODULES) for module, path in MODULES.items()}
    finished: set[str] = set()

    def walk(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, f"a circle: {' -> '.join([*way[way.index(module) :], module])}"
        if module not in finished:
            for imported in graph[module]:
                walk(imported, (*way, module))
            finished.add(module)

    for module in graph:
        walk(module, ())
