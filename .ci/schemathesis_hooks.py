"""What schemathesis must know of Goodword."""

import json
import os
import random

import schemathesis

IDS = json.load(open(os.environ["GOODWORD_IDS"]))
# The key of this run: nothing may revoke or change it.
OWN = IDS.pop("own")
KNOWN = {prefix: ids for kind, ids in IDS.items() for prefix in [kind.removesuffix("_id") + "_"]}

@schemathesis.hook
def filter_query(context, query):
    """An empty parameter means the same as none: that is promised, and no invalid request."""
    return not any(value in ("", [""], None) for value in (query or {}).values())


@schemathesis.hook
def filter_path_parameters(context, path_parameters):
    return OWN not in (path_parameters or {}).values()


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Most ids are such as exist; the others show that unknown ones are refused."""
    for name, value in (path_parameters or {}).items():
        if isinstance(value, str) and random.random() < 0.7:
            for prefix, ids in KNOWN.items():
                if value.startswith(prefix):
                    path_parameters[name] = random.choice(ids)
    return path_parameters
