"""The public interface changes on purpose only: it must equal tests/api_surface.json.

After a wanted change: ``nox -s api``, and the difference of the JSON file goes into the same commit.
"""

import ast
import json
from pathlib import Path

ROOT = Path(__file__).parents[1]
SNAPSHOT = Path(__file__).with_name("api_surface.json")


def read_modules():
    """The syntax tree of every module, by its name."""
    trees = {}
    for source in sorted(ROOT.glob("packages/[!_]*/src")):
        for path in sorted(source.rglob("*.py")):
            parts = path.relative_to(source).with_suffix("").parts
            module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            trees[module] = ast.parse(path.read_text(encoding="utf-8"))
    return trees


TREES = read_modules()
# Where users come in: a package and its direct submodules. What lies deeper is reached through them.
DOORS = [module for module in TREES if module.count(".") < 2 and "._" not in module]


def statements(module):
    """Those of a module, and those under ``if TYPE_CHECKING``: what is loaded on first use is imported there."""
    for node in TREES[module].body:
        yield from node.body if isinstance(node, ast.If) else [node]


def exports(module):
    """The names in ``__all__``, or else the public functions and classes and what is imported ``X as X``."""
    names = []
    for node in statements(module):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.ImportFrom):
            names += [alias.name for alias in node.names if alias.asname == alias.name]
    return [name for name in names if not name.startswith("_")]


def definition(module, name):
    """The function or class behind a name, followed through imports; None for a value."""
    for node in statements(module):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node
        if isinstance(node, ast.ImportFrom) and node.module in TREES:
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    return definition(node.module, alias.name)
    return None


def signatures(node, name):
    """The signature of a function or field, or those of a class and its public members."""
    if isinstance(node, ast.FunctionDef):
        returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        yield name, f"({ast.unparse(node.args)}){returns}"
    elif isinstance(node, ast.AnnAssign):
        kind = ast.unparse(node.annotation)
        yield name, kind if node.value is None or "ClassVar" in kind else f"{kind} = {ast.unparse(node.value)}"
    elif isinstance(node, ast.ClassDef):
        yield name, f"class({', '.join(map(ast.unparse, node.bases))})"
        for member in node.body:
            own = member.target.id if isinstance(member, ast.AnnAssign) else getattr(member, "name", "_")
            if own == "__init__" or not own.startswith("_"):
                yield from signatures(member, f"{name}.{own}")
    elif node is None:
        yield name, "a value"


def public_interface():
    return {
        name: signature
        for module in DOORS
        for export in exports(module)
        for name, signature in signatures(definition(module, export), f"{module}.{export}")
    }


def test_public_interface_is_as_recorded():
    recorded, now = json.loads(SNAPSHOT.read_text(encoding="utf-8")), public_interface()
    changes = [
        f"{name}: {recorded.get(name, 'nothing')} -> {now.get(name, 'nothing')}"
        for name in sorted(recorded.keys() | now.keys())
        if recorded.get(name) != now.get(name)
    ]
    assert not changes, "if this is wanted, run `nox -s api` and commit its file:\n" + "\n".join(changes)


def test_every_public_function_has_an_example():
    functions = {f"{module}.{export}": definition(module, export) for module in DOORS for export in exports(module)}
    bare = [
        name
        for name, node in functions.items()
        if isinstance(node, ast.FunctionDef) and ">>> " not in (ast.get_docstring(node) or "")
    ]
    assert not bare, f"these have no doctest: {bare}"


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(public_interface(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
