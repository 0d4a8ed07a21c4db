"""The order of the rooms: imports run down one list, and never in a circle."""

import ast
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "fairseq_meloformer"

# Each room may import from those above it in this list, and nothing from those below.
ROOMS = (
    "errors",
    "hub",
    "stamps",
    "workers",
    "jobs",
    "weights",
    "pretrained",
    "midi",
    "tokens",
    "measures",
    "encoders",
    "words",
    "museformer",
    "summaries",
    "bridge",
    "render",
    "corpus",
    "injection",
    "composing",
    "evaluation",
    "studio",
    "convert",
    "plugin",
    "cli",
)


def modules(package):
    """Path of every module, by its dotted name."""
    paths = sorted(package.rglob("*.py"))
    names = [".".join(path.relative_to(package.parent).with_suffix("").parts) for path in paths]
    return {name.removesuffix(".__init__"): path for name, path in zip(names, paths, strict=True)}


@cache
def statements(path):
    """A module's imports, also those inside functions and for types alone."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]


def imports(path, known):
    """Modules that a module imports."""
    for node in statements(path):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in known else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def arrows(package):
    """Every import of the package by the package."""
    known = modules(package)
    return {
        name: sorted({target for target in imports(path, known) if target in known}) for name, path in known.items()
    }


def upward(package, order):
    """Arrows between rooms that run up the list, as sentences."""
    place = {room: number for number, room in enumerate(order)}
    found = []
    for name, targets in arrows(package).items():
        for target in targets:
            source, end = ((part.split(".", 2)[1:] or [""])[0] for part in (name, target))
            if source and end and source != end and place[source] < place[end]:
                found.append(f"{name} imports {target}: {source} stands above {end}")
    return found


def circles(package):
    """Imports that lead back to where they began, as sentences; the package's own door does not count as a way.

    It holds the version, which any room may ask for, and imports the rooms only when something is taken through it.
    """
    graph, seen, found = {**arrows(package), package.name: []}, set(), []

    def follow(name, way):
        if name in way:
            found.append(" -> ".join([*way[way.index(name) :], name]))
        elif name not in seen:
            for target in graph[name]:
                follow(target, [*way, name])
            seen.add(name)

    for name in graph:
        follow(name, [])
    return found


def test_every_room_has_its_place():
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert rooms - {"__init__"} <= set(ROOMS)


def test_imports_run_down_the_list():
    assert upward(PACKAGE, ROOMS) == []


def test_no_imports_run_in_a_circle():
    assert circles(PACKAGE) == []


def test_only_the_plugin_imports_fairseq():
    for name, path in modules(PACKAGE).items():
        tops = {target.split(".")[0] for target in imports(path, ())}
        assert "fairseq" not in tops or name.startswith("fairseq_meloformer.plugin"), name


@pytest.mark.parametrize("line", ["from house.upper import thing", "import house.upper", "from house import upper"])
def test_an_arrow_that_runs_up_is_named(tmp_path, line):
    house = tmp_path / "house"
    house.mkdir()
    (house / "__init__.py").write_text("")
    (house / "lower.py").write_text(f"def late():\n    {line}\n")
    (house / "upper.py").write_text("from house.lower import late\n")
    assert upward(house, ("lower", "upper")) == ["house.lower imports house.upper: lower stands above upper"]
    assert circles(house) == ["house.lower -> house.upper -> house.lower"]
