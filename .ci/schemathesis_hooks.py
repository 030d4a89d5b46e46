"""What schemathesis must know of Goodword."""

import json
import os
import random

import schemathesis
from schemathesis import GenerationMode

IDS = json.load(open(os.environ["GOODWORD_IDS"]))
# The key of this run: nothing may revoke or change it.
OWN = IDS.pop("own")
KNOWN = {kind.removesuffix("_id") + "_": ids for kind, ids in IDS.items()}
# Every item of a batch has an answer of its own, so that a bad one spoils nothing.
BATCHES = ("/v1/qualifications/batch", "/v1/rewards/actions")


def is_empty(value):
    """`null`, "" and an empty parameter mean the same as none: that is promised, and no invalid request."""
    return value in (None, "", [""], [None])


def has_empty(value):
    if isinstance(value, dict):
        return any(map(has_empty, value.values()))
    if isinstance(value, list):
        return any(map(has_empty, value))
    return is_empty(value)


@schemathesis.hook
def filter_case(context, case):
    if case.method != "GET" and OWN in (case.path_parameters or {}).values():
        return False
    negative = case.meta is not None and case.meta.generation.mode == GenerationMode.NEGATIVE
    if not negative:
        return True
    if case.path in BATCHES:
        return False
    # What arrives of an object are its members: that may be a valid parameter, or none.
    query = (case.query or {}).values()
    return not any(isinstance(value, dict) or value == [] or has_empty(value) for value in query) and not has_empty(case.body)


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Most ids are such as exist; the others show that unknown ones are refused."""
    for name, value in (path_parameters or {}).items():
        if isinstance(value, str) and random.random() < 0.7:
            for prefix, ids in KNOWN.items():
                if value.startswith(prefix):
                    path_parameters[name] = random.choice(ids)
    return path_parameters
