"""Methods in which batch norms and the ReLUs behind them are one call. Every other statement stays what it was.

A method is read from its source. Replaced are expressions like ``relu(self.bn(e) + r)``, and statements of one block like

    y = self.bn(e)        y = hold(self.bn, e)
    y += r           →    pass
    y = self.relu(y)      y = fused(self.relu, held=y, residual=r, add=…)

where nothing else reads ``y``. What stands between may not see the norm, nor change what it normalizes.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import functools
import inspect
import sys
import types
import weakref
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import torch
import torch.nn as tnn
import torch.nn.functional as tF

from regkern.torch.nn import fusing

Roles: TypeAlias = dict[str, str]  # of attributes of a module: "norm", "activation", "layer", "property", "other"

_HELPERS: dict[str, Any] = {
    "_regkern_hold": fusing.hold,
    "_regkern_fused": fusing.fused,
    "_regkern_relu": fusing.relu,
    "_regkern_relu_": fusing.relu_,
}
_FUTURE = sum({getattr(__future__, name).compiler_flag for name in __future__.all_feature_names})
_LOOKS = {"locals", "vars", "dir", "eval", "exec", "_getframe", "currentframe", "stack"}  # at the names of a function

_codes: weakref.WeakKeyDictionary[types.FunctionType, dict[frozenset[tuple[str, str]], types.CodeType | None]]
_codes = weakref.WeakKeyDictionary()
_calls: weakref.WeakKeyDictionary[types.FunctionType, frozenset[str]] = weakref.WeakKeyDictionary()


def rewritten(function: types.FunctionType, module: tnn.Module, kinds: frozenset[type]) -> types.FunctionType | None:
    """The method with norms of these kinds in one call with their ReLUs, or None where there are none to be sure of."""
    roles = _roles(module, kinds)
    known = _codes.setdefault(function, {})
    key = frozenset(roles.items())
    if key not in known:
        known[key] = _rewrite(function, roles)
    code = known[key]
    if code is None:
        return None
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    cells |= {name: types.CellType(helper) for name, helper in _HELPERS.items()}
    closure = tuple(cells[name] for name in code.co_freevars)
    made = types.FunctionType(code, function.__globals__, function.__name__, function.__defaults__, closure)
    made.__kwdefaults__ = function.__kwdefaults__
    made.__qualname__, made.__module__ = function.__qualname__, function.__module__
    made.__annotations__, made.__doc__ = function.__annotations__, function.__doc__
    made.__dict__.update(function.__dict__)
    return made


def called(function: types.FunctionType) -> frozenset[str]:
    """The names of what a method calls of its module."""
    if function not in _calls:
        tree = _tree(function)
        nodes = [] if tree is None else [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        names = [_attribute(node.func, _owner(tree)) for node in nodes] if tree is not None else []
        _calls[function] = frozenset(name for name in names if name is not None)
    return _calls[function]


def _roles(module: tnn.Module, kinds: frozenset[type]) -> Roles:
    """What is known of the attributes of a module that a method may call."""
    roles = {name: "other" for name, value in vars(module).items() if value is None}
    own = Counter(id(child) for child in module._modules.values() if type(child) in kinds)
    for name, child in module._modules.items():
        if hasattr(type(module), name):
            continue
        kind = type(child)
        if own[id(child)] == 1:
            roles[name] = "norm"
        elif kind in fusing.ACTIVATIONS:
            roles[name] = "activation"
        elif kind in fusing.LAYERS:
            roles[name] = "layer"
        elif child is None or not any(id(m) in own for m in child.modules()):
            roles[name] = "other"
    return roles | dict.fromkeys(_properties(type(module)), "property")


def _properties(kind: type) -> frozenset[str]:
    """The attributes of a module that its class calculates."""
    own = [vars(base) for base in kind.__mro__ if base not in tnn.Module.__mro__]
    plain = (types.FunctionType, staticmethod, classmethod)
    return frozenset(
        name
        for names in own
        for name, value in names.items()
        if hasattr(type(value), "__get__") and not isinstance(value, plain)
    )


# --- sources and codes -----------------------------------------------------------------------------------------------------


def _tree(function: types.FunctionType) -> ast.FunctionDef | None:
    """The source of a plain function, its lines counted as in its file."""
    code = function.__code__
    if code.co_flags & (inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR):
        return None
    try:
        source = inspect.getsource(code)
        inside = source[:1].isspace()
        body = ast.parse("if 1:\n" + source if inside else source).body
    except (OSError, TypeError, SyntaxError, ValueError, RecursionError, IndexError):
        return None
    tree = body[0].body[0] if inside and isinstance(body[0], ast.If) else body[0]
    if not isinstance(tree, ast.FunctionDef) or tree.decorator_list or getattr(tree, "type_params", None):
        return None
    if not (tree.args.posonlyargs or tree.args.args) or any(_is_strange(name) for name in _names(tree)):
        return None
    ast.increment_lineno(tree, code.co_firstlineno - 1 - inside)
    same = _compiled(tree, function, ())
    return tree if same is not None and _are_one(same, code) else None


def _is_strange(name: str) -> bool:
    """Whether a name may be another one in a class, or is one of ours."""
    return (name.startswith("__") and not name.endswith("__")) or name.startswith("_regkern_")


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        for value in (getattr(node, field, None) for field in ("id", "attr", "arg", "name")):
            if isinstance(value, str):
                yield value


def _compiled(tree: ast.FunctionDef, function: types.FunctionType, helpers: tuple[str, ...]) -> types.CodeType | None:
    """The code of a method, compiled where its free variables are those of a function around it."""
    code = function.__code__
    args = ast.arguments(
        posonlyargs=[],
        args=[ast.arg(arg=name) for name in (*code.co_freevars, *helpers)],
        kwonlyargs=[],
        kw_defaults=[],
        defaults=[],
    )
    around = ast.FunctionDef(
        name="around",
        args=args,
        body=[_bare(tree)],
        decorator_list=[],
    )
    if sys.version_info >= (3, 12):
        around.type_params = []
    body: list[ast.stmt] = [ast.copy_location(around, tree)]
    try:  # what a module has imported, Python calls by other instructions
        imported = _imported("".join(inspect.findsource(code)[0]))
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None
    if imported:
        body.insert(0, ast.Import(names=[ast.alias(name="_", asname=name) for name in imported]))
    whole = ast.fix_missing_locations(ast.Module(body=body, type_ignores=[]))
    try:
        made: Any = compile(whole, code.co_filename, "exec", flags=code.co_flags & _FUTURE, dont_inherit=True)
    except (SyntaxError, RecursionError):
        return None
    for name in ("around", tree.name):
        made = next(c for c in made.co_consts if isinstance(c, types.CodeType) and c.co_name == name)
    flags = made.co_flags & ~inspect.CO_NESTED | code.co_flags & inspect.CO_NESTED
    return made.replace(co_qualname=code.co_qualname, co_flags=flags)  # type: ignore[no-any-return]


@functools.lru_cache(4)
def _imported(text: str) -> tuple[str, ...]:
    """The names that a file imports for all of its functions."""
    names: set[str] = set()
    open_: list[ast.AST] = [ast.parse(text)]
    while open_:
        node = open_.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            open_ += [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.expr)]
    return tuple(sorted(names - {"*"}))


def _bare(tree: ast.FunctionDef) -> ast.FunctionDef:
    """The function without what is evaluated where it is defined."""
    a = tree.args
    some = [ast.arg(arg=each.arg) if each else None for each in (a.vararg, a.kwarg)]
    given = [[ast.arg(arg=each.arg) for each in group] for group in (a.posonlyargs, a.args, a.kwonlyargs)]
    made = ast.FunctionDef(
        name=tree.name,
        args=ast.arguments(
            posonlyargs=given[0],
            args=given[1],
            kwonlyargs=given[2],
            vararg=some[0],
            kwarg=some[1],
            kw_defaults=[None] * len(given[2]),
            defaults=[],
        ),
        body=tree.body,
        decorator_list=[],
    )
    if sys.version_info >= (3, 12):
        made.type_params = []
    return ast.copy_location(made, tree)


def _are_one(a: types.CodeType, b: types.CodeType) -> bool:
    """Whether two codes are of the same source."""
    fields = (
        "co_code", "co_names", "co_varnames", "co_freevars", "co_cellvars", "co_flags", "co_argcount", "co_kwonlyargcount",
    )  # fmt: skip
    if any(getattr(a, field) != getattr(b, field) for field in fields) or len(a.co_consts) != len(b.co_consts):
        return False
    return all(
        _are_one(x, y)
        if isinstance(x, types.CodeType) and isinstance(y, types.CodeType)
        else type(x) is type(y) and x == y
        for x, y in zip(a.co_consts, b.co_consts, strict=True)
    )


def _rewrite(function: types.FunctionType, roles: Roles) -> types.CodeType | None:
    if "norm" not in roles.values():
        return None
    tree = _tree(function)
    if tree is None:
        return None
    method = _Method(function, tree, roles)
    method.rewrite()
    return _compiled(tree, function, tuple(_HELPERS)) if method.changed else None


# --- what is looked for ----------------------------------------------------------------------------------------------------


class _Norm(NamedTuple):
    node: ast.Call
    name: str
    x: ast.expr


class _Act(NamedTuple):
    node: ast.Call
    function: ast.expr
    operand: ast.expr
    more: tuple[Any, ...] = ()
    named: tuple[tuple[str, Any], ...] = ()


def _owner(tree: ast.FunctionDef) -> str:
    return [*tree.args.posonlyargs, *tree.args.args][0].arg


def _attribute(node: ast.AST | None, owner: str) -> str | None:
    """The name in ``self.name``."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == owner:
        return node.attr
    return None


def _uses(node: ast.AST, name: str) -> int:
    """How often a node mentions a name, but for assigning to it."""
    found = 0
    for part in ast.walk(node):
        if (
            (isinstance(part, ast.Name) and part.id == name and not isinstance(part.ctx, ast.Store))
            or (isinstance(part, ast.AugAssign) and isinstance(part.target, ast.Name) and part.target.id == name)
            or (isinstance(part, ast.Global | ast.Nonlocal) and name in part.names)
        ):
            found += 1
    return found


def _mentions(node: ast.AST, name: str) -> bool:
    return name in _names(node)


def _target(statement: ast.stmt) -> str | None:
    """The name in ``name = …``."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1 and isinstance(statement.targets[0], ast.Name):
        return statement.targets[0].id
    return None


_SCOPES = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp,
)  # fmt: skip
# What may stand between a norm and its ReLU, if what it calls is no danger.
_CALM = (
    ast.Assign, ast.AugAssign, ast.If, ast.Pass, ast.Name, ast.Attribute, ast.Constant, ast.Call, ast.keyword, ast.Compare,
    ast.BoolOp, ast.UnaryOp, ast.BinOp, ast.IfExp, ast.Tuple, ast.List, ast.expr_context, ast.operator, ast.cmpop, ast.boolop,
    ast.unaryop,
)  # fmt: skip
_FUNCTIONS = [*vars(tF).values(), *(getattr(torch, name) for name in ("cat", "flatten", "relu", "sigmoid", "tanh"))]


class _Method(ast.NodeTransformer):
    """A method whose sites are replaced: first those of statements, then those of expressions."""

    def __init__(self, function: types.FunctionType, tree: ast.FunctionDef, roles: Roles) -> None:
        self.function, self.tree, self.roles = function, tree, roles
        self.owner = _owner(tree)
        self.changed = False
        self.stores = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}

    def rewrite(self) -> None:
        if self.owner in self.stores:
            return
        if _LOOKS.isdisjoint(_names(self.tree)):
            self._block(self.tree.body)
        for i, statement in enumerate(self.tree.body):
            self.tree.body[i] = self.visit(statement)

    # What expressions are.

    def _role(self, node: ast.AST | None) -> str | None:
        return self.roles.get(_attribute(node, self.owner) or "")

    def _norm(self, node: ast.AST | None) -> _Norm | None:
        """``self.bn(x)``."""
        if not isinstance(node, ast.Call) or node.keywords or len(node.args) != 1 or self._role(node.func) != "norm":
            return None
        x = node.args[0]
        return None if isinstance(x, ast.Starred) else _Norm(node, node.func.attr, x)  # type: ignore[attr-defined]

    def _act(self, node: ast.AST | None) -> _Act | None:
        """``self.relu(y)``, ``F.leaky_relu(y, 0.2)``, ``y.relu()``."""
        if not isinstance(node, ast.Call) or any(isinstance(a, ast.Starred) for a in node.args):
            return None
        f = node.func
        if self._role(f) == "activation":
            return _Act(node, f, node.args[0]) if len(node.args) == 1 and not node.keywords else None
        if isinstance(f, ast.Attribute) and f.attr in ("relu", "relu_") and not node.args and not node.keywords:
            return _Act(node, ast.Name(id=f"_regkern_{f.attr}", ctx=ast.Load()), f.value)
        function = self._found(f)
        if not node.args or not isinstance(function, types.FunctionType | types.BuiltinFunctionType):
            return None
        if function not in fusing.RELUS and function not in fusing.LEAKY:
            return None
        more = [_constant(a) for a in node.args[1:]]
        named = [(str(k.arg), _constant(k.value)) for k in node.keywords]
        if None in more or None in [value for _, value in named]:
            return None
        return _Act(node, f, node.args[0], tuple(more), tuple(named))

    def _found(self, node: ast.AST) -> Any:
        """What an expression of names of modules says, from where the method finds it."""
        if isinstance(node, ast.Attribute):
            value = self._found(node.value)
            return vars(value).get(node.attr) if isinstance(value, types.ModuleType) else None
        code = self.function.__code__
        if not isinstance(node, ast.Name) or node.id in code.co_varnames or node.id in code.co_cellvars:
            return None
        if node.id in code.co_freevars:
            try:
                cells = self.function.__closure__ or ()
                return cells[code.co_freevars.index(node.id)].cell_contents
            except ValueError:
                return None
        return self.function.__globals__.get(node.id, vars(builtins).get(node.id))

    def _is_fresh(self, node: ast.AST | None) -> ast.expr | None:
        """The layer in ``self.conv(e)``."""
        if isinstance(node, ast.Call) and self._role(node.func) == "layer":
            return node.func
        return None

    def _calm(self, nodes: list[ast.AST], norm: str) -> list[str] | None:
        """The layers that nodes call, which have to be calm when they do; None where the nodes may see the norm themselves."""
        parts = [part for node in nodes for part in ast.walk(node)]
        seen = {id(part.value) for part in parts if isinstance(part, ast.Attribute) and _attribute(part, self.owner)}
        others = []
        for part in parts:
            if not isinstance(part, _CALM):
                return None
            if isinstance(part, ast.Name) and part.id == self.owner and id(part) not in seen:
                return None
            if isinstance(part, ast.Attribute) and not isinstance(part.ctx, ast.Load):
                return None
            if _attribute(part, self.owner) == norm or self._role(part) == "property":
                return None
            if isinstance(part, ast.Call):
                name = _attribute(part.func, self.owner)
                if name is not None and self._role(part.func) is not None:
                    others.append(name)
                    continue
                found = self._found(part.func)
                if found is None or not any(found is f for f in _FUNCTIONS):
                    return None
        return others

    # Sites of one expression.

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, _SCOPES):
            return node
        act = self._act(node)
        made = None if act is None else self._site(act)
        return self.generic_visit(node if made is None else made)

    def _site(self, act: _Act) -> ast.expr | None:
        operand = act.operand
        norm = self._norm(operand)
        if norm is not None:
            return self._fused(act, self._hold(norm))
        if not isinstance(operand, ast.BinOp) or not isinstance(operand.op, ast.Add):
            return None
        norm = self._norm(operand.right)
        if norm is not None:
            return self._fused(act, self._hold(norm), operand.left, fusing.BEFORE)
        norm = self._norm(operand.left)
        if norm is None:
            return None
        layer, others = None, None
        if not isinstance(operand.right, ast.Name):
            layer, others = self._is_fresh(norm.x), self._calm([operand.right], norm.name)
            if layer is None or others is None:
                return None
        return self._fused(act, self._hold(norm, layer, others), operand.right, fusing.AFTER)

    def _hold(self, norm: _Norm, layer: ast.expr | None = None, others: list[str] | None = None) -> ast.Call:
        args = [norm.node.func, norm.x] + ([] if layer is None else [layer])
        if others:
            names: Any = tuple(others)
            args += [_name(self.owner, ast.Load()), ast.Constant(value=names)]
        return ast.copy_location(_call("_regkern_hold", args), norm.node)

    def _fused(self, act: _Act, held: ast.expr, residual: ast.expr | None = None, add: int = 0) -> ast.Call:
        """In the order of the source, in which arguments are evaluated."""
        self.changed = True
        given: list[tuple[str, Any]] = [("act", act.function), ("held", held)]
        if residual is not None:
            given.insert(1 if add == fusing.BEFORE else 2, ("residual", residual))
        constants: dict[str, Any] = {"add": add, "more": act.more, "named": act.named}
        given += [(name, ast.Constant(value=value)) for name, value in constants.items() if value]
        keywords = [ast.keyword(arg=name, value=value) for name, value in given]
        return ast.copy_location(_call("_regkern_fused", [], keywords), act.node)

    # Sites of several statements of a block.

    def _block(self, statements: list[ast.stmt]) -> None:
        for i, statement in enumerate(statements):
            if isinstance(statement, ast.If | ast.For | ast.While):
                self._block(statement.body)
                self._block(statement.orelse)
            elif isinstance(statement, ast.With):
                if all(self._is_of_torch(item.context_expr) for item in statement.items):
                    self._block(statement.body)
            else:
                self._chain(statements, i)

    def _is_of_torch(self, node: ast.expr) -> bool:
        """A context that lets errors through."""
        found = self._found(node.func) if isinstance(node, ast.Call) else None
        return str(getattr(found, "__module__", "")).partition(".")[0] == "torch"

    def _chain(self, statements: list[ast.stmt], i: int) -> None:
        y = _target(statements[i])
        norm = self._norm(statements[i].value) if y is not None else None  # type: ignore[attr-defined]
        if y is None or norm is None or not self._is_private(y) or _mentions(norm.node.func, y):
            return
        following = range(i + 1, len(statements))
        j = next((j for j in following if _mentions(statements[j], y)), None)
        if j is None:
            return
        first, residual, add, last = statements[j], None, 0, y
        added = self._addition(first, y)
        if added is not None:
            residual, add, last = added
            if j + 1 == len(statements) or not self._is_private(last) or not self._ends(first, y):
                return
            end = statements[j + 1]
        else:
            end = first
        act = self._act_of(end, last)
        if act is None or not self._ends(end, last):
            return
        if added is None and isinstance(act.operand, ast.BinOp):
            left = isinstance(act.operand.left, ast.Name) and act.operand.left.id == y
            residual = act.operand.right if left else act.operand.left
            add = fusing.AFTER if left else fusing.BEFORE
        layer, others = None, None
        between: list[ast.AST] = [*statements[i + 1 : j]]
        if residual is not None and not isinstance(residual, ast.Name | ast.Constant):
            between.append(residual)
        if between:
            layer = self._layer(statements, i, norm)
            name = norm.x.id if isinstance(norm.x, ast.Name) else None
            others = self._calm(between, norm.name)
            if layer is None or others is None:
                return
            if name is not None and any(_mentions(b, name) for b in between):
                return
        holding = ast.copy_location(
            ast.Assign(targets=[_name(y, ast.Store())], value=self._hold(norm, layer, others)), statements[i]
        )
        whole = self._fused(act, _name(y, ast.Load()), residual, add)
        statements[i] = holding
        if added is not None:
            statements[j] = ast.copy_location(ast.Pass(), first)
        statements[statements.index(end)] = _replaced(end, act.node, whole)

    def _is_private(self, name: str) -> bool:
        """Whether nobody but the statements of the method knows a name."""
        code = self.function.__code__
        return name in code.co_varnames and name not in code.co_cellvars and name != self.owner

    def _ends(self, statement: ast.stmt, name: str) -> bool:
        """Whether a statement is the last to read what a name has."""
        if _uses(statement, name) != 1:
            return False
        if isinstance(statement, ast.Return) or _target(statement) == name:
            return True
        if isinstance(statement, ast.AugAssign):
            return True
        return _uses(self.tree, name) == 1

    def _addition(self, statement: ast.stmt, y: str) -> tuple[ast.expr, int, str] | None:
        """What ``y += r``, ``t = y + r`` or ``t = r + y`` adds, how, and where it is then."""
        if isinstance(statement, ast.AugAssign):
            target = statement.target
            if isinstance(target, ast.Name) and target.id == y and isinstance(statement.op, ast.Add):
                return statement.value, fusing.IN_PLACE, y
            return None
        last = _target(statement)
        value = statement.value if last is not None else None  # type: ignore[attr-defined]
        if last is None or not isinstance(value, ast.BinOp) or not isinstance(value.op, ast.Add):
            return None
        for this, other, add in ((value.left, value.right, fusing.AFTER), (value.right, value.left, fusing.BEFORE)):
            if isinstance(this, ast.Name) and this.id == y:
                return other, add, last
        return None

    def _act_of(self, statement: ast.stmt, name: str) -> _Act | None:
        """The activation of a name, or of its sum, which is the first thing that a statement calculates."""
        if not isinstance(statement, ast.Assign | ast.Return):
            return None
        node: ast.AST | None = statement.value
        while True:
            act = self._act(node)
            if act is not None:
                operand = act.operand
                sides = [operand]
                if isinstance(operand, ast.BinOp) and isinstance(operand.op, ast.Add):
                    sides = [operand.left, operand.right]
                if any(isinstance(side, ast.Name) and side.id == name for side in sides):
                    return act
            if isinstance(node, ast.Call) and _is_chain(node.func) and node.args:
                node = node.args[0]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                node = node.func.value
            elif isinstance(node, ast.BinOp):
                node = node.left
            else:
                return None

    def _layer(self, statements: list[ast.stmt], i: int, norm: _Norm) -> ast.expr | None:
        """The layer that has made what the norm takes, where nobody else has it."""
        if not isinstance(norm.x, ast.Name):
            return self._is_fresh(norm.x)
        name = norm.x.id
        if i == 0 or _target(statements[i - 1]) != name or not self._is_private(name):
            return None
        alone = _target(statements[i]) == name or _uses(self.tree, name) == 1
        return self._is_fresh(statements[i - 1].value) if alone else None  # type: ignore[attr-defined]


def _constant(node: ast.expr) -> Any:
    """A number or a flag that is written out, or None."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _constant(node.operand)
        return -value if type(value) in (int, float) else None
    return node.value if isinstance(node, ast.Constant) and type(node.value) in (int, float, bool) else None


def _is_chain(node: ast.AST) -> bool:
    """A name, or attributes of it."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name)


def _name(name: str, context: ast.expr_context) -> ast.Name:
    return ast.Name(id=name, ctx=context)


def _call(name: str, args: list[ast.expr], keywords: list[ast.keyword] | None = None) -> ast.Call:
    return ast.Call(func=_name(name, ast.Load()), args=args, keywords=keywords or [])


def _replaced(statement: ast.stmt, old: ast.AST, new: ast.AST) -> ast.stmt:
    class Replace(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> Any:
            return new if node is old else self.generic_visit(node)

    made: ast.stmt = Replace().visit(statement)
    return made
