"""The public interface must equal tests/api_surface.json, so that it changes only on purpose.

After an intended change, run ``nox -s api`` and commit the updated JSON file with it.
"""

import ast
import json
from pathlib import Path

ROOT = Path(__file__).parents[1]
SNAPSHOT = Path(__file__).with_name("api_surface.json")


def read_modules():
    """Return the syntax tree of every module by name."""
    trees = {}
    for source in sorted(ROOT.glob("packages/[!_]*/src")):
        for path in sorted(source.rglob("*.py")):
            parts = path.relative_to(source).with_suffix("").parts
            module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            trees[module] = ast.parse(path.read_text(encoding="utf-8"))
    return trees


TREES = read_modules()
# Public modules: packages and their direct submodules; deeper modules are re-exported by them.
PUBLIC_MODULES = [module for module in TREES if module.count(".") < 2 and "._" not in module]


def statements(module):
    """Yield the statements of a module, including those under ``if TYPE_CHECKING``, which import lazy names."""
    for node in TREES[module].body:
        yield from node.body if isinstance(node, ast.If) else [node]


def exports(module):
    """Return the names in ``__all__``, else public functions, classes and imports ``X as X``."""
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
    """Return the definition of a function or class, followed through imports; None for a value."""
    for node in statements(module):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node
        if isinstance(node, ast.ImportFrom) and node.module in TREES:
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    return definition(node.module, alias.name)
    return None


def signatures(node, name):
    """Yield the signature of a function or field, or those of a class and its public members."""
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
        for module in PUBLIC_MODULES
        for export in exports(module)
        for name, signature in signatures(definition(module, export), f"{module}.{export}")
    }


def test_public_interface_matches_the_snapshot():
    recorded, now = json.loads(SNAPSHOT.read_text(encoding="utf-8")), public_interface()
    changes = [
        f"{name}: {recorded.get(name, 'nothing')} -> {now.get(name, 'nothing')}"
        for name in sorted(recorded.keys() | now.keys())
        if recorded.get(name) != now.get(name)
    ]
    assert not changes, "if the change is intended, run `nox -s api` and commit the file:\n" + "\n".join(changes)


def test_public_functions_have_doctests():
    functions = {
        f"{module}.{export}": definition(module, export) for module in PUBLIC_MODULES for export in exports(module)
    }
    bare = [
        name
        for name, node in functions.items()
        if isinstance(node, ast.FunctionDef) and ">>> " not in (ast.get_docstring(node) or "")
    ]
    assert not bare, f"these have no doctest: {bare}"


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(public_interface(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
