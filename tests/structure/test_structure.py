"""The rules of docs/structure.md, checked on the source: layers, sizes, who may use what, and the page itself."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

import penstock
from penstock.plugins import Registry, load_object
from servers import ROOT

PACKAGE = ROOT / "penstock"
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_FILE, MAX_CLASS, MAX_FUNCTION, MAX_POSITIONAL = 600, 400, 80, 8
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


doc = load_script("make_structure_doc")


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def layer_of(file: Path) -> int:
    relative = file.relative_to(PACKAGE)
    if relative.as_posix() in doc.LAYER_OF_FILE:
        return int(doc.LAYER_OF_FILE[relative.as_posix()])
    return int(doc.FOLDERS[relative.parts[0] if len(relative.parts) > 1 else ""][0])


def same_package(a: Path, b: Path) -> bool:
    """Both in one folder of penstock/ (or in one below it), or both in penstock/ itself."""
    tops = [f.relative_to(PACKAGE).parts[0] if f.parent != PACKAGE else "" for f in (a, b)]
    return tops[0] == tops[1]


def imports(file: Path, *, in_functions: bool) -> Iterator[tuple[str, int]]:
    """(module, line) of the imports outside functions, or of those inside."""

    def walk(node: ast.AST, inside: bool) -> Iterator[tuple[str, int]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import) and inside == in_functions:
                yield from ((alias.name, child.lineno) for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and inside == in_functions:
                assert child.level == 0, f"{name_of(file)}:{child.lineno} is a relative import"
                base = child.module or ""
                for alias in child.names:  # `from package import module` imports the module
                    whole = f"{base}.{alias.name}"
                    yield whole if path_of(whole) else base, child.lineno
            yield from walk(child, inside or isinstance(child, (*FUNCTIONS, ast.Lambda)))

    yield from walk(parsed(file), False)


def path_of(module: str) -> Path | None:
    """The file of one of our modules, None if there is none of that name."""
    base = ROOT.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if module.split(".")[0] == "penstock" and path.is_file():
            return path
    return None


def test_the_page_is_up_to_date() -> None:
    text = doc.DOC.read_text(encoding="utf-8")
    assert text == doc.filled(text), "run scripts/make_structure_doc.py"


def test_files_that_the_page_names_exist() -> None:
    text = doc.DOC.read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_]+/[a-z_/]*[a-z_]+\.py)`", text))
    assert len(named) > 10
    missing = [n for n in named if not (PACKAGE / n).is_file() and not (ROOT / n).is_file()]
    assert missing == []


def test_imports_go_to_smaller_layers() -> None:
    wrong = []
    for file in FILES:
        for module, line in imports(file, in_functions=False):
            target = path_of(module)
            if target is None:
                assert not module.startswith("penstock."), f"{name_of(file)}:{line} imports {module}: no such module"
                continue
            exempt = same_package(file, target) and name_of(file).removeprefix("penstock/") not in doc.LAYER_OF_FILE
            if not exempt and layer_of(target) >= layer_of(file):
                wrong.append(f"{name_of(file)}:{line} (layer {layer_of(file)}) imports {module} ({layer_of(target)})")
    assert wrong == []


def test_every_folder_has_a_layer_and_a_role() -> None:
    folders = {f.parent.relative_to(PACKAGE).as_posix() for f in FILES}
    assert {"" if f == "." else f for f in folders} <= set(doc.FOLDERS)


# Files whose imports of own modules inside functions are for the time of the start, and say so.
LATE_IMPORTS = {
    "penstock/entrypoints/openai/api_server.py": "the web framework loads while the engine does",
    "penstock/entrypoints/collect_env.py": "a part that cannot be described must not hide the others",
}


def test_imports_inside_functions_are_third_party() -> None:
    wrong = [
        f"{name_of(file)}:{line} imports {module}"
        for file in FILES
        for module, line in imports(file, in_functions=True)
        if module.split(".")[0] == "penstock" and name_of(file) not in LATE_IMPORTS
    ]
    assert wrong == [], "own modules that load late go through plugins.Registry or plugins.load_object"


TORCH_FREE = ("config", "tokenizers", "kvcache", "scheduler", "engine", "parsers", "entrypoints", "observability")


def test_the_control_plane_runs_without_torch() -> None:
    """Import every module of the control plane in a fresh process, where torch and transformers cannot be imported."""
    modules = [
        name_of(f).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for f in FILES
        if f.relative_to(PACKAGE).parts[0] in TORCH_FREE or f.parent == PACKAGE
    ]
    modules = [m for m in modules if not m.endswith("__main__")]
    for needed in ("penstock.scheduler.scheduler", "penstock.engine.async_engine", "penstock.entrypoints.openai.app"):
        assert needed in modules
    program = (
        "import importlib, sys\n"
        "sys.modules['torch'] = sys.modules['transformers'] = None\n"
        f"for name in {modules!r}:\n"
        "    try:\n"
        "        importlib.import_module(name)\n"
        "    except ImportError as e:\n"
        "        print(f'{name}: {e}')\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert (run.returncode, run.stdout) == (0, ""), run.stdout + run.stderr


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_sizes(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").count("\n")
    too_big = [] if lines <= MAX_FILE else [f"{lines} lines"]
    for node in ast.walk(parsed(file)):
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > (MAX_CLASS if isinstance(node, ast.ClassDef) else MAX_FUNCTION):
                too_big.append(f"{node.name} has {length} lines")
        if isinstance(node, FUNCTIONS) and not any("triton.jit" in ast.unparse(d) for d in node.decorator_list):
            positional = [a.arg for a in [*node.args.posonlyargs, *node.args.args] if a.arg not in ("self", "cls")]
            if len(positional) > MAX_POSITIONAL:
                too_big.append(f"{node.name} has {len(positional)} positional parameters")
    assert too_big == []


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_house_rules(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    wrong = [] if text.isascii() else ["holds characters that are not ASCII"]
    if file.stem in ("utils", "util", "common", "helpers", "misc", "v1"):
        wrong.append("says nothing by its name")
    for node in ast.walk(parsed(file)):
        at = f"line {getattr(node, 'lineno', 0)}: "
        match node:
            case ast.ExceptHandler(type=None):
                wrong.append(at + "bare except")
            case ast.ExceptHandler(type=ast.Name(id="Exception" | "BaseException")):
                if "#" not in text.splitlines()[node.lineno - 1]:
                    wrong.append(at + "catches everything without a comment that says why")
            case ast.Import(names=names) if any(a.name in UNSAFE for a in names):
                wrong.append(at + "imports what unpickles")
            case ast.ImportFrom(module=module) if module in UNSAFE:
                wrong.append(at + "imports what unpickles")
            case ast.Call(func=ast.Name(id="eval" | "exec")):
                wrong.append(at + "runs text as code")
            case ast.Call(func=ast.Attribute(value=ast.Name(id="torch"), attr="load"), keywords=keywords):
                safe = [k for k in keywords if k.arg == "weights_only" and ast.unparse(k.value) == "True"]
                if not safe or file.parent.name != "loading":
                    wrong.append(at + "torch.load belongs to penstock/loading, with weights_only=True")
            case ast.Attribute(value=ast.Name(id="os"), attr="environ" | "getenv" | "environb" | "putenv"):
                if file != PACKAGE / "envs.py":
                    wrong.append(at + "uses the environment, which is for envs.py")
            case ast.ImportFrom(module="os", names=names) if any(a.name in ("environ", "getenv") for a in names):
                wrong.append(at + "uses the environment, which is for envs.py")
    assert wrong == []


UNSAFE = ("pickle", "cPickle", "cloudpickle", "dill", "shelve", "marshal", "jsonpickle")


def test_public_names_are_what_can_be_imported() -> None:
    missing = [name for name in penstock.__all__ if not hasattr(penstock, name)]
    assert missing == []
    assert dir(penstock) == sorted(penstock.__all__)
    assert len(set(penstock.__all__)) == len(penstock.__all__)


def test_names_of_objects_in_strings_can_be_imported() -> None:
    """Subcommands, registries and other tables name objects as "penstock.module:attribute"."""
    named = {
        node.value: f"{name_of(file)}:{node.lineno}"
        for file in FILES
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(r"penstock(\.\w+)+:\w+", node.value)
    }
    assert len(named) > 10
    for target, where in named.items():
        assert load_object(target) is not None, where


def test_registries_hold_what_they_say() -> None:
    registries = []
    for file in FILES:
        for node in parsed(file).body:
            call = getattr(node, "value", None)
            if not isinstance(node, ast.Assign | ast.AnnAssign) or not isinstance(call, ast.Call):
                continue
            if ast.unparse(call.func).endswith("Registry"):
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                module = name_of(file).removesuffix(".py").replace("/", ".")
                registries.append(load_object(f"{module}:{ast.unparse(target)}"))
    assert registries
    for registry in registries:
        assert isinstance(registry, Registry)
        for name in registry.names():
            assert registry.get(name) is not None
