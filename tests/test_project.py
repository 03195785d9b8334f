"""The project as a whole: which packages may import which, and that README, Makefile and the described tree agree."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = {
    "handlers", "export", "serving", "client", "loadtest", "choose", "compare", "rollout", "openapi", "tsi", "tests",
}  # fmt: skip


def imported(path: Path) -> set[str]:
    """Full names of the modules that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rooms(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("module", ["export.catalog", "export.build"])  # with the tasks, and with the steps
def test_what_make_archive_plans_with_imports_no_torch(module):
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, {module}; print(sorted({{'torch', 'timm'}} & set(sys.modules)))"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("handlers", OURS - {"handlers", "client"} | {"tsi_client"}),
        ("client", OURS | {"torch", "ts", "requests"}),
        ("serving", {"export", "handlers", "loadtest", "choose", "compare", "rollout", "openapi", "tests", "torch"}),
        ("export", {"loadtest", "choose", "compare", "rollout", "openapi", "tests"}),
        ("loadtest", {"handlers", "choose", "compare", "rollout", "openapi", "tests", "torch"}),
        ("choose", {"handlers", "compare", "rollout", "openapi", "tests", "torch"}),
        ("compare", {"handlers", "choose", "rollout", "openapi", "tests"}),
        ("serving", {"transformers"}),
        ("rollout", {"handlers", "choose", "compare", "openapi", "tests", "torch"}),
        ("openapi", {"loadtest", "choose", "compare", "rollout", "tests"}),
        ("deploy/ray", {"export", "handlers", "tests"}),  # a replica takes the archive's handlers
        ("tsi", OURS - {"tsi", "export"} | {"torch"}),  # export: the names of models and variants, for completion
        ("compare/peers", {"export", "serving", "loadtest", "compare"}),  # they run in separate environments
    ],
)
def test_import_directions(folder, forbidden):
    assert files(folder)
    offenders = {str(path.relative_to(ROOT)): rooms(path) & forbidden for path in files(folder)}
    assert not {path: found for path, found in offenders.items() if found}


def test_loadtest_reads_only_the_tables_of_export():
    tables = ("export.catalog", "export.tasks")
    for path in files("loadtest"):
        reached = {n for n in imported(path) if n.startswith("export") and not n.startswith(tables)}
        assert reached <= {"export"}, path


def test_the_rooms_of_loadtest_import_in_one_direction():
    """load/ imports no measurement, measure/ imports no report, and neither imports the commands."""
    order = ("load", "measure", "report")
    commands = {"soak", "comparisons"}
    for position, room in enumerate(order):
        later = {f"loadtest.{name}" for name in {*order[position + 1 :], *commands}}
        for path in files(f"loadtest/{room}"):
            reached = {".".join(name.split(".")[:2]) for name in imported(path)}
            assert not reached & later, path
    assert {path.parent.name for path in (ROOT / "loadtest").glob("*/__init__.py")} == {*order, *commands}


def pins(name: str) -> list[str]:
    """The lines of constraints.txt or hashes.txt that pin, without digests."""
    lines = (ROOT / name).read_text().splitlines()
    return [line.removesuffix(" \\") for line in lines if line and not line.startswith(("#", " "))]


def test_every_pin_has_its_digests():
    assert pins("hashes.txt") == pins("constraints.txt")
    bare = re.findall(r"^\S+==.*[^\\]$", (ROOT / "hashes.txt").read_text(), re.MULTILINE)
    assert bare == []


def test_what_setup_installs_is_what_pyproject_names():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    command = [sys.executable, "deploy/requirements.py", ",".join(extras)]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert set(shown) == {line for lines in (project["dependencies"], *extras.values()) for line in lines}
    pinned = {re.split("==", line)[0] for line in pins("constraints.txt")}
    assert {re.match(r"[\w.-]+", line)[0].lower() for line in shown} <= pinned


def targets() -> list[str]:
    return re.findall(r"^([a-z]+):.*$", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_setup_leaves_an_environment_that_is_only_linked_alone(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "kept").write_text("")
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for name in ("Makefile", "pyproject.toml", "hashes.txt"):
        (checkout / name).write_text((ROOT / name).read_text())
    (checkout / ".venv").symlink_to(shared)
    ran = subprocess.run(["make", "setup"], cwd=checkout, capture_output=True, text=True, timeout=60)
    assert ran.returncode != 0 and ".venv is a link" in ran.stderr, ran.stdout + ran.stderr
    assert (shared / "kept").exists()


def test_make_alone_lists_every_verb_with_a_sentence():
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in targets():
        assert re.search(rf"^  make {target} +\S.*\w", shown, re.MULTILINE), target


def test_the_page_of_the_verbs_names_every_verb():
    page = (ROOT / "docs" / "verbs.md").read_text()
    assert [target for target in targets() if not re.search(rf"^\| .*`make (-s )?{target}`", page, re.MULTILINE)] == []


def test_the_described_tree_is_the_tree():
    design = (ROOT / "docs" / "design.md").read_text()
    named = set(re.findall(r"^ *([\w.]+/?) +#", design, re.MULTILINE))
    top = {f"{room}/" for room in OURS} | {"model_store/", "config.properties", "Makefile"}
    assert top <= named
    rooms_of_loadtest = [f"loadtest/{path.parent.name}" for path in (ROOT / "loadtest").glob("*/__init__.py")]
    for folder in ("handlers", "export", "serving", "loadtest", *rooms_of_loadtest):
        missing = {path.name for path in (ROOT / folder).glob("*.py")} - named - {"__init__.py", "__main__.py"}
        assert not missing, f"{folder}: {missing}"


PAGES = [path for pattern in ("*.md", "docs/*.md", "docs/results/*.md") for path in ROOT.glob(pattern)]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_link_of_a_page_is_dead(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target
