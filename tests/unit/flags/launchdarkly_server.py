"""LaunchDarkly's flag API as its documentation tells it: what a request must look like, what it changes, and how it is refused.

Written from the vendor's API reference (Get and Update feature flag, Updates using semantic patch, List audit log entries, Specifying
resources, Errors, Rate limiting, Required approvals, Conflicts), and from nothing of ours. Where the reference is silent, it refuses. Its answers pass the vendor's models (test_launchdarkly.py),
and its state is given to the vendor's SDK as a file.
"""

from __future__ import annotations

import copy
import itertools
import json
import time
from typing import Any

from aiohttp import web

TOKEN = "api-11111111-of-the-account"
PROJECT, ENVIRONMENT = "shop", "production"
SEMANTIC = "launchdarkly.semanticpatch"
OPERATORS = {
    *("in", "endsWith", "startsWith", "matches", "contains", "lessThan", "lessThanOrEqual", "greaterThan", "greaterThanOrEqual"),
    *("before", "after", "segmentMatch", "semVerEqual", "semVerLessThan", "semVerGreaterThan"),
}
CLAUSE = {"contextKind", "attribute", "op", "negate", "values"}
SERVES = {"variationId", "rolloutWeights", "rolloutBucketBy", "rolloutContextKind"}
# kind -> (parameters that must be there, those that may)
INSTRUCTIONS: dict[str, tuple[set[str], set[str]]] = {
    "turnFlagOn": (set(), set()),
    "turnFlagOff": (set(), set()),
    "addRule": ({"clauses"}, {"beforeRuleId", *SERVES}),
    "removeRule": ({"ruleId"}, set()),
    "reorderRules": ({"ruleIds"}, set()),
    "updateRuleDescription": ({"ruleId", "description"}, set()),
    "updateRuleVariationOrRollout": ({"ruleId"}, SERVES),
    "updateFallthroughVariationOrRollout": (set(), SERVES),
}


class Refused(Exception):
    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers or {}


class LaunchDarkly:
    """One project. `flags` is what people see; the switches below are what an account may have set up."""

    def __init__(self) -> None:
        self.flags = {key: _new(key) for key in ("new-checkout", "other", *(f"flag-{number}" for number in range(6)))}
        self.patches: list[dict[str, Any]] = []
        self.audit: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str]] = []
        self.approvals = self.scheduled = self.read_only = self.log_hidden = False
        self.limited: dict[str, str] | None = None
        self._ids = itertools.count(1)
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        app = web.Application()
        app.router.add_get("/api/v2/flags/{project}/{flag}", self._get)
        app.router.add_patch("/api/v2/flags/{project}/{flag}", self._patch)
        app.router.add_get("/api/v2/auditlog", self._entries)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def config(self, key: str = "new-checkout") -> dict[str, Any]:
        found: dict[str, Any] = self.flags[key]["environments"][ENVIRONMENT]
        return found

    def person(self, *instructions: dict[str, Any], key: str = "new-checkout") -> None:
        """Somebody in the web application, who needs no header."""
        self.flags[key] = self._applied(self.flags[key], ENVIRONMENT, list(instructions))
        self.happened(f"proj/{PROJECT}:env/{ENVIRONMENT}:flag/{key}")

    def happened(self, *resources: str) -> None:
        """An entry of the account's audit log, about these resources."""
        number = next(self._ids)
        link = {"href": f"/api/v2/auditlog/{number:024x}", "type": "application/json"}
        self.audit.append(
            {
                "_links": {"self": link},
                "_id": f"{number:024x}",
                "_accountId": "a" * 24,
                "date": 1_700_000_000_000 + number,
                "accesses": [{"action": "updateRules", "resource": resource} for resource in resources],
                "kind": "flag",
                "name": "a change",
                "description": "",
                "shortDescription": "",
                "target": {"_links": {"self": link}, "name": "a change", "resources": list(resources)},
            }
        )

    def file(self) -> str:
        """The state as the SDK's file data source reads it."""
        found = {}
        for key, flag in self.flags.items():
            config = flag["environments"][ENVIRONMENT]
            rules = [{**{k: v for k, v in rule.items() if k != "_id"}, "id": rule["_id"]} for rule in config["rules"]]
            kept = {name: config[name] for name in ("on", "salt", "fallthrough", "offVariation", "targets", "version")}
            found[key] = {"key": key, "variations": [v["value"] for v in flag["variations"]], "prerequisites": [], "rules": rules, **kept}
        return json.dumps({"flags": found})

    # -- the API ---------------------------------------------------------------------------------------------------------------------

    async def _get(self, request: web.Request) -> web.Response:
        return await self._answer(request, self._read)

    async def _entries(self, request: web.Request) -> web.Response:
        return await self._answer(request, self._listed)

    async def _patch(self, request: web.Request) -> web.Response:
        return await self._answer(request, self._update)

    async def _answer(self, request: web.Request, handle: Any) -> web.Response:
        try:
            self._admit(request)
            return web.json_response(await handle(request))
        except Refused as error:
            body = {"code": error.code, "message": error.message, "id": "30ce6058-87da-11e4-b116-123b93f75cba"}
            return web.json_response(body, status=error.status, headers=error.headers)

    def _admit(self, request: web.Request) -> None:
        """The value of the header must be the token itself; SDK keys are none; the version of the API is a date."""
        if request.headers.get("Authorization") != TOKEN:
            raise Refused(401, "unauthorized", "Invalid access token")
        if request.headers.get("LD-API-Version") not in ("20240415", "20220603"):
            raise Refused(400, "invalid_request", "unknown LD-API-Version")
        if self.limited is not None:
            raise Refused(429, "rate_limited", "Too many requests", self.limited)
        self.requests.append((request.method, request.path))
        if "project" not in request.match_info:
            return
        if request.match_info["project"] != PROJECT:
            raise Refused(404, "not_found", f"Unknown project key {request.match_info['project']}")
        if request.match_info["flag"] not in self.flags:
            raise Refused(404, "not_found", f"Unknown feature key {request.match_info['flag']}")

    async def _listed(self, request: web.Request) -> Any:
        """The newest first; `limit` is 10 unless it says otherwise, and 20 at most."""
        if self.log_hidden:
            raise Refused(403, "forbidden", "Access to the requested resource was denied")
        limit = request.query.get("limit", "10")
        if set(request.query) - {"limit", "before", "after", "q", "spec"} or not limit.isdigit() or not 1 <= int(limit) <= 20:
            raise Refused(400, "invalid_request", "limit is 1 to 20")
        link = {"href": "/api/v2/auditlog", "type": "application/json"}
        return {"items": copy.deepcopy(self.audit[: -int(limit) - 1 : -1]), "_links": {"self": link}}

    async def _read(self, request: web.Request) -> Any:
        flag = copy.deepcopy(self.flags[request.match_info["flag"]])
        wanted = request.query.get("env")
        if wanted is not None:
            flag["environments"] = {name: config for name, config in flag["environments"].items() if name == wanted}
        return flag

    async def _update(self, request: web.Request) -> Any:
        kind, _, parameter = request.headers.get("Content-Type", "").partition(";")
        if kind.strip() != "application/json":
            raise Refused(400, "invalid_request", "bodies are JSON")
        body = json.loads(await request.read())
        if parameter.strip() != f"domain-model={SEMANTIC}":
            raise Refused(400, "invalid_request", "a JSON patch is an array of operations")
        if self.read_only:
            raise Refused(403, "forbidden", "Access to the requested resource was denied")
        if not isinstance(body, dict) or set(body) - {"comment", "environmentKey", "instructions"} or not body.get("instructions"):
            raise Refused(400, "invalid_request", "a semantic patch has instructions, and may have comment and environmentKey")
        if body.get("environmentKey") not in self.flags["other"]["environments"]:
            raise Refused(400, "invalid_request", "environmentKey is required for these instructions")
        key = request.match_info["flag"]
        after = self._applied(self.flags[key], body["environmentKey"], body["instructions"])
        if self.approvals:
            raise Refused(405, "method_not_allowed", "Approvals are required in this environment")
        if self.scheduled and request.query.get("ignoreConflicts") != "true":
            raise Refused(400, "invalid_request", "This would cause a pending scheduled change to fail")
        if request.query.get("dryRun") != "true":
            self.patches.append(body)
            if after != self.flags[key]:
                self.happened(f"proj/{PROJECT}:env/{body['environmentKey']}:flag/{key}")
            self.flags[key] = after
        return after

    # -- semantic patch --------------------------------------------------------------------------------------------------------------

    def _applied(self, before: dict[str, Any], environment: str, instructions: list[dict[str, Any]]) -> dict[str, Any]:
        """All of them or none; what changes nothing is no new version."""
        after = copy.deepcopy(before)
        config = after["environments"][environment]
        for instruction in instructions:
            kind = instruction.get("kind")
            if kind not in INSTRUCTIONS:
                raise Refused(400, "invalid_request", f"unknown instruction {kind!r}")
            needed, allowed = INSTRUCTIONS[kind]
            given = set(instruction) - {"kind"}
            if given - needed - allowed or needed - given:
                raise Refused(400, "invalid_request", f"{kind} takes {sorted(needed | allowed)}, not {sorted(given)}")
            getattr(self, f"_{kind}")(after, config, instruction)
        if after != before:
            after["_version"] += 1
            config["version"] += 1
            config["lastModified"] = int(time.time() * 1000)
        return after

    def _turnFlagOn(self, flag: Any, config: Any, instruction: Any) -> None:
        config["on"] = True

    def _turnFlagOff(self, flag: Any, config: Any, instruction: Any) -> None:
        config["on"] = False

    def _addRule(self, flag: Any, config: Any, instruction: Any) -> None:
        clauses = []
        for clause in instruction["clauses"]:
            if set(clause) != CLAUSE or clause["op"] not in OPERATORS or not clause["values"] or not isinstance(clause["negate"], bool):
                raise Refused(400, "invalid_request", f"no clause: {clause}")
            clauses.append({"_id": f"clause-{next(self._ids)}", **clause})
        rule = {"_id": f"rule-{next(self._ids)}", "clauses": clauses, "trackEvents": False, **_served(flag, instruction)}
        at = len(config["rules"])
        if "beforeRuleId" in instruction:
            at = self._index(config, instruction["beforeRuleId"])
        config["rules"].insert(at, rule)

    def _removeRule(self, flag: Any, config: Any, instruction: Any) -> None:
        config["rules"] = [rule for rule in config["rules"] if rule["_id"] != instruction["ruleId"]]

    def _reorderRules(self, flag: Any, config: Any, instruction: Any) -> None:
        rules = {rule["_id"]: rule for rule in config["rules"]}
        if sorted(rules) != sorted(instruction["ruleIds"]):
            raise Refused(400, "invalid_request", "ruleIds does not match the current set of rules")
        config["rules"] = [rules[identity] for identity in instruction["ruleIds"]]

    def _updateRuleDescription(self, flag: Any, config: Any, instruction: Any) -> None:
        config["rules"][self._index(config, instruction["ruleId"])]["description"] = instruction["description"]

    def _updateRuleVariationOrRollout(self, flag: Any, config: Any, instruction: Any) -> None:
        rule = config["rules"][self._index(config, instruction["ruleId"])]
        served = _served(flag, instruction)
        rule.pop("variation", None)
        rule.pop("rollout", None)
        rule.update(served)

    def _updateFallthroughVariationOrRollout(self, flag: Any, config: Any, instruction: Any) -> None:
        config["fallthrough"] = _served(flag, instruction)

    def _index(self, config: Any, identity: str) -> int:
        for number, rule in enumerate(config["rules"]):
            if rule["_id"] == identity:
                return number
        raise Refused(400, "invalid_request", f"no rule {identity}")


def _served(flag: dict[str, Any], instruction: dict[str, Any]) -> dict[str, Any]:
    """A variation, or weights in thousandths of a percent which are 100,000 together."""
    index = {variation["_id"]: number for number, variation in enumerate(flag["variations"])}
    weights = instruction.get("rolloutWeights")
    if (weights is None) == ("variationId" not in instruction):
        raise Refused(400, "invalid_request", "needs exactly one of variationId and rolloutWeights")
    if weights is None:
        if instruction["variationId"] not in index:
            raise Refused(400, "invalid_request", "unknown variationId")
        return {"variation": index[instruction["variationId"]]}
    if set(weights) - set(index) or any(type(weight) is not int or not 0 <= weight <= 100_000 for weight in weights.values()):
        raise Refused(400, "invalid_request", "rolloutWeights maps variation ids to 0-100000")
    if sum(weights.values()) != 100_000:
        raise Refused(400, "invalid_request", f"rolloutWeights must total 100000, not {sum(weights.values())}")
    rollout: dict[str, Any] = {
        "variations": sorted(({"variation": index[k], "weight": v} for k, v in weights.items()), key=lambda w: w["variation"])
    }
    rollout["contextKind"] = instruction.get("rolloutContextKind", "user")
    if "rolloutBucketBy" in instruction:
        rollout["bucketBy"] = instruction["rolloutBucketBy"]
    return {"rollout": rollout}


def _new(key: str) -> dict[str, Any]:
    """A boolean flag that is on and serves false to everybody."""
    link = {"href": f"/api/v2/flags/{PROJECT}/{key}", "type": "application/json"}
    return {
        "name": key,
        "kind": "boolean",
        "key": key,
        "_version": 1,
        "creationDate": 1_700_000_000_000,
        "variations": [{"_id": f"{key}-true", "value": True}, {"_id": f"{key}-false", "value": False}],
        "temporary": True,
        "tags": [],
        "_links": {"self": link},
        "experiments": {"baselineIdx": 0, "items": []},
        "customProperties": {},
        "archived": False,
        "environments": {name: _environment(key, name) for name in (ENVIRONMENT, "test")},
    }


def _environment(key: str, name: str) -> dict[str, Any]:
    return {
        "on": True,
        "archived": False,
        "salt": f"salt-of-{key}",
        "sel": "sel",
        "lastModified": 1_700_000_000_000,
        "version": 1,
        "targets": [],
        "contextTargets": [],
        "rules": [],
        "fallthrough": {"variation": 1},
        "offVariation": 1,
        "prerequisites": [],
        "_site": {"href": f"/{PROJECT}/{name}/features/{key}", "type": "text/html"},
        "_environmentName": name,
        "trackEvents": False,
        "trackEventsFallthrough": False,
    }
