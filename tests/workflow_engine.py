"""A small interpreter of Google Workflows: runs a workflow against services that a test makes up.

It knows what `deploy/workflow.yaml` uses and refuses everything else, so that a typo in a step, a
function or a variable is an error here as it would be there. The language: steps are one-key
objects, `${...}` holds an expression, a `next` names a step, otherwise the following one is run.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import quote

STEP_KEYS = (
    {"assign", "next"},
    {"call", "args", "result", "next"},
    {"switch", "next"},
    {"try", "retry", "next"},
    {"return"},
    {"raise"},
)

RETRIED = {
    "http.default_retry": {429, 502, 503, 504},
    "http.default_retry_non_idempotent": {429, 503},
}
MAX_RETRIES = 5
LONGEST_EXPRESSION = 400

OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda item, container: item in container,
}


class WorkflowError(Exception):
    """What the workflow raised, or what made it fail."""


class HttpError(Exception):
    def __init__(self, code: int):
        super().__init__(f"HTTP {code}")
        self.code = code


class Engine:
    """One execution.

    Args:
      document: the parsed workflow.
      environment: what sys.get_env gives.
      http: (method, url, body) -> body of the response; raises HttpError.
      now: Unix time at the start; sleeping moves it.
    """

    def __init__(
        self,
        document: dict,
        environment: dict[str, str],
        http: Callable[[str, str, dict | None], dict],
        now: float,
    ):
        self.document, self.environment, self._http, self.now = document, environment, http, now
        self.log: list[dict] = []
        self.variables_read: set[str] = set()

    def run(self, argument: dict) -> object:
        """Execute `main`.

        Raises:
          WorkflowError: the execution failed.
        """
        try:
            return self._subworkflow("main", [argument])
        except (KeyError, TypeError, HttpError) as error:
            raise WorkflowError(f"{type(error).__name__}: {error}") from error

    def _subworkflow(self, name: str, values: list) -> object:
        flow = self.document[name]
        scope = dict(zip(flow["params"], values, strict=True))
        steps = [(key, body) for step in flow["steps"] for key, body in step.items()]
        names = [key for key, _ in steps]
        assert len(set(names)) == len(names) == len(flow["steps"]), names
        at = 0
        while at < len(steps):
            ended, value, target = self._step(steps[at][1], scope)
            if ended:
                return value
            at = at + 1 if target is None else names.index(target)
        return None

    def _step(self, body: dict, scope: dict) -> tuple[bool, object, str | None]:
        """(whether the subworkflow returns, what, name of the next step if any)."""
        assert any(set(body) <= keys for keys in STEP_KEYS), f"unknown step {set(body)}"
        if "raise" in body:
            raise WorkflowError(self._value(body["raise"], scope))
        if "return" in body:
            return True, self._value(body["return"], scope), None
        if "switch" in body:
            for case in body["switch"]:
                if self._value(case["condition"], scope) is True:
                    rest = {k: v for k, v in case.items() if k != "condition"}
                    if set(rest) == {"next"}:
                        return False, None, rest["next"]
                    ended, value, target = self._step(rest, scope)
                    return ended, value, target
        for assignment in body.get("assign", []):
            ((name, value),) = assignment.items()
            scope[name] = self._value(value, scope)
        if "call" in body:
            self._call(body, scope)
        if "try" in body:
            self._retry(body, scope)
        return False, None, body.get("next")

    def _retry(self, body: dict, scope: dict) -> None:
        codes = RETRIED[body["retry"].removeprefix("${").removesuffix("}")]
        for attempt in range(MAX_RETRIES + 1):
            try:
                self._call(body["try"], scope)
                return
            except HttpError as error:
                if error.code not in codes or attempt == MAX_RETRIES:
                    raise

    def _call(self, body: dict, scope: dict) -> None:
        name, args = body["call"], self._value(body.get("args", {}), scope)
        if name in self.document:
            params = self.document[name]["params"]
            assert set(params) == set(args), f"{name} takes {params}, got {list(args)}"
            result = self._subworkflow(name, [args[p] for p in params])
        elif name == "sys.sleep":
            self.now += args["seconds"]
            result = None
        elif name == "sys.log":
            self.log.append({"severity": args["severity"], **args["json"]})
            result = None
        else:
            method = {"http.get": "GET", "http.post": "POST"}.get(name) or args["method"]
            assert name == "http.request" or "method" not in args
            assert args["auth"]["type"] == "OAuth2"
            result = {"body": self._http(method, args["url"], args.get("body"))}
        if "result" in body:
            scope[body["result"]] = result

    def _value(self, value: object, scope: dict) -> object:
        if isinstance(value, dict):
            return {key: self._value(v, scope) for key, v in value.items()}
        if isinstance(value, list):
            return [self._value(v, scope) for v in value]
        if isinstance(value, str) and value.startswith("${"):
            assert value.endswith("}") and len(value) <= LONGEST_EXPRESSION, value
            return self._evaluate(ast.parse(value[2:-1].strip(), mode="eval").body, scope)
        assert not (isinstance(value, str) and "${" in value), value
        return value

    def _evaluate(self, node: ast.expr, scope: dict) -> object:
        match node:
            case ast.Constant():
                return node.value
            case ast.Name():
                return scope[node.id]
            case ast.Attribute():
                return self._evaluate(node.value, scope)[node.attr]
            case ast.BoolOp():
                values = (self._evaluate(v, scope) for v in node.values)
                return any(values) if isinstance(node.op, ast.Or) else all(values)
            case ast.BinOp() | ast.Compare():
                if isinstance(node, ast.BinOp):
                    left, op, right = node.left, node.op, node.right
                else:
                    left, (op,), (right,) = node.left, node.ops, node.comparators
                return OPERATORS[type(op)](
                    self._evaluate(left, scope), self._evaluate(right, scope)
                )
            case ast.Call():
                args = [self._evaluate(a, scope) for a in node.args]
                return self._function(ast.unparse(node.func), args)
        raise WorkflowError(f"an expression that Workflows does not know: {ast.unparse(node)}")

    def _function(self, name: str, args: list) -> object:
        if name == "sys.get_env":
            self.variables_read.add(args[0])
            return self.environment[args[0]]
        functions = {
            "sys.now": lambda: self.now,
            "int": int,
            "default": lambda value, other: other if value is None else value,
            "map.get": lambda mapping, key: mapping.get(key),
            "map.merge": lambda first, second: first | second,
            "text.substring": lambda text, start, end: text[start:end],
            "text.url_encode": lambda text: quote(text, safe=""),
            "time.format": lambda seconds: datetime.fromtimestamp(seconds, UTC).isoformat(),
        }
        return functions[name](*args)
